"""Random Erasing: a box of each image is filled with a colour or with noise.

Zhong et al., "Random erasing data augmentation" (AAAI 2020, arXiv:1708.04896). Three conventions
that differ: `official` (zhunzhong07/Random-Erasing), `torchvision` (transforms.v2.RandomErasing)
and `timm` (data/random_erasing.py). All are used behind normalisation, so that the network sees a
fill of v as v: here, before it, that is v * std + mean. The official fill is the mean of CIFAR-10,
but *behind* normalisation, hence a light grey and not the mean colour; that of the others is 0, the
mean. A box is drawn until it is smaller than the image along both sides; where none is, nothing is
erased.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.augmentation import Augmentation, AugmentationInfo, Batch, Place, chosen
from tasks.augmentations._boxes import BoxLaw, placed
from tasks.errors import InputError
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1
PLACE: Place = "device"

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Fill = float | Annotated[tuple[float, ...], Field(min_length=1)] | Literal["colour", "noise"]


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What a source does where a study says nothing."""

    area: tuple[float, float]
    aspect: tuple[float, float]
    aspect_scale: Literal["linear", "log"]
    attempts: int
    fill: Fill


CONVENTIONS = {
    "official": Convention(
        area=(0.02, 0.4),
        aspect=(0.3, 1 / 0.3),
        aspect_scale="linear",
        attempts=100,
        fill=(0.4914, 0.4822, 0.4465),
    ),
    "torchvision": Convention(
        area=(0.02, 0.33), aspect=(0.3, 3.3), aspect_scale="log", attempts=10, fill=0.0
    ),
    "timm": Convention(
        area=(0.02, 1 / 3), aspect=(0.3, 1 / 0.3), aspect_scale="log", attempts=10, fill=0.0
    ),
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Whose boxes, and what is changed about them; what is None is as the convention has it."""

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Chance that a box is erased from an image; the same in all conventions."""
    convention: Literal["official", "torchvision", "timm"] = "official"
    area: tuple[Share, Share] | None = None
    """Smallest and largest share of the image, uniform between them."""
    aspect: tuple[Positive, Positive] | None = None
    """Smallest and largest height over width."""
    aspect_scale: Literal["linear", "log"] | None = None
    """The aspect, or its logarithm, is uniform."""
    attempts: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Draws until a box fits."""
    fill: Fill | None = None
    """Behind normalisation: a number, one for each channel, `colour` (normal noise, one colour a
    box: timm's `rand`) or `noise` (for each pixel: timm's `pixel`, torchvision's `random`)."""

    def __post_init__(self) -> None:
        for name in ("area", "aspect"):
            ends = getattr(self, name)
            if ends is not None and ends[0] > ends[1]:
                raise ValueError(f"{name}={list(ends)}: give the smaller end first")


@dataclass(frozen=True, kw_only=True)
class RandomErasing:
    """An `Augmentation`."""

    probability: float
    law: BoxLaw
    fill: Fill
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        import torch

        images = batch.images
        num_images, side = len(images), images.shape[-1]
        sizes = self.law.draw(num_images, side, generator)
        sizes = sizes * chosen(num_images, self.probability, generator)
        erased = placed(sizes, side, generator).pixels(side)
        return replace(batch, images=torch.where(erased, self._filling(images, generator), images))

    def _filling(self, images: "Tensor", generator: "torch.Generator") -> "Tensor":
        """What stands in a box, broadcast to the shape of the images."""
        import torch

        def by_channel(values: float | tuple[float, ...]) -> "Tensor":
            return torch.tensor(values).view(1, -1, 1, 1).to(images.device, non_blocking=True)

        if isinstance(self.fill, str):
            shape = images.shape if self.fill == "noise" else (*images.shape[:2], 1, 1)
            behind = torch.randn(shape, generator=generator, device=images.device)
        else:
            behind = by_channel(self.fill)
        return behind * by_channel(self.std) + by_channel(self.mean)


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Complete the settings from the convention.

    Grey images take the first colour of the official fill, as its code does.

    Raises InputError for a fill with another number of channels than the images.
    """
    chosen_by = CONVENTIONS[config.convention]
    fill = chosen_by.fill if config.fill is None else config.fill
    if config.fill is None and isinstance(fill, tuple):
        fill = fill[: info.channels]
    if isinstance(fill, tuple) and len(fill) not in (1, info.channels):
        raise InputError(
            f"random_erasing: fill={list(fill)} for images of {info.channels} channels: "
            f"give 1 or {info.channels} numbers"
        )
    law = BoxLaw(
        area=config.area or chosen_by.area,
        aspect=config.aspect or chosen_by.aspect,
        uniform_aspect=(config.aspect_scale or chosen_by.aspect_scale) == "linear",
        attempts=config.attempts or chosen_by.attempts,
        smallest=0,
        largest=info.side - 1,
    )
    return RandomErasing(
        probability=config.probability, law=law, fill=fill, mean=info.mean, std=info.std
    )
