"""InstructPix2Pix: edits an image as a sentence tells it to.

Brooks, Holynski & Efros, "InstructPix2Pix: learning to follow image editing instructions" (arXiv
2211.09800, timothybrooks/instruct-pix2pix), through diffusers' pipeline.
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
PIPELINE = "StableDiffusionInstructPix2PixPipeline"
HUB = "timbrooks/instruct-pix2pix"
FAMILY = Family(
    editor="instruct_pix2pix",
    pipelines={PIPELINE: PIPELINE},
    files={"SD": PIPELINE},
    # By its weights alone diffusers takes such a file for Stable Diffusion.
    described_by=HUB,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which checkpoint, and how it is asked."""

    checkpoint: str = HUB
    """A name on the hub, a local pipeline folder, or a single file."""
    config: str | None = None
    """What describes a single file: a local pipeline folder, or a name on the hub."""
    revision: str = "main"
    variant: str | None = None
    steps: Steps = 100
    guidance_scale: Guidance = 7.5
    """How much the sentence counts; 1 or less asks the model once, without guidance."""
    image_guidance_scale: Guidance = 1.5
    """How much the image counts; less than 1 turns guidance off."""
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
            negative_prompt=asked.repeated(config.negative_prompt),
            num_inference_steps=config.steps,
            guidance_scale=config.guidance_scale,
            image_guidance_scale=config.image_guidance_scale,
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
    )
