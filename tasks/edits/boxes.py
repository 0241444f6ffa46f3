"""Masks of bounding boxes, as annotations of a dataset have them."""

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass as plain_dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.datasets._text import read_pairs
from tasks.editing import Mask
from tasks.edits.documents import Value, read_document
from tasks.edits.polarity import Grow
from tasks.errors import InputError
from tasks.packs import Pixels
from tasks.specs import STRICT, Locator

COLUMNS = ("file", "x", "y", "width", "height")
EXPECTED = (
    "a CSV or JSON file of rows file,x,y,width,height, or the bounding_boxes.txt of CUB-200 beside "
    "its images.txt"
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Boxes:
    """Repaint the boxes of each image; there may be several."""

    name: Literal["boxes"] = "boxes"
    path: Locator[str]
    """A CSV file or a JSON list of `file,x,y,width,height` (left, top and sides, in pixels; `file`
    is the image's path below the input folder), or CUB-200's `bounding_boxes.txt` or its folder."""
    margin: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Added on each of the four sides, as a share of the box's width or height."""
    invert: bool = False
    """Repaint what lies around the boxes."""
    grow: Grow = 0
    """Pixels by which the repainted part grows."""


@plain_dataclass(frozen=True, kw_only=True)
class Box:
    """One box, in pixels."""

    where: str
    """The file and the row."""
    left: float
    top: float
    width: float
    height: float


@plain_dataclass(frozen=True, kw_only=True)
class OfBoxes:
    """A `Maker`."""

    path: Path
    margin: float
    boxes: Mapping[str, tuple[Box, ...]]

    def mask(self, source: str, class_name: str, image: Pixels, seed: int) -> Mask:
        found = np.zeros(image.shape[:2], np.bool_)
        for box in self._of(source):
            _fill(found, box, self.margin, source)
        return found

    def stamp(self, source: str, class_name: str, seed: int) -> Any:
        return _numbers(self._of(source))

    def where(self, source: str, class_name: str) -> str:
        return f"mask {str(self.path)!r}"

    def content(self) -> Any:
        return {source: _numbers(boxes) for source, boxes in sorted(self.boxes.items())}

    def _of(self, source: str) -> tuple[Box, ...]:
        if source not in self.boxes:
            raise InputError(f"mask {str(self.path)!r}: has no box for {source!r}: add one")
        return self.boxes[source]


def _numbers(boxes: tuple[Box, ...]) -> list[list[float]]:
    return sorted([box.left, box.top, box.width, box.height] for box in boxes)


def _fill(mask: Mask, box: Box, margin: float, source: str) -> None:
    """Rounded as tasks.datasets.cub200 cuts them; parts beyond the image are left out."""
    height, width = mask.shape
    across, down = margin * box.width, margin * box.height
    top, bottom = round(box.top - down), round(box.top + box.height + down)
    left, right = round(box.left - across), round(box.left + box.width + across)
    part = mask[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if not part.size:
        raise InputError(
            f"{box.where}: the box {box.left:g}, {box.top:g}, {box.width:g} × {box.height:g} lies "
            f"outside {source!r}, which has {width} × {height} pixels"
        )
    part[:] = True


def open_boxes(config: Boxes) -> OfBoxes:
    """Raises InputError, with the row, for what is no box."""
    path = Path(config.path)
    if path.is_dir():
        path /= "bounding_boxes.txt"
    readers: dict[str, Callable[[Path], Iterator[tuple[str, Box]]]] = {
        ".csv": _of_csv,
        ".json": _of_json,
        ".txt": _of_cub,
    }
    if path.suffix.lower() not in readers or not path.is_file():
        what = "is none" if path.is_file() else "there is no such file"
        raise InputError(f"mask {str(path)!r}: {what}; expected {EXPECTED}")
    found: dict[str, list[Box]] = {}
    for name, box in readers[path.suffix.lower()](path):
        found.setdefault(PurePosixPath(name).as_posix(), []).append(box)
    if not found:
        raise InputError(f"mask {str(path)!r}: holds no box; expected {EXPECTED}")
    boxes = {name: tuple(each) for name, each in found.items()}
    return OfBoxes(path=path, margin=config.margin, boxes=boxes)


def _of_csv(path: Path) -> Iterator[tuple[str, Box]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            header = list(reader.fieldnames or ())
            if not set(COLUMNS) <= set(header):
                raise InputError(
                    f"mask {str(path)!r}: the header is {','.join(header)!r}; {','.join(COLUMNS)} "
                    "would do"
                )
            for row in reader:
                where = f"mask {str(path)!r}, row {reader.line_num}"
                yield row["file"] or "", _box(where, row)
    except (csv.Error, OSError, UnicodeDecodeError) as error:
        raise InputError(f"mask {str(path)!r}: cannot be read ({error})") from error


def _of_json(path: Path) -> Iterator[tuple[str, Box]]:
    document = read_document(path, EXPECTED)
    if not isinstance(document.content, tuple):
        raise InputError(f"{document.where}: is {document.shown}, not a list of boxes")
    for row in document.content:
        yield _of_row(row)


def _of_row(row: Value) -> tuple[str, Box]:
    values = row.content
    if not isinstance(values, dict) or not set(COLUMNS) <= set(values):
        raise InputError(f"{row.where}: is no box; {', '.join(COLUMNS)} would do")
    numbers = {name: values[name].content for name in COLUMNS[1:]}
    return values["file"].text("file"), _box(row.where, numbers)


def _of_cub(path: Path) -> Iterator[tuple[str, Box]]:
    rows = read_pairs("mask", path, EXPECTED)
    for image, (row, name) in read_pairs("mask", path.with_name("images.txt"), EXPECTED).items():
        if image not in rows:
            raise InputError(
                f"mask {str(path)!r}: has no row for image {image}, row {row} of images.txt"
            )
        number, values = rows[image]
        where = f"mask {str(path)!r}, row {number}"
        parts = values.split()
        if len(parts) != len(COLUMNS) - 1:
            raise InputError(f"{where}: {values!r} is no left, top, width and height")
        yield name, _box(where, dict(zip(COLUMNS[1:], parts, strict=True)))


def _box(where: str, values: Mapping[str, Any]) -> Box:
    left, top, width, height = (_pixels(where, name, values[name]) for name in COLUMNS[1:])
    for name, side in (("width", width), ("height", height)):
        if side <= 0:
            raise InputError(f"{where}: the {name} is {side:g}; a number above 0 would do")
    return Box(where=where, left=left, top=top, width=width, height=height)


def _pixels(where: str, name: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {name} {value!r} is no number of pixels") from error
    if not math.isfinite(number):
        raise InputError(f"{where}: {name} {value!r} is no number of pixels")
    return number
