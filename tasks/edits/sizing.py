"""Brings images to the size and the channels that a model wants, and what it made of them back."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.editing import Mask
from tasks.errors import InputError
from tasks.packs import Pixels, luma

How = Literal["resize", "pad"]
"""`resize` scales (Lanczos). `pad` mirrors at the border instead, and scales down alone, where an
image is larger than the model takes; what it keeps is bit-equal."""

SMALLEST_SHARE = 1 / 32
"""Of one side in the other where a model's budget of pixels decides on both."""


@dataclass(frozen=True, kw_only=True)
class Takes:
    """What images a model takes. With neither `size` nor `pixels` it takes any, in multiples."""

    multiple: int = 8
    """Of both sides, where `size` does not say them."""
    size: tuple[int, int] | None = None
    """Height and width, for models that take no other."""
    pixels: int | None = None
    """As many as the model was trained on. `resize` comes as near as multiples allow, up or down,
    and not above; for `pad` it is the most. Sides keep their ratio."""
    channels: int = 3

    def __post_init__(self) -> None:
        if self.size is not None and self.pixels is not None:
            raise ValueError(f"size={self.size} and pixels={self.pixels}: one of them says it all")
        if self.multiple < 1 or any(side < 1 for side in self.size or ()):
            raise ValueError(f"size={self.size}, multiple={self.multiple}: at least 1")
        if self.pixels is not None and self.pixels < self.multiple**2:
            raise ValueError(f"pixels={self.pixels}: at least {self.multiple}²")
        if self.channels not in (1, 3):
            raise ValueError(f"channels={self.channels}: 1 (grey) or 3 (RGB)")


@dataclass(frozen=True, kw_only=True)
class Restore:
    """The way back from a model's image to the size and the channels of its source."""

    source: tuple[int, int, int]
    """Height, width and channels."""
    inner: tuple[int, int]
    """Height and width of the source's part in the model's image."""
    model: tuple[int, int]
    """Height and width of the model's image."""

    def __call__(self, edited: Pixels) -> Pixels:
        """What a model made, H × W × C, as the source would show it.

        An image of another size than was asked for, as services give them, is scaled to it first.
        """
        whole = resized(edited, *self.model)
        top, left = (
            (around - part) // 2 for around, part in zip(self.model, self.inner, strict=True)
        )
        part = whole[top : top + self.inner[0], left : left + self.inner[1]]
        height, width, channels = self.source
        return np.ascontiguousarray(with_channels(resized(part, height, width), channels))


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """An image as a model takes it."""

    image: Pixels
    mask: Mask | None
    restore: Restore


def fit(image: Pixels, mask: Mask | None, takes: Takes, how: How = "resize") -> Fitted:
    """Make the model's image, and its mask where there is one.

    A mask's pixel is repainted where any of the source's pixels in it is; around a padded image it
    is mirrored as the image is, so that nothing that shall go stands in the padding.

    Args:
        image: uint8, H × W × 1 or 3.
        mask: H × W.

    Raises InputError for images so narrow that no pixel would be left of one side.
    """
    height, width, channels = image.shape
    assert mask is None or mask.shape == (height, width), "masks are checked where they are made"
    inner, model = _sizes(height, width, takes, how)
    scaled = with_channels(resized(image, *inner), takes.channels)
    padding = [_around(part, whole) for part, whole in zip(inner, model, strict=True)]
    if mask is not None:
        mask = np.pad(_resized_mask(mask, *inner), padding, mode="reflect")
    return Fitted(
        image=np.pad(scaled, [*padding, (0, 0)], mode="reflect"),
        mask=mask,
        restore=Restore(source=(height, width, channels), inner=inner, model=model),
    )


def keep_outside(source: Pixels, edited: Pixels, mask: Mask) -> Pixels:
    """The edited image inside the mask and the source's own pixels, bit by bit, outside of it."""
    if not source.shape == edited.shape == (*mask.shape, source.shape[2]):
        raise ValueError(f"source {source.shape}, edited {edited.shape}, mask {mask.shape}")
    kept: Pixels = np.where(mask[..., None], edited, source)
    return kept


def with_channels(image: Pixels, channels: int) -> Pixels:
    """Grey to RGB, three times the same, or RGB to grey (ITU-R 601); equal channels come back."""
    if image.shape[2] == channels:
        return image
    return np.repeat(image, 3, axis=2) if channels == 3 else luma(image)


def resized(image: Pixels, height: int, width: int) -> Pixels:
    """Scale an image, H × W × 1 or 3, by Lanczos; one of that size is returned as it is."""
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    given = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    out = np.array(given.resize((width, height), Image.Resampling.LANCZOS))
    return out[..., None] if out.ndim == 2 else out


def _resized_mask(mask: Mask, height: int, width: int) -> Mask:
    """Scale a mask; true wherever a true pixel reaches."""
    if mask.shape == (height, width):
        return mask
    rows, columns = _reached(mask.shape[0], height), _reached(mask.shape[1], width)
    # How many true pixels lie above and left of each corner: a box's number from four of them.
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask.cumsum(0, dtype=np.int64).cumsum(1)
    (top, bottom), (left, right) = rows, columns
    inside = sums[bottom][:, right] - sums[bottom][:, left] - sums[top][:, right]
    found: Mask = inside + sums[top][:, left] > 0
    return found


def _reached(before: int, after: int) -> tuple["np.typing.NDArray[np.int64]", ...]:
    """First and last (exclusive) of the `before` pixels that each of the `after` ones lies over."""
    places = np.arange(after, dtype=np.int64)
    return places * before // after, -(-(places + 1) * before // after)


def _sizes(
    height: int, width: int, takes: Takes, how: How
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The source's part in the model's image, and that image: heights and widths."""
    if how == "resize":
        model = takes.size or _scaled(height, width, takes)
        return model, model
    if takes.size is not None:
        scale = min(1.0, takes.size[0] / height, takes.size[1] / width)
        inner = (_shrunk(height, scale), _shrunk(width, scale))
        return inner, takes.size
    inner, multiple = (height, width), takes.multiple
    if takes.pixels is not None and _up(height, multiple) * _up(width, multiple) > takes.pixels:
        # The largest that, rounded down to multiples, is within the budget: it needs no padding.
        inner = _scaled(height, width, takes)
    return inner, (_up(inner[0], multiple), _up(inner[1], multiple))


def _scaled(height: int, width: int, takes: Takes) -> tuple[int, int]:
    """Sides in about the same ratio, in multiples."""
    multiple = takes.multiple
    if takes.pixels is None:
        return _nearest(height, multiple), _nearest(width, multiple)
    if min(height, width) < SMALLEST_SHARE * max(height, width):
        raise InputError(
            f"an image of {width} × {height} pixels is too narrow for this editor: cut it to a "
            f"ratio within 1 : {round(1 / SMALLEST_SHARE)}"
        )
    scale = math.sqrt(takes.pixels / (height * width))
    short, long = sorted((height, width))
    # The short side first, as rounding moves it most; the long one then takes what is left.
    small = max(multiple, _nearest(short * scale, multiple))
    large = min(
        _nearest(long * small / short, multiple), takes.pixels // small // multiple * multiple
    )
    large = max(multiple, large)
    return (small, large) if height <= width else (large, small)


def _around(part: int, whole: int) -> tuple[int, int]:
    before = (whole - part) // 2
    return before, whole - part - before


def _shrunk(side: int, scale: float) -> int:
    return max(1, round(side * scale))


def _nearest(side: float, multiple: int) -> int:
    return max(multiple, round(side / multiple) * multiple)


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
