"""Draws a contact sheet: a few images of each class, the class names beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.packs import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage
    from PIL.ImageFont import FreeTypeFont

CELL = 96
"""Side of the square that an image is fitted into, in pixels."""
GAP = 6
MARGIN = 16
FONT_SIZE = 15
LINE = 20
LABEL_WIDTH = 220
"""At most; longer names are cut in the middle."""
PAPER, INK, MUTED, FRAME = "#ffffff", "#1a1a1a", "#6b6b6b", "#e4e4e4"


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """One class of a sheet."""

    label: str
    note: str
    """In small beside the name, such as a count."""
    images: tuple[Pixels, ...]
    """As `fitted` gives them; they may differ in shape."""


def fitted(pixels: Pixels) -> Pixels:
    """Scale an image to fit a cell, in colour: small ones by whole factors, so that pixels show."""
    from PIL import Image

    height, width = pixels.shape[:2]
    longest = max(height, width)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if 2 * longest <= CELL:
        factor = CELL // longest
        scaled = image.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    else:
        shape = (max(1, round(width * CELL / longest)), max(1, round(height * CELL / longest)))
        scaled = image.resize(shape, Image.Resampling.LANCZOS)
    return np.asarray(scaled.convert("RGB"))


def draw_sheet(title: str, rows: Sequence[SheetRow]) -> "PILImage":
    """Lay out the rows below a title, as an RGB image."""
    from PIL import Image, ImageDraw

    large, small = _font(FONT_SIZE), _font(FONT_SIZE - 3)
    labels = [_cut(row.label, large) for row in rows]
    texts = [*((label, large) for label in labels), *((row.note, small) for row in rows)]
    left = 2 * MARGIN + max((round(font.getlength(text)) for text, font in texts), default=0)
    top = MARGIN + LINE + GAP
    columns = max((len(row.images) for row in rows), default=0)
    wide = max(left + columns * (CELL + GAP) - GAP, MARGIN + round(large.getlength(title)))
    sheet = Image.new("RGB", (wide + MARGIN, top + len(rows) * (CELL + GAP) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 4), title, fill=INK, font=large)
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = top + index * (CELL + GAP)
        draw.text((MARGIN, y + CELL // 2 - LINE), label, fill=INK, font=large)
        draw.text((MARGIN, y + CELL // 2 + 2), row.note, fill=MUTED, font=small)
        for column, pixels in enumerate(row.images):
            image = Image.fromarray(pixels)
            x = left + column * (CELL + GAP)
            # Dark and white images alike need an edge against the paper.
            draw.rectangle((x - 1, y - 1, x + CELL, y + CELL), outline=FRAME)
            sheet.paste(image, (x + (CELL - image.width) // 2, y + (CELL - image.height) // 2))
    return sheet


def write_sheet(path: Path, sheet: "PILImage") -> None:
    """Write a PNG file aside and give it its name last; OSError where that cannot be."""
    aside = path.with_name(f".{path.name}.part")
    try:
        sheet.save(aside, format="PNG")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _font(size: int) -> "FreeTypeFont":
    import matplotlib
    from PIL import ImageFont

    # It ships with matplotlib and knows more letters than PIL's own.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _cut(text: str, font: "FreeTypeFont") -> str:
    """Cut the middle out of a long name: what tells two classes apart often stands last."""
    text = " ".join(text.split())
    if font.getlength(text) <= LABEL_WIDTH:
        return text
    kept = len(text) - 1
    while kept > 2 and font.getlength(_without_middle(text, kept)) > LABEL_WIDTH:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    head = (kept + 1) // 2
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - kept + head :]}"
