"""RandAugment: a few operations drawn uniformly, all of the same magnitude.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space"
(NeurIPS 2020, arXiv:1909.13719), as torchvision's transforms.v2.RandAugment. On grey images its
colour operation does nothing.
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
    """How many operations, and how strong."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that an image is changed."""
    num_ops: Annotated[int, Field(ge=1, le=20)] = 2
    magnitude: Annotated[int, Field(ge=0)] = 9
    """Of `num_magnitude_bins`, counted from 0."""
    num_magnitude_bins: Annotated[int, Field(ge=2, le=1000)] = 31
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    def __post_init__(self) -> None:
        if self.magnitude >= self.num_magnitude_bins:
            raise ValueError(
                f"magnitude={self.magnitude} of num_magnitude_bins={self.num_magnitude_bins}: "
                f"at most {self.num_magnitude_bins - 1} would do"
            )


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Any image will do."""
    from torchvision.transforms import v2

    policy = v2.RandAugment(
        num_ops=config.num_ops,
        magnitude=config.magnitude,
        num_magnitude_bins=config.num_magnitude_bins,
        interpolation=v2.InterpolationMode(config.interpolation),
    )
    return PerImage(probability=config.probability, transform=TorchvisionPolicy(policy=policy))
