"""Colour jitter: brightness, contrast, saturation and hue, each by a random factor.

Howard, "Some improvements on deep convolutional neural network based image classification"
(arXiv:1312.5602); torchvision's ColorJitter, whose factors, order and clamping these are, drawn for
each image. The defaults are those of the usual ImageNet recipes (facebookarchive/fb.resnet.torch).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.augmentation import Augmentation, AugmentationInfo, Batch, Place, chosen
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1
PLACE: Place = "device"

CONTRAST, SATURATION, HUE = 1, 2, 3
"""Operations by number; 0 is brightness."""

Width = Annotated[float, Field(ge=0, le=10)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How far each factor goes."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that an image is changed."""
    brightness: Width = 0.4
    """b: the factor is uniform in [max(0, 1 - b), 1 + b], as for the next two."""
    contrast: Width = 0.4
    saturation: Width = 0.4
    """Grey images have none, as they have no hue."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """h: the hue turns by a share of the colour circle that is uniform in [-h, h]."""


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """An `Augmentation`; each image has an order of operations of its own."""

    config: Config
    coloured: bool

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        import torch

        config, num_images = self.config, len(batch.images)
        widths = [config.brightness, config.contrast]
        if self.coloured:
            widths.append(config.saturation)
        num_factors = len(widths)
        turns = self.coloured and config.hue > 0

        def uniform(low: float, high: float) -> "Tensor":
            drawn = torch.rand(num_images, generator=generator, device=generator.device)
            return drawn * (high - low) + low

        factors = torch.stack([uniform(max(0.0, 1 - width), 1 + width) for width in widths], dim=1)
        if turns:
            # What turns the hue blends nothing.
            factors = torch.cat([factors, torch.ones_like(factors[:, :1])], dim=1)
        order = torch.rand(
            (num_images, num_factors + turns), generator=generator, device=generator.device
        ).argsort(1)
        turn = uniform(-config.hue, config.hue)
        # Whole channels are worked on, which lie apart where a batch has its channels last.
        images = batch.images.contiguous()
        for operation in order.unbind(1):
            factor = factors.gather(1, operation[:, None])[:, 0]
            images = _blended(images, operation, factor)
            if turns:
                # The one step that costs enough to be worth waiting for how many images take it.
                rows = (operation == HUE).nonzero()[:, 0]
                images[rows] = _turned(images[rows], turn[rows])
        changed = chosen(num_images, config.probability, generator)
        return replace(batch, images=torch.where(changed.view(-1, 1, 1, 1), images, batch.images))


def _blended(images: "Tensor", operation: "Tensor", factor: "Tensor") -> "Tensor":
    """factor * image + (1 - factor) * other, clamped to 0..1.

    Other is black for brightness, the mean of the luma for contrast, the luma for saturation: all
    images take their step at once, whichever it is.
    """
    import torch

    luma = _luma(images)
    by_image = (-1, 1, 1, 1)
    other = luma * (operation == SATURATION).view(by_image)
    other += luma.mean((1, 2, 3), keepdim=True) * (operation == CONTRAST).view(by_image)
    return torch.lerp(other, images, factor.view(by_image)).clamp_(0, 1)


def _luma(images: "Tensor") -> "Tensor":
    """N × 1 × side × side, with torchvision's weights."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    luma: Tensor = red * 0.2989
    return luma.add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _turned(images: "Tensor", turn: "Tensor") -> "Tensor":
    """Turn the hue in the hexagon of HSV; value and chroma stay."""
    import torch

    value, chief = images.max(1)
    chroma = value - images.amin(1)
    red, green, blue = images.unbind(1)
    # The sextant is counted from the largest channel; grey pixels have no chroma, and any hue.
    distance = torch.stack([green - blue, blue - red, red - green], 1).gather(1, chief[:, None])
    hue = distance[:, 0] / chroma.clamp(min=1e-12) + 2 * chief + 6 * turn.view(-1, 1, 1)
    channels = []
    for start in (5, 3, 1):
        sextant = (hue + start).remainder(6)
        channels.append(value - chroma * torch.minimum(sextant, 4 - sextant).clamp(0, 1))
    return torch.stack(channels, dim=1)


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Grey images change in brightness and contrast only."""
    return ColorJitter(config=config, coloured=info.channels == 3)
