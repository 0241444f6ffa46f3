"""The image side of CLIP, which knows what people write beside pictures.

Radford et al., "Learning transferable visual models from natural language supervision" (arXiv
2103.00020). Any checkpoint of transformers, from the Hugging Face hub or a local folder.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic.dataclasses import dataclass

from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.extraction import Extracted
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.clip import Clip
    from tasks.reading import FileFacts

VERSION = 1
NEEDS_FIT = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which checkpoint."""

    checkpoint: str = "openai/clip-vit-base-patch32"
    """A name on the hub, or the path of a local folder."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    folder: Locator[str | None] = None
    """Where the folder lies that `checkpoint` names by content; filled in by planning."""

    def __post_init__(self) -> None:
        if self.folder is not None and not self.checkpoint.startswith(BY_CONTENT):
            raise ValueError("folder is filled in by planning: say checkpoint: <path> instead")


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name a local folder by what it contains, so that a key does not hang on where it lies.

    Raises InputError for what is neither a folder nor could be a name on the hub.
    """
    from tasks import clip

    if config.checkpoint.startswith(BY_CONTENT):
        return config
    checkpoint, folder = clip.identify(config.checkpoint, facts, "extractor.checkpoint")
    return replace(config, checkpoint=checkpoint, folder=folder)


def build(config: Config, fitted: Path | None, device: str) -> "_Clip":
    """Load the checkpoint in float32.

    Raises InputError where it cannot be had, or is no CLIP.
    """
    from tasks import clip
    from tasks.devices import prepare

    prepare(device)
    return _Clip(clip.load(config.checkpoint, config.revision, config.folder, device))


class _Clip:
    def __init__(self, clip: "Clip") -> None:
        self._clip = clip
        self.stamp = {
            "extractor": "clip",
            "weights": clip.resolved,
            "resize": "as the checkpoint's image processor says, antialiased",
            "size": str(clip.side),
            "dtype": "float32",
            "features": f"{clip.size}, of unit length",
        }

    def __call__(self, images: "Tensor") -> Extracted:
        import torch

        with torch.inference_mode():
            features = self._clip.images(images)
        return Extracted(features=features.cpu().numpy(), probabilities=None)
