"""TrivialAugment (wide): one operation of random magnitude for each image.

Müller & Hutter, "TrivialAugment: Tuning-free yet state-of-the-art data augmentation" (ICCV 2021,
arXiv:2103.10158), as torchvision's transforms.v2.TrivialAugmentWide. On grey images its colour
operation does nothing.
"""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.augmentation import Augmentation, AugmentationInfo, Place
from tasks.augmentations._per_image import PerImage, TorchvisionPolicy
from tasks.specs import STRICT

VERSION = 1
PLACE: Place = "worker"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """There is nothing to tune, which is its point."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that an image is changed."""
    num_magnitude_bins: Annotated[int, Field(ge=2, le=1000)] = 31
    interpolation: Literal["nearest", "bilinear"] = "nearest"


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Any image will do."""
    from torchvision.transforms import v2

    policy = v2.TrivialAugmentWide(
        num_magnitude_bins=config.num_magnitude_bins,
        interpolation=v2.InterpolationMode(config.interpolation),
    )
    return PerImage(probability=config.probability, transform=TorchvisionPolicy(policy=policy))
