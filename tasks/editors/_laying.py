"""Lays an image on a canvas that a service takes, and cuts its edit out of the answer."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tasks.editing import Mask
from tasks.packs import Pixels, luma

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_ASPECT = 2.25
"""Long side to short side; services take 7:3 (BFL) or 5:2 (Stability) at most."""


@dataclass(frozen=True, kw_only=True)
class Laid:
    """An image scaled into the middle of a canvas, whose rest repeats the image's edge."""

    shape: tuple[int, ...]
    """H, W, C of the image."""
    canvas: tuple[int, int]
    """Width and height."""

    @property
    def _box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the image on the canvas."""
        height, width = self.shape[:2]
        scale = min(self.canvas[0] / width, self.canvas[1] / height)
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (self.canvas[0] - wide) // 2, (self.canvas[1] - high) // 2
        return left, top, left + wide, top + high

    def png(self, pixels: Pixels) -> bytes:
        """The canvas with the image on it, in colour."""
        left, top, right, bottom = self._box
        colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        scaled = Image.fromarray(colour).resize(
            (right - left, bottom - top), Image.Resampling.LANCZOS
        )
        margins = ((top, self.canvas[1] - bottom), (left, self.canvas[0] - right), (0, 0))
        return png(np.pad(np.asarray(scaled), margins, mode="edge"))

    def mask(self, mask: Mask) -> Mask:
        """The mask on the canvas; what is no part of the image is kept."""
        left, top, right, bottom = self._box
        scaled = Image.fromarray(mask.astype(np.uint8) * 255).resize(
            (right - left, bottom - top), Image.Resampling.NEAREST
        )
        out = np.zeros((self.canvas[1], self.canvas[0]), np.bool_)
        out[top:bottom, left:right] = np.asarray(scaled) > 0
        return out

    def restored(self, answer: bytes) -> Pixels:
        """The edited image as large, and with as many channels, as the one that was laid.

        An answer of another size is taken as the same canvas, scaled.
        """
        height, width, channels = self.shape
        with Image.open(io.BytesIO(answer), formats=FORMATS) as opened:
            image = opened.convert("RGB")
        across, down = image.width / self.canvas[0], image.height / self.canvas[1]
        left, top, right, bottom = self._box
        box = (left * across, top * down, right * across, bottom * down)
        out = np.array(image.resize((width, height), Image.Resampling.LANCZOS, box=box))
        return luma(out) if channels == 1 else out


def canvas_of(shape: tuple[int, ...], side: int, multiple: int) -> tuple[int, int]:
    """Width and height of about the image's aspect: the long side is `side`, both are multiples."""
    height, width = shape[:2]
    scale = side / max(height, width)
    least = side / MAX_ASPECT
    return tuple(  # type: ignore[return-value]
        -(-max(round(length * scale), round(least)) // multiple) * multiple
        for length in (width, height)
    )


def png(pixels: Pixels) -> bytes:
    """H × W or H × W × C as PNG, packed fast rather than small: it is sent once."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def black_and_white(mask: Mask) -> bytes:
    """A mask as PNG: white is repainted."""
    return png(mask.astype(np.uint8) * 255)


def is_image(answer: bytes) -> bool:
    """Whether it can be decoded to its last row."""
    try:
        with Image.open(io.BytesIO(answer), formats=FORMATS) as opened:
            opened.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True
