"""AugMix: a random mean of the image and of several chains of operations on it.

Hendrycks et al., "AugMix: A simple data processing method to improve robustness and uncertainty"
(ICLR 2020, arXiv:1912.02781), as torchvision's transforms.v2.AugMix; its loss for the consistency
of several views is not part of this. On grey images the colour operation does nothing.
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
    """How many chains, how long, and how strong."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that an image is changed."""
    severity: Annotated[int, Field(ge=1, le=10)] = 3
    """Magnitudes are drawn from the lowest so many of ten."""
    width: Annotated[int, Field(ge=1, le=20)] = 3
    """Chains."""
    depth: Annotated[int, Field(ge=-1, le=20)] = -1
    """Operations in a chain; -1 draws 1 to 3."""
    alpha: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Of the Dirichlet and Beta laws that weigh the chains and the image."""
    all_ops: bool = True
    """Brightness, colour, contrast and sharpness too, which the paper leaves out because they
    overlap with the corruptions it tests on."""
    interpolation: Literal["nearest", "bilinear"] = "bilinear"

    def __post_init__(self) -> None:
        if self.depth == 0:
            raise ValueError("depth=0: give -1 (1 to 3, drawn) or a number of operations")


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Any image will do."""
    from torchvision.transforms import v2

    policy = v2.AugMix(
        severity=config.severity,
        mixture_width=config.width,
        chain_depth=config.depth,
        alpha=config.alpha,
        all_ops=config.all_ops,
        interpolation=v2.InterpolationMode(config.interpolation),
    )
    return PerImage(probability=config.probability, transform=TorchvisionPolicy(policy=policy))
