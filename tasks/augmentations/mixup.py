"""MixUp: the weighted mean of two images, and of their targets.

Zhang et al., "mixup: Beyond empirical risk minimization" (ICLR 2018, arXiv:1710.09412),
facebookresearch/mixup-cifar10, whose default for CIFAR is `alpha` 1; 0.2 is usual on ImageNet.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.augmentation import Augmentation, AugmentationInfo, Batch, Place
from tasks.augmentations._mixing import blend, pair
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch

VERSION = 1
PLACE: Place = "device"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How strongly, and how often."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that a batch is mixed; that an image is, where `per_image`."""
    alpha: Annotated[float, Field(gt=0, le=100)] = 1.0
    """lambda ~ Beta(alpha, alpha): the share of itself that an image keeps."""
    per_image: bool = False
    """A lambda for each image instead of one for the batch."""


@dataclass(frozen=True, kw_only=True)
class MixUp:
    """An `Augmentation`."""

    config: Config

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        config = self.config
        pairs = pair(
            len(batch.images), config.alpha, config.probability, config.per_image, generator
        )
        return replace(
            batch,
            images=blend(batch.images, pairs.partner, pairs.kept),
            targets=blend(batch.targets, pairs.partner, pairs.kept),
        )


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Any image can be mixed."""
    return MixUp(config=config)
