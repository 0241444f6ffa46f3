"""Boxes inside square images, many at a time: where they are, how large, which pixels they hold."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """One box a row: pixels from `top` and `left` up to, and without, `bottom` and `right`.

    All four are int64, N.
    """

    top: "Tensor"
    bottom: "Tensor"
    left: "Tensor"
    right: "Tensor"

    def area(self) -> "Tensor":
        """In pixels: N."""
        return (self.bottom - self.top) * (self.right - self.left)

    def pixels(self, side: int) -> "Tensor":
        """Which pixels the boxes hold: bool, N × 1 × side × side."""
        import torch

        places = torch.arange(side, device=self.top.device)
        rows = (places >= self.top[:, None]) & (places < self.bottom[:, None])
        columns = (places >= self.left[:, None]) & (places < self.right[:, None])
        return (rows[:, :, None] & columns[:, None, :])[:, None]


def centred(row: "Tensor", column: "Tensor", length: "Tensor", side: int) -> Boxes:
    """Squares around pixels, clipped to the image; an odd length counts as one less.

    As CutMix has it (`rand_bbox` of clovaai/CutMix-PyTorch), and SaliencyMix after it.
    """
    half = length // 2
    return Boxes(
        top=(row - half).clamp(min=0),
        bottom=(row + half).clamp(max=side),
        left=(column - half).clamp(min=0),
        right=(column + half).clamp(max=side),
    )


@dataclass(frozen=True, kw_only=True)
class BoxLaw:
    """How boxes are drawn: by area and aspect, again and again until one fits."""

    area: tuple[float, float]
    """Share of the image."""
    aspect: tuple[float, float]
    """Height over width."""
    uniform_aspect: bool
    """Uniform between the two aspects; otherwise its logarithm is."""
    attempts: int
    smallest: int
    """Pixels along a side."""
    largest: int

    def draw(self, num_boxes: int, side: int, generator: "torch.Generator") -> "Tensor":
        """Draw heights and widths: 2 × num_boxes, float32; 0 where no attempt fits."""
        import torch

        def between(ends: tuple[float, float]) -> "Tensor":
            drawn = torch.rand(
                (num_boxes, self.attempts), generator=generator, device=generator.device
            )
            return drawn.mul_(ends[1] - ends[0]).add_(ends[0])

        low, high = self.aspect
        area = between(self.area) * side**2
        aspect = (
            between(self.aspect)
            if self.uniform_aspect
            else between((math.log(low), math.log(high))).exp_()
        )
        sizes = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()]).round_()
        fits = ((sizes >= self.smallest) & (sizes <= self.largest)).all(0)
        first = fits.int().argmax(1, keepdim=True)
        return sizes.gather(2, first.expand(2, -1, -1)).squeeze(2) * fits.any(1)


def placed(sizes: "Tensor", side: int, generator: "torch.Generator") -> Boxes:
    """Put boxes of `sizes` (2 × N: heights, widths) at any place of an image, each as likely."""
    import torch

    places = torch.rand(sizes.shape, generator=generator, device=generator.device)
    (top, left), (height, width) = (places * (side - sizes + 1)).long(), sizes.long()
    return Boxes(top=top, bottom=top + height, left=left, right=left + width)
