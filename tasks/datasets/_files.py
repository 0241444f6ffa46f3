"""Datasets whose images are files, each with its label: listed, hashed one by one, decoded."""

import hashlib
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.datasets._decode import decode
from tasks.datasets._splits import Contents
from tasks.errors import InputError
from tasks.origins import read_origins
from tasks.packs import Example, Pixels
from tasks.reading import FileFacts, Row, file_sha256

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
"""Of what is taken for an image where a folder is searched."""


@dataclass(frozen=True, kw_only=True)
class File:
    """An image before it is read."""

    label: int
    source: str
    path: Path
    box: tuple[float, float, float, float] | None = None
    """Left, top, width and height in pixels of the part that counts; None is the whole."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of a dataset."""

    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[File]]


class FileStore:
    """A `Store` of image files."""

    def __init__(self, listing: Listing, *, skip_bad: bool, colour: bool = False) -> None:
        """`colour` makes three channels of grey images, where a dataset holds a few of them."""
        self._listing, self._skip_bad, self._colour = listing, skip_bad, colour

    def splits(self) -> Container[str]:
        return self._listing.splits

    def files(self) -> Sequence[Path]:
        return ()

    def contents(self, facts: FileFacts) -> Contents:
        rows: dict[str, list[Row]] = {}
        skipped: dict[str, tuple[str, ...]] = {}
        for split, files in self._listing.splits.items():
            bad = {
                file.source
                for file in files
                if self._skip_bad and facts(file.path, "readable", readable) != "yes"
            }
            rows[split] = [
                (file.label, file.source, facts(file.path, "sha256", file_sha256))
                for file in files
                if file.source not in bad
            ]
            skipped[split] = tuple(file.source for file in files if file.source in bad)
        return Contents(classes=self._listing.classes, rows=rows, skipped=skipped)

    def examples(self, split: str, kept: Container[str] | None) -> Iterator[Example]:
        for file in self._listing.splits[split]:
            if kept is not None and file.source not in kept:
                continue
            data = file.path.read_bytes()
            try:
                pixels = decode(data, str(file.path))
            except InputError:
                if self._skip_bad:
                    continue
                raise
            sha = hashlib.sha256(data).hexdigest()
            pixels = self._finished(pixels, file)
            yield Example(
                pixels=pixels,
                label=file.label,
                source=file.source,
                sha256=sha,
                origins=read_origins(data),
            )

    def _finished(self, pixels: Pixels, file: File) -> Pixels:
        if file.box is not None:
            pixels = cropped(pixels, file.box, str(file.path))
        if self._colour and pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        return pixels


def cropped(pixels: Pixels, box: tuple[float, float, float, float], where: str) -> Pixels:
    """Cut a box (left, top, width, height in pixels) out of an image, as far as it lies in it.

    Raises InputError naming `where` for a box that lies elsewhere.
    """
    left, top, width, height = box
    edges = (max(0, round(top)), round(top + height), max(0, round(left)), round(left + width))
    part = pixels[edges[0] : max(0, edges[1]), edges[2] : max(0, edges[3])]
    if not part.size:
        raise InputError(
            f"{where}: the bounding box {box} lies outside its {pixels.shape[1]} × "
            f"{pixels.shape[0]} pixels"
        )
    return part


def images_below(folder: Path) -> list[Path]:
    """The image files of a folder at any depth, hidden ones left out, sorted.

    Links to folders are followed, except to one that they lie in.
    """
    return sorted(map(Path, _images_in(folder)))


def _images_in(folder: Path) -> Iterator[str]:
    above: dict[str, frozenset[tuple[int, int]]] = {str(folder): frozenset()}
    for here, folders, files in os.walk(folder, followlinks=True):
        found, ways = os.stat(here), above.pop(here)
        identity = (found.st_dev, found.st_ino)
        if identity in ways:
            # A link led back here.
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        above |= dict.fromkeys((os.path.join(here, each) for each in folders), ways | {identity})
        for name in files:
            path = os.path.join(here, name)
            is_image = os.path.splitext(name)[1].lower() in SUFFIXES
            if is_image and not name.startswith(".") and os.path.isfile(path):
                yield path


def readable(path: Path) -> str:
    """`yes` or `no`, as a fact of a file: whether `decode` takes it."""
    return "yes" if is_image(path.read_bytes()) else "no"


def is_image(data: bytes) -> bool:
    """Whether `decode` takes it."""
    try:
        decode(data, "")
    except InputError:
        return False
    return True
