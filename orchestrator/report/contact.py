"""Joins small pictures into one: a page holds dozens of sheets, not thousands of images."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Pictures = Sequence[Sequence[bytes]]
"""PNG files by row; rows may differ in length."""

GAP = 1
"""Pixels of nothing between pictures."""
SHOWN_SIDE = 32
"""Pixels of the screen that a small picture fills at least; they are enlarged by whole factors."""
LARGEST_SIDE = 56


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Pictures joined into one."""

    png: bytes
    width: int
    """Pixels, on the screen."""
    num_rows: int
    num_columns: int
    is_enlarged: bool
    """Pixel by pixel."""


def joined(pictures: Pictures) -> Sheet | None:
    """Lay pictures out in rows and columns of equal cells; None where there is none.

    Cells are as large as the largest picture; others stand in the middle of theirs.
    """
    from PIL import Image

    rows = [[Image.open(io.BytesIO(each)) for each in row] for row in pictures]
    every = [image for row in rows for image in row]
    if not every:
        return None
    width, height = (max(image.size[axis] for image in every) for axis in (0, 1))
    num_columns = max(map(len, rows))
    # Transparent between them, for light and dark pages.
    mode = "LA" if all(image.mode in ("L", "1") for image in every) else "RGBA"
    size = (num_columns * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP)
    sheet = Image.new(mode, size)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            left = x * (width + GAP) + (width - image.size[0]) // 2
            top = y * (height + GAP) + (height - image.size[1]) // 2
            sheet.paste(image.convert(mode), (left, top))
    out = io.BytesIO()
    sheet.save(out, format="PNG")
    factor = max(1, SHOWN_SIDE // width)
    shown = min(factor * width, LARGEST_SIDE) / width
    return Sheet(
        png=out.getvalue(),
        width=round(shown * size[0]),
        num_rows=len(rows),
        num_columns=num_columns,
        is_enlarged=factor > 1,
    )


def weight(pictures: Iterable[Sequence[bytes]]) -> int:
    """Bytes of all pictures."""
    return sum(len(each) for row in pictures for each in row)


def most_within(allowance: int, counts: Sequence[int], weigh: Callable[[int], int]) -> int:
    """The first of `counts`, which fall, whose weight is within the allowance; else the last."""
    return next((count for count in counts if weigh(count) <= allowance), counts[-1])
