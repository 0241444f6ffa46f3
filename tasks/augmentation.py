"""What an augmentation's file must offer, and what all of them share.

A file in `tasks/augmentations` holds a frozen `Config` with a `probability`, an integer `VERSION`,
a `PLACE`, and `build(config, info) -> Augmentation`. All randomness comes from the generator that
is passed in, with a draw of its own for each image, so that a batch can be made again by its seed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Place = Literal["worker", "either", "device"]
"""Where an augmentation works.

`worker`: image by image on uint8, in worker processes on the CPU (the policies of torchvision,
albumentations). `device`: on whole batches of float pixels, where the training runs. `either`:
keeps the dtype it is given, uint8 or float, and works in both places.
"""


@dataclass(frozen=True, kw_only=True)
class AugmentationInfo:
    """What an augmentation is built for."""

    side: int
    """Of the images, in pixels."""
    channels: int
    """1 or 3."""
    num_classes: int
    mean: tuple[float, ...]
    """Of each channel, 0..1: what normalisation takes away."""
    std: tuple[float, ...]
    """What normalisation divides by; a value v behind it is v * std + mean before it."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images before normalisation, and what a classifier should say of them."""

    images: "Tensor"
    """N × C × side × side: uint8, or float32 with 0..255 scaled to 0..1."""
    targets: "Tensor"
    """N × num_classes, float32: the probability of each class times the image's loss weight."""


class Augmentation(Protocol):
    """What `build` of a file in `tasks/augmentations` returns; it can be pickled."""

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        """Return a batch of the same shapes, dtypes and device; its input stays as it is.

        Args:
            generator: on the device of the images.
        """
        ...


def chosen(num_images: int, probability: float, generator: "torch.Generator") -> "Tensor":
    """Draw for each image whether it is changed: bool, N, on the generator's device."""
    import torch

    drawn = torch.rand(num_images, generator=generator, device=generator.device)
    return drawn < probability
