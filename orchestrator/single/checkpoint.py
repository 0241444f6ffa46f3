"""A saved model, with what its file says of the images that it was trained on."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.classification import Classifier, load_noted
from tasks.errors import InputError
from tasks.packs import Pixels, luma, resized, squared

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A network with its weights, and its classes."""

    path: Path
    classifier: Classifier
    classes: tuple[str, ...]
    side: int
    """Short side, in pixels, of the images that it was trained on."""
    is_grey: bool
    """Those images had one channel."""

    def prepared(self, pixels: Pixels) -> Pixels:
        """Bring an image, H × W × C, to what training saw: input_size × input_size × channels.

        Each image by itself, so that no prediction hangs on what else lies in a folder.
        """
        image = squared(resized(pixels, self.side), self.classifier.input_size)
        if image.shape[2] == 3 and (self.is_grey or self.classifier.channels == 1):
            image = luma(image)
        if image.shape[2] < self.classifier.channels:
            image = np.repeat(image, self.classifier.channels, axis=2)
        return image

    def logits(self, images: list[Pixels], device: str) -> "Tensor":
        """N × classes, of prepared images, on the CPU; the network is on the device already."""
        import torch

        from tasks.images import Normalise
        from tasks.stepping import autocast

        place = torch.device(device)
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(place)
        normalise = Normalise(self.classifier.mean, self.classifier.std, place)
        with torch.no_grad(), autocast("auto", place):
            logits: Tensor = self.classifier.network(normalise(batch)).float()
        return logits.cpu()


def load_checkpoint(path: Path, device: str) -> Checkpoint:
    """Load what `augury train` saved, in either format, ready to predict; nothing is executed.

    Raises InputError, in one line, for any other file.
    """
    import torch

    if not os.path.isfile(path):
        raise InputError(f"--checkpoint {path}: there is no such file")
    try:
        classifier, note = load_noted(path)
    except InputError as error:
        raise InputError(f"--checkpoint {path}: {_without(str(error), path)}") from error
    classifier.network.to(torch.device(device)).to(memory_format=torch.channels_last).eval()
    return Checkpoint(
        path=path,
        classifier=classifier,
        classes=note.classes,
        side=note.info.side,
        is_grey=note.info.channels == 1,
    )


def _without(text: str, path: Path) -> str:
    return text.removeprefix(f"{path.name}: ").removeprefix(f"{path.name} ")
