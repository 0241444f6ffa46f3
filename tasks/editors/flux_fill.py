"""FLUX.1 Fill: repaints the image under its mask as a prompt says.

Black Forest Labs, github.com/black-forest-labs/flux; a rectified-flow transformer distilled from
guidance, through diffusers' pipeline.
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
    Strength,
    Tokens,
    check_batches,
    check_locators,
    check_strength,
)
from tasks.editors._settings import identify as by_content
from tasks.edits.sizing import How
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    from tasks.editors._painting import Asked
    from tasks.reading import FileFacts

VERSION = 1
ABOUT = About(mask="needed")
PIPELINE = "FluxFillPipeline"
FAMILY = Family(editor="flux_fill", pipelines={PIPELINE: PIPELINE}, files={"FLUX": PIPELINE})
SIDE = 1024


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which checkpoint, and how it is asked."""

    checkpoint: str = "black-forest-labs/FLUX.1-Fill-dev"
    """A name on the hub, a local pipeline folder, or a single file of the transformer."""
    config: str | None = None
    """What describes a single file: a local pipeline folder, whose other parts are used, or a name
    on the hub."""
    revision: str = "main"
    variant: str | None = None
    strength: Strength = 1.0
    """Share of the noise schedule that is run: at 1 nothing is seen of what the mask hides."""
    steps: Steps = 50
    guidance_scale: Guidance = 30.0
    """How much the prompt counts; the model was distilled for it."""
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
        check_strength(self.steps, self.strength)
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
    pipeline = loaded.pipeline

    def ask(asked: "Asked") -> Any:
        return pipeline(
            prompt=asked.prompts,
            image=asked.images,
            mask_image=asked.masks,
            height=asked.height,
            width=asked.width,
            strength=config.strength,
            num_inference_steps=config.steps,
            guidance_scale=config.guidance_scale,
            max_sequence_length=config.max_tokens,
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
        needs_mask=True,
    )
