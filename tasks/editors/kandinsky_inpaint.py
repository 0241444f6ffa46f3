"""Kandinsky 2.2 inpainting: a prior turns the prompt into an embedding, a decoder repaints by it.

Razzhigaev et al., "Kandinsky: an improved text-to-image synthesis with image prior and latent
diffusion" (arXiv 2310.03502, ai-forever/Kandinsky-2), through diffusers' pipelines.

White is repainted, as everywhere since diffusers 0.19. diffusers' decoder takes what it keeps from
the first image of a batch for all of them, so images go through one by one.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.editing import About, Editor, Given
from tasks.editors._families import Family
from tasks.editors._settings import (
    Dtype,
    Guidance,
    Side,
    Steps,
    check_locators,
)
from tasks.editors._settings import identify as by_content
from tasks.edits.sizing import How
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    from tasks.editors._painting import Asked
    from tasks.reading import FileFacts

VERSION = 1
ABOUT = About(mask="needed")
DECODER, PRIOR = "KandinskyV22InpaintPipeline", "KandinskyV22PriorPipeline"
COMBINED = "KandinskyV22InpaintCombinedPipeline"
FAMILY = Family(
    editor="kandinsky_inpaint", pipelines={DECODER: DECODER, COMBINED: COMBINED}, files={}
)
PRIOR_FAMILY = Family(editor="kandinsky_inpaint", pipelines={PRIOR: PRIOR}, files={})
SIDE = 512
"""As diffusers asks it, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """A `Chosen`."""

    checkpoint: str
    folder: str | None
    revision: str
    variant: str | None


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which checkpoints, and how they are asked."""

    checkpoint: str = "kandinsky-community/kandinsky-2-2-decoder-inpaint"
    """The decoder, or decoder and prior in one: a name on the hub, or a local pipeline folder."""
    prior: str = "kandinsky-community/kandinsky-2-2-prior"
    """Not read where `checkpoint` holds both."""
    revision: str = "main"
    prior_revision: str = "main"
    variant: str | None = None
    steps: Steps = 50
    prior_steps: Steps = 25
    guidance_scale: Guidance = 4.0
    """How much the embedding counts."""
    prior_guidance_scale: Guidance = 4.0
    """How much the prompt counts in the embedding."""
    negative_prompt: str = ""
    """Empty is an embedding of nothing, as the decoder was fitted with."""
    size: Side | None = None
    """Works on as many pixels as a square of this side has; None is 512."""
    fit: How = "resize"
    batch_size: Literal[1] | None = None
    strict: bool = False
    """Changes nothing: images go through one by one."""
    dtype: Dtype = "auto"
    folder: Locator[str | None] = None
    """Where lies what `checkpoint` names by content; filled in by planning."""
    prior_folder: Locator[str | None] = None
    """Where lies what `prior` names by content; filled in by planning."""

    def __post_init__(self) -> None:
        check_locators(
            {
                "folder": (self.checkpoint, self.folder),
                "prior_folder": (self.prior, self.prior_folder),
            }
        )


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name local folders by what they contain.

    Raises InputError for what is neither local nor could be a name on the hub.
    """
    return by_content(config, facts, {"checkpoint": "folder", "prior": "prior_folder"})


def build(config: Config, given: Given) -> Editor:
    """Raises InputError where a checkpoint cannot be had, lacks a part, or is another's."""
    from tasks.devices import prepare
    from tasks.editors import _loading, _memory, _painting

    dtype = _memory.resolved_dtype(config.dtype, prepare(given.device))
    loaded = _loading.load(FAMILY, config, dtype)
    if type(loaded.pipeline).__name__ == COMBINED:
        prior, decoder = loaded.pipeline.prior_pipe, loaded.pipeline.decoder_pipe
        resolved = loaded.resolved
    else:
        chosen = _Chosen(
            checkpoint=config.prior,
            folder=config.prior_folder,
            revision=config.prior_revision,
            variant=config.variant,
        )
        found = _loading.load(PRIOR_FAMILY, chosen, dtype, setting="prior")
        prior, decoder = found.pipeline, loaded.pipeline
        resolved = f"{loaded.resolved}, prior {found.resolved}"
    scale, halvings = decoder.movq_scale_factor, len(decoder.unet.config.block_out_channels) - 1

    def ask(asked: "Asked") -> Any:
        (rng,) = asked.rngs
        embedded = prior(
            prompt=asked.prompts,
            negative_prompt=asked.repeated(config.negative_prompt)
            if config.negative_prompt
            else None,
            num_inference_steps=config.prior_steps,
            guidance_scale=config.prior_guidance_scale,
            generator=rng,
        )
        return decoder(
            image=asked.images,
            mask_image=asked.masks,
            image_embeds=embedded.image_embeds,
            negative_image_embeds=embedded.negative_image_embeds,
            height=asked.height,
            width=asked.width,
            num_inference_steps=config.steps,
            guidance_scale=config.guidance_scale,
            generator=rng,
            output_type="np",
        )

    return _painting.open_painter(
        [prior, decoder],
        config,
        given.device,
        ask,
        name=FAMILY.editor,
        resolved=resolved,
        # diffusers rounds latents up to multiples of the scale.
        multiple=math.lcm(scale * scale, scale * 2**halvings),
        side=SIDE,
        dtype=dtype,
        needs_mask=True,
        at_once=1,
    )
