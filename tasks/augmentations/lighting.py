"""Lighting noise along the principal components of ImageNet's colours.

Krizhevsky et al., "ImageNet classification with deep convolutional neural networks" (NeurIPS 2012),
section 4.1, with the eigenvalues and eigenvectors of facebookarchive/fb.resnet.torch, for pixels
0..1. As there, nothing is clamped.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.augmentation import Augmentation, AugmentationInfo, Batch, Place, chosen
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch

VERSION = 1
PLACE: Place = "device"

EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
"""A row a channel, red first; a column a component."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How strong the noise is."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that an image is changed."""
    alphastd: Annotated[float, Field(ge=0, le=10)] = 0.1
    """Standard deviation of each component's weight, in eigenvalues."""


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """An `Augmentation`."""

    config: Config
    components: tuple[tuple[float, ...], ...]
    """A row a channel: each eigenvector times its eigenvalue."""

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        import torch

        images = batch.images
        components = torch.tensor(self.components).to(images.device, non_blocking=True)
        drawn = torch.randn((len(images), 1, 3), generator=generator, device=images.device)
        shift = (components * drawn * self.config.alphastd).sum(2)[:, :, None, None]
        changed = chosen(len(images), self.config.probability, generator).view(-1, 1, 1, 1)
        return replace(batch, images=torch.where(changed, images + shift, images))


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Grey images, of which the paper does not speak, take the luma of the noise."""
    components = tuple(
        tuple(entry * value for entry, value in zip(row, EIGENVALUES, strict=True))
        for row in EIGENVECTORS
    )
    if info.channels == 1:
        columns = zip(*components, strict=True)
        components = (
            tuple(
                sum(w * entry for w, entry in zip(LUMA, column, strict=True)) for column in columns
            ),
        )
    return Lighting(config=config, components=components)
