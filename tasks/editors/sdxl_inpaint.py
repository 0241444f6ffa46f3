"""SDXL inpainting: repaints the image under its mask as a prompt says.

Podell et al., SDXL (arXiv 2307.01952), through diffusers' pipeline. Takes networks that were fitted
for it (nine channels) and plain SDXL (four), which is shown the noisy source outside of the mask.
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
PIPELINE = "StableDiffusionXLInpaintPipeline"
FAMILY = Family(
    editor="sdxl_inpaint",
    pipelines={
        PIPELINE: PIPELINE,
        "StableDiffusionXLPipeline": PIPELINE,
        "StableDiffusionXLImg2ImgPipeline": PIPELINE,
    },
    files={"SDXL": PIPELINE},
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which checkpoint, and how it is asked."""

    checkpoint: str = "diffusers/stable-diffusion-xl-1.0-inpainting-0.1"
    """A name on the hub, a local pipeline folder, or a single file."""
    config: str | None = None
    """What describes a single file: a local pipeline folder, or a name on the hub."""
    revision: str = "main"
    variant: str | None = None
    strength: Strength = 0.9999
    """Share of the noise schedule that is run: at 1 nothing is seen of what the mask hides."""
    steps: Steps = 50
    guidance_scale: Guidance = 7.5
    """How much the prompt counts; 1 or less asks the model once, without guidance."""
    negative_prompt: str = ""
    size: Side | None = None
    """Works on as many pixels as a square of this side has; None is the checkpoint's own."""
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
            negative_prompt=asked.repeated(config.negative_prompt),
            strength=config.strength,
            num_inference_steps=config.steps,
            guidance_scale=config.guidance_scale,
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
        multiple=_painting.unet_multiple(pipeline),
        side=_painting.unet_side(pipeline),
        dtype=dtype,
        needs_mask=True,
    )
