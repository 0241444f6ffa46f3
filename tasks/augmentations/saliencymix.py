"""SaliencyMix: the most salient part of another image is pasted in, and targets mix by area.

Uddin et al., "SaliencyMix: A saliency guided data augmentation strategy for better regularization"
(ICLR 2021, arXiv:2006.01791), afm-shahab-uddin/SaliencyMix. lambda ~ Beta(beta, beta); a box with
sides `side * sqrt(1 - lambda)` is centred on the maximum of a fine-grained saliency map (of equal
maxima the first in reading order) and clipped; lambda is then the share left outside of it.

By default as in that code: one map, of the first partner, and one box for the whole batch, of which
half are mixed; its recipe for ImageNet mixes all. `per_image` is what the paper describes. Maps are
of the image in 8 bits, as OpenCV's function means them. The published code gives that function
normalised floats, which it reads as bytes: its maps have nothing to do with the image (correlation
0.006 over 200 of CIFAR-10), and its boxes lie anywhere. `cutmix` is the nearer to it in effect.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.augmentation import Augmentation, AugmentationInfo, Batch, Place
from tasks.augmentations._boxes import centred
from tasks.augmentations._mixing import pair, paste
from tasks.augmentations._saliency import saliency
from tasks.errors import InputError
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch

VERSION = 1
PLACE: Place = "device"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How large the boxes are, and how often one is pasted."""

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Chance that a batch is mixed; that an image is, where `per_image`."""
    beta: Annotated[float, Field(gt=0, le=100)] = 1.0
    """lambda ~ Beta(beta, beta)."""
    per_image: bool = False
    """A map, a lambda and a box for each image instead of one for the batch."""


@dataclass(frozen=True, kw_only=True)
class SaliencyMix:
    """An `Augmentation`."""

    config: Config

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        config, side = self.config, batch.images.shape[-1]
        pairs = pair(
            len(batch.images), config.beta, config.probability, config.per_image, generator
        )
        # The maps of all partners, or of the first one.
        seen = batch.images[pairs.partner[: len(pairs.kept)]]
        peak = saliency(seen).flatten(1).argmax(1)
        box = centred(peak // side, peak % side, pairs.length(side), side)
        return paste(batch, pairs.partner, box)


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Raises InputError for images of a single pixel, which have no surroundings."""
    if info.side < 2:
        raise InputError("saliencymix: images of 1 pixel have no salient part; 2 × 2 would do")
    return SaliencyMix(config=config)
