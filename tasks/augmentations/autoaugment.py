"""AutoAugment: one of 25 learned pairs of operations for each image.

Cubuk et al., "AutoAugment: Learning augmentation policies from data" (CVPR 2019, arXiv:1805.09501),
as torchvision's transforms.v2.AutoAugment. On grey images its colour operation does nothing.
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
    """Which policy."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that an image goes through the policy."""
    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"
    """What it was learned on."""
    interpolation: Literal["nearest", "bilinear"] = "nearest"


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Any image will do."""
    from torchvision.transforms import v2

    policy = v2.AutoAugment(
        v2.AutoAugmentPolicy(config.policy),
        interpolation=v2.InterpolationMode(config.interpolation),
    )
    return PerImage(probability=config.probability, transform=TorchvisionPolicy(policy=policy))
