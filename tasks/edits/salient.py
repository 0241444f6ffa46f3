"""Masks of what stands out of an image, or of all but that, without any weights.

Achanta & Süsstrunk, "Saliency detection using maximum symmetric surround" (ICIP 2010): how far a
pixel's smoothed colour, in CIELAB, lies from the mean colour of the largest box around it that is
symmetric to it. It fills objects, where the fine-grained map of `saliencymix` marks what lies
around them, and it does not take the border for one. Seen at most 256 pixels a side; the `share` of
pixels that stands out most is the foreground.
"""

from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.editing import Mask
from tasks.edits.polarity import Grow
from tasks.errors import InputError
from tasks.packs import Pixels
from tasks.specs import STRICT

LARGEST_SIDE = 256
SMOOTHED = 1 / 64
"""Standard deviation of the smoothing, as a share of the longer side: parts, and no specks."""
D65 = (0.950456, 1.0, 1.088754)
"""White, as CIE XYZ."""
TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""Of linear sRGB."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Saliency:
    """What stands out, or what does not."""

    name: Literal["saliency"] = "saliency"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Of the pixels that are foreground."""
    repaint: Literal["foreground", "background"] = "foreground"
    grow: Grow = 0
    """Pixels by which the repainted part grows."""


@plain_dataclass(frozen=True, kw_only=True)
class Salient:
    """A `Maker`."""

    config: Saliency

    def mask(self, source: str, class_name: str, image: Pixels, seed: int) -> Mask:
        height, width = image.shape[:2]
        if bool((image == image[0, 0]).all()):
            raise InputError(f"mask: nothing of {source!r} stands out: it is of one colour")
        levels = _map(image)
        number = min(max(1, round(self.config.share * levels.size)), levels.size - 1)
        # Of equal levels the first in reading order, as numpy sorts stably.
        order = np.argsort(-levels, axis=None, kind="stable")
        found = np.zeros(levels.size, np.bool_)
        found[order[:number]] = True
        foreground = found.reshape(height, width)
        return foreground if self.config.repaint == "foreground" else ~foreground

    def stamp(self, source: str, class_name: str, seed: int) -> Any:
        return None

    def where(self, source: str, class_name: str) -> str:
        return "mask: saliency"

    def content(self) -> Any:
        return None


def _map(image: Pixels) -> npt.NDArray[np.float32]:
    """How much each pixel stands out: H × W."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    seen = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX))
    levels = Image.fromarray(salience(seen).astype(np.float32))
    found: npt.NDArray[np.float32] = np.asarray(
        levels.resize((width, height), Image.Resampling.BILINEAR)
    )
    return found


def salience(rgb: Pixels) -> Floats:
    """The distance of each pixel from its symmetric surround, in CIELAB.

    Args:
        rgb: uint8, H × W × 3.
    """
    from scipy.ndimage import gaussian_filter

    height, width = rgb.shape[:2]
    lab = to_lab(rgb)
    deviation = SMOOTHED * max(height, width)
    smooth = gaussian_filter(lab, (deviation, deviation, 0))
    sums = np.zeros((height + 1, width + 1, 3))
    sums[1:, 1:] = lab.cumsum(0).cumsum(1)
    (top, bottom), (left, right) = _symmetric(height), _symmetric(width)
    inside = sums[bottom][:, right] - sums[bottom][:, left] - sums[top][:, right]
    inside += sums[top][:, left]
    area = (bottom - top)[:, None, None] * (right - left)[None, :, None]
    distance: Floats = np.linalg.norm(smooth - inside / area, axis=2)
    return distance


def _symmetric(side: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last (exclusive) place of the longest stretch around each place."""
    places = np.arange(side, dtype=np.int64)
    reach = np.minimum(places, side - 1 - places)
    return places - reach, places + reach + 1


def to_lab(rgb: Pixels) -> Floats:
    """SRGB to CIELAB, with D65 as white; lightness is 0 to 100."""
    share = rgb / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array(TO_XYZ).T / np.array(D65)
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), 2, 0)
    lab: Floats = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2)
    return lab
