"""Qwen-Image-Edit: edits an image as a prompt tells it to, which a vision-language model reads.

Wu et al., "Qwen-Image technical report" (arXiv 2508.02324, QwenLM/Qwen-Image), through diffusers'
pipelines: of Qwen-Image-Edit, and of the later "Plus" checkpoints (2509 and on).
"""

import math
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
ONE, PLUS = "QwenImageEditPipeline", "QwenImageEditPlusPipeline"
FAMILY = Family(editor="qwen_image_edit", pipelines={ONE: ONE, PLUS: PLUS}, files={})
SIDE = 1024
MULTIPLE = 32
"""As the pipelines scale the image that they are shown, so that both have one ratio."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which checkpoint, and how it is asked."""

    checkpoint: str = "Qwen/Qwen-Image-Edit"
    """A name on the hub, or a local pipeline folder."""
    revision: str = "main"
    variant: str | None = None
    steps: Steps = 50
    true_cfg_scale: Guidance = 4.0
    """How much the prompt counts, against `negative_prompt`; 1 or less asks the model once."""
    negative_prompt: str = " "
    size: Side | None = None
    """Makes as many pixels as a square of this side has; None is 1024, as it was trained. The
    pipeline shows the model the source at about a megapixel, whatever this is."""
    fit: How = "resize"
    batch_size: BatchSize | None = None
    """None is found by trial."""
    strict: bool = False
    """One image at a time: pixels are the same in any batch."""
    dtype: Dtype = "auto"
    folder: Locator[str | None] = None
    """Where lies what `checkpoint` names by content; filled in by planning."""

    def __post_init__(self) -> None:
        check_batches(self.batch_size, self.strict)
        check_locators({"folder": (self.checkpoint, self.folder)})


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name local files by what they contain.

    Raises InputError for what is neither local nor could be a name on the hub.
    """
    return by_content(config, facts)


def build(config: Config, given: Given) -> Editor:
    """Raises InputError where the checkpoint cannot be had, lacks a part, or is another's."""
    from tasks.devices import prepare
    from tasks.editors import _loading, _memory, _painting

    dtype = _memory.resolved_dtype(config.dtype, prepare(given.device))
    loaded = _loading.load(FAMILY, config, dtype)
    pipeline, guided = loaded.pipeline, config.true_cfg_scale > 1

    def ask(asked: "Asked") -> Any:
        return pipeline(
            prompt=asked.prompts,
            image=asked.images,
            height=asked.height,
            width=asked.width,
            num_inference_steps=config.steps,
            true_cfg_scale=config.true_cfg_scale,
            negative_prompt=asked.repeated(config.negative_prompt) if guided else None,
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
        multiple=math.lcm(MULTIPLE, 2 * pipeline.vae_scale_factor),
        side=SIDE,
        dtype=dtype,
        # The pipeline of "Plus" takes several images as one edit's, and one edit at a time.
        at_once=1 if type(pipeline).__name__ == PLUS else None,
    )
