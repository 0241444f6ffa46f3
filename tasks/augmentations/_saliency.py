"""Fine-grained static saliency: how much each pixel stands out from its surroundings.

Montabone & Soto, "Human detection using a mobile platform and novel features derived from a visual
saliency mechanism" (Image and Vision Computing 28, 2010), as OpenCV computes it of 8-bit images
(opencv_contrib, saliency/src/staticSaliencyFineGrained.cpp; compared bit by bit with 4.14): the
difference between a pixel and the mean of six surrounds, those that are brighter and those that
are darker apart. Here for a whole batch at once, on any device.
"""

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURHOODS = (12, 24, 48, 28, 56, 112)
"""Half the sides of the surrounds, in pixels."""


def saliency(images: "Tensor") -> "Tensor":
    """Compute the maps of square images of at least 2 × 2 pixels.

    OpenCV keeps a map in 8 bits, where a sum of both kinds above 255 would wrap around to nearly
    nothing; here it stays what it is.

    Args:
        images: N × 1 or 3 × side × side, float 0..1, seen as rounded to 8 bits.

    Returns:
        N × side × side, float32: whole numbers, 0 to 510; 0 all over an image of one colour.
    """
    import torch

    side = images.shape[-1]
    grey = _smooth(_smooth(_grey(images)))
    # Sums in float would depend on their order where they exceed 2**24.
    levels = grey.int()
    places = torch.arange(side, device=images.device)
    brighter, darker = torch.zeros_like(grey), torch.zeros_like(grey)
    # Surrounds that hold the whole image are all the same.
    for reach, times in Counter(min(each, side) for each in NEIGHBOURHOODS).items():
        sums = _surround(_surround(levels, reach, 1), reach, 2)
        extent = (places + reach + 1).clamp(max=side) - (places - reach + 1).clamp(min=0)
        difference = grey - (sums - grey) / (extent[:, None] * extent - 1)
        brighter.add_(difference.clamp(min=0).floor_(), alpha=times)
        darker.sub_(difference.clamp_(max=0).ceil_(), alpha=times)
    return _to_255(brighter) + _to_255(darker)


def _surround(levels: "Tensor", reach: int, dim: int) -> "Tensor":
    """Sum from reach - 1 places before to reach behind each, as far as there are any: int32."""
    import torch

    side = levels.shape[dim]
    sums = levels.cumsum(dim, dtype=torch.int32)
    last = sums.narrow(dim, side - 1, 1)
    beyond = last.expand(*(reach if each == dim else -1 for each in range(3)))
    out = torch.cat([sums.narrow(dim, reach, side - reach), beyond], dim)
    out.narrow(dim, reach, side - reach).sub_(sums.narrow(dim, 0, side - reach))
    return out


def _grey(images: "Tensor") -> "Tensor":
    """8-bit luma, in the fixed point of OpenCV's cvtColor: N × side × side, float32."""
    levels = images.mul(255).round_()
    if images.shape[1] == 1:
        return levels[:, 0]
    red, green, blue = levels.unbind(1)
    return (red * 9798 + green * 19235 + blue * 3735 + 2**14).div_(2**15).floor_()


def _smooth(grey: "Tensor") -> "Tensor":
    """Blur with (1, 2, 1) / 4 along both sides, mirrored at the border, rounded to 8 bits."""
    from torch.nn import functional

    wide = functional.pad(grey[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]
    rows = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:] + 8).div_(16).floor_()


def _to_255(differences: "Tensor") -> "Tensor":
    """Scale each map to 0..255, rounded down."""
    share = differences / differences.amax((1, 2), keepdim=True).clamp_(min=1)
    return share.double().mul_(255).floor_().float()
