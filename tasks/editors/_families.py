"""Which checkpoints each editor of diffusers takes."""

from collections.abc import Mapping
from dataclasses import dataclass

TAKEN_BY = {
    "StableDiffusionInstructPix2PixPipeline": "instruct_pix2pix",
    "StableDiffusionPipeline": "img2img",
    "StableDiffusionImg2ImgPipeline": "img2img",
    "StableDiffusionXLPipeline": "img2img",
    "StableDiffusionXLImg2ImgPipeline": "img2img",
    "StableDiffusionXLInpaintPipeline": "sdxl_inpaint",
    "KandinskyV22InpaintPipeline": "kandinsky_inpaint",
    "KandinskyV22InpaintCombinedPipeline": "kandinsky_inpaint",
    "FluxFillPipeline": "flux_fill",
    "FluxKontextPipeline": "flux_kontext",
    "QwenImageEditPipeline": "qwen_image_edit",
    "QwenImageEditPlusPipeline": "qwen_image_edit",
}
"""By the pipeline that a checkpoint says it is: the editor that takes it, for messages."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Which checkpoints an editor takes."""

    editor: str
    pipelines: Mapping[str, str]
    """What a checkpoint says it is -> diffusers' pipeline to load it as."""
    files: Mapping[str, str]
    """What a single file holds, `SD`, `SDXL` or `FLUX` -> diffusers' pipeline to load it as."""
    described_by: str | None = None
    """On the hub: describes single files that diffusers would take for another's."""
