"""Rotation about the centre by a random angle, bilinear; torchvision's RandomRotation, batched."""

import math
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How far, and what shows in the corners."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that an image is turned."""
    degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    """The angle is uniform in [-degrees, degrees]."""
    fill: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Outside of the image, before normalisation: 0 is black."""


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """An `Augmentation`."""

    config: Config

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        import torch
        from torch.nn import functional

        images, limit = batch.images, math.radians(self.config.degrees)
        drawn = torch.rand(len(images), generator=generator, device=images.device)
        angle = (2 * drawn - 1) * limit
        sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
        turn = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(-1, 2, 3)
        grid = functional.affine_grid(turn, list(images.shape), align_corners=False)
        # Beside the image the sampling sees 0.
        turned = functional.grid_sample(
            images - self.config.fill, grid, padding_mode="zeros", align_corners=False
        )
        changed = chosen(len(images), self.config.probability, generator)
        kept = torch.where(changed.view(-1, 1, 1, 1), turned.add_(self.config.fill), images)
        return replace(batch, images=kept)


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Any image can be turned."""
    return Rotation(config=config)
