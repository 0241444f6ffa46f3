"""Which part of an image a mask means: white is repainted, unless it is inverted; and how far."""

from typing import Annotated

from pydantic import Field

from tasks.editing import Mask
from tasks.errors import InputError
from tasks.packs import Pixels

THRESHOLD = 128
"""The darkest level that is repainted."""
NEARLY = 16
"""Levels from black or white that are no grey yet: JPEG leaves such."""
MOST_GREY = 0.03
"""Share of grey pixels away from edges that a mask may have."""

Grow = Annotated[int, Field(ge=0, le=1000)]


def grown(mask: Mask, pixels: int) -> Mask:
    """Repaint also whatever is at most so many pixels away, as a disc reaches."""
    from scipy.ndimage import distance_transform_edt

    if not pixels or mask.all() or not mask.any():
        return mask
    found: Mask = distance_transform_edt(~mask) <= pixels
    return found


def black_and_white(levels: Pixels, where: str) -> Mask:
    """What is white in a mask's file.

    Greys along an edge are smoothing; they fall on the nearer side. Greys elsewhere mean something
    else: a label map, or a soft mask.

    Args:
        levels: uint8, H × W.

    Raises InputError naming `where` for greys, and for a mask whose white is not 255.
    """
    brightest = int(levels.max())
    if 0 < brightest < THRESHOLD:
        raise InputError(
            f"{where}: its brightest level is {brightest}: save it with 255 where images are "
            "repainted and 0 where they are kept"
        )
    share = _grey_share(levels)
    if share > MOST_GREY:
        raise InputError(
            f"{where}: {share:.0%} of it is grey: save it in black (kept) and white (repainted), "
            "without soft edges"
        )
    white: Mask = levels >= THRESHOLD
    return white


def _grey_share(levels: Pixels) -> float:
    from scipy.ndimage import maximum_filter, minimum_filter

    grey = (levels >= NEARLY) & (levels < 256 - NEARLY)
    if grey.mean() <= MOST_GREY:
        return 0.0
    # An edge goes from one side to the other within a pixel or two.
    high, low = maximum_filter(levels, 3).astype(int), minimum_filter(levels, 3).astype(int)
    return float((grey & (high - low < THRESHOLD)).mean())
