"""FLUX.1 Kontext: edits an image as a prompt tells it to.

Black Forest Labs, "FLUX.1 Kontext: flow matching for in-context image generation and editing in
latent space" (arXiv 2506.15742), through diffusers' pipeline.
"""

from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from tasks.editing import About, Editor, Given
from tasks.editors._families import Family
from tasks.editors._settings import (
    BatchSize,
    Dtype,
    Guidance,
    Side,
    Steps,
    Tokens,
    check_batches,
    check_locators,
)
from tasks.editors._settings import identify as by_content
from tasks.edits.sizing import How
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    from tasks.editors._painting import Asked
    from tasks.reading import FileFacts

VERSION = 1
ABOUT = About()
PIPELINE = "FluxKontextPipeline"
FAMILY = Family(editor="flux_kontext", pipelines={PIPELINE: PIPELINE}, files={"FLUX": PIPELINE})
SIDE = 1024


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which checkpoint, and how it is asked."""

    checkpoint: str = "black-forest-labs/FLUX.1-Kontext-dev"
    """A name on the hub, a local pipeline folder, or a single file of the transformer."""
    config: str | None = None
    """What describes a single file: a local pipeline folder, whose other parts are used, or a name
    on the hub."""
    revision: str = "main"
    variant: str | None = None
    steps: Steps = 28
    guidance_scale: Guidance = 2.5
    """How much the prompt counts; the model was distilled for it."""
    true_cfg_scale: Guidance = 1.0
    """Guidance away from `negative_prompt`, at twice the time; 1 or less is without."""
    negative_prompt: str = ""
    max_tokens: Tokens = 512
    """Of a prompt; what is longer is cut off."""
    size: Side | None = None
    """Works on as many pixels as a square of this side has; None is 1024, as it was trained."""
    fit: How = "resize"
    batch_size: BatchSize | None = None
    """None is found by trial."""
    strict: bool = False
    """One image at a time: pixels are the same in any batch."""
    dtype: Dtype = "auto"
    folder: Locator[str | None] = None
    """Where lies what `checkpoint` names by content; filled in by planning."""
    config_folder: Locator[str | None] = None
    """Where lies what `config` names by content; filled in by planning."""

    def __post_init__(self) -> None:
        check_batches(self.batch_size, self.strict)
        check_locators(
            {
                "folder": (self.checkpoint, self.folder),
                "config_folder": (self.config, self.config_folder),
            }
        )


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name local files by what they contain.

    Raises InputError for what is neither local nor could be a name on the hub.
    """
    return by_content(config, facts, described={"config": "config_folder"})


def build(config: Config, given: Given) -> Editor:
    """Raises InputError where the checkpoint cannot be had, lacks a part, or is another's."""
    from tasks.devices import prepare
    from tasks.editors import _loading, _memory, _painting

    dtype = _memory.resolved_dtype(config.dtype, prepare(given.device))
    loaded = _loading.load(FAMILY, config, dtype, _loading.description(config))
    pipeline, guided = loaded.pipeline, config.true_cfg_scale > 1

    def ask(asked: "Asked") -> Any:
        return pipeline(
            prompt=asked.prompts,
            image=asked.images,
            height=asked.height,
            width=asked.width,
            num_inference_steps=config.steps,
            guidance_scale=config.guidance_scale,
            true_cfg_scale=config.true_cfg_scale,
            negative_prompt=asked.repeated(config.negative_prompt) if guided else None,
            max_sequence_length=config.max_tokens,
            # The image is of a size that the model takes already.
            max_area=asked.height * asked.width,
            _auto_resize=False,
            generator=asked.rngs,
            output_type="np",
        )

    return _painting.open_painter(
        [pipeline],
        config,
        given.device,
        ask,
        name=FAMILY.editor,
        resolved=loaded.resolved,
        # Latents go in patches of 2 × 2.
        multiple=2 * pipeline.vae_scale_factor,
        side=SIDE,
        dtype=dtype,
    )
