"""CutMix: a box of another image is pasted in, and targets mix by area.

Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features"
(ICCV 2019, arXiv:1905.04899), clovaai/CutMix-PyTorch: lambda ~ Beta(beta, beta); the box has sides
`side * sqrt(1 - lambda)` around a pixel drawn uniformly, and is clipped to the image; lambda is
then the share that is left outside of it. One box serves the whole batch. The recipe for CIFAR
mixes half of the batches: `probability: 0.5`.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.augmentation import Augmentation, AugmentationInfo, Batch, Place
from tasks.augmentations._boxes import centred
from tasks.augmentations._mixing import pair, paste
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch

VERSION = 1
PLACE: Place = "device"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How large the boxes are, and how often one is pasted."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that a batch is mixed; that an image is, where `per_image`."""
    beta: Annotated[float, Field(gt=0, le=100)] = 1.0
    """lambda ~ Beta(beta, beta)."""
    per_image: bool = False
    """A lambda and a box for each image instead of one for the batch."""


@dataclass(frozen=True, kw_only=True)
class CutMix:
    """An `Augmentation`."""

    config: Config

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        import torch

        config, side = self.config, batch.images.shape[-1]
        pairs = pair(
            len(batch.images), config.beta, config.probability, config.per_image, generator
        )
        row, column = torch.randint(
            side, (2, len(pairs.kept)), generator=generator, device=generator.device
        )
        return paste(batch, pairs.partner, centred(row, column, pairs.length(side), side))


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Any image can be mixed."""
    return CutMix(config=config)
