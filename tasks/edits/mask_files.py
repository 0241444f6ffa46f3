"""Masks that lie in files: one for each image, one for each class, or one for all."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from pydantic.dataclasses import dataclass

from tasks.datasets._decode import decode
from tasks.datasets._files import SUFFIXES, images_below
from tasks.editing import Mask
from tasks.edits.documents import read_document
from tasks.edits.polarity import Grow, black_and_white
from tasks.errors import InputError, nearest
from tasks.packs import Pixels, luma
from tasks.reading import FileFacts, file_sha256
from tasks.specs import STRICT, Locator


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Folder:
    """A mask for each image, at the same relative path; its suffix may be another."""

    name: Literal["folder"] = "folder"
    path: Locator[str]
    scale: bool = False
    """Scale masks to their images, to the nearest pixel, instead of refusing another size."""
    invert: bool = False
    """Black is repainted."""
    grow: Grow = 0
    """Pixels by which the repainted part grows."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class File:
    """One mask for all images."""

    name: Literal["file"] = "file"
    path: Locator[str]
    scale: bool = False
    """Scale it to each image, to the nearest pixel, instead of refusing another size."""
    invert: bool = False
    """Black is repainted."""
    grow: Grow = 0
    """Pixels by which the repainted part grows."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PerClass:
    """One mask for each class, by a JSON or YAML mapping of class to file."""

    name: Literal["per_class"] = "per_class"
    path: Locator[str]
    """Of the mapping; relative files start from its folder."""
    scale: bool = False
    """Scale masks to their images, to the nearest pixel, instead of refusing another size."""
    invert: bool = False
    """Black is repainted."""
    grow: Grow = 0
    """Pixels by which the repainted part grows."""


@plain_dataclass(frozen=True, kw_only=True)
class OfFiles:
    """A `Maker` of whatever says which file it is."""

    files: "Images | Single | Classes"
    scale: bool
    facts: FileFacts

    def mask(self, source: str, class_name: str, image: Pixels, seed: int) -> Mask:
        path = self.files.of(source, class_name)
        found = read_mask(path)
        height, width = image.shape[:2]
        return nearest_scaled(found, height, width) if self.scale else found

    def stamp(self, source: str, class_name: str, seed: int) -> Any:
        return self.facts(self.files.of(source, class_name), "sha256", file_sha256)

    def where(self, source: str, class_name: str) -> str:
        return f"mask {str(self.files.of(source, class_name))!r}"

    def content(self) -> Any:
        return {
            name: self.facts(path, "sha256", file_sha256)
            for name, path in sorted(self.files.all().items())
        }


class Images:
    """The files of a folder."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise InputError(f"mask: there is no folder {str(root)!r}")
        self._root = root
        self._paths = {path.relative_to(root).as_posix(): path for path in images_below(root)}
        if not self._paths:
            raise InputError(
                f"mask: {str(root)!r} holds no image ({', '.join(sorted(SUFFIXES))}): one for each "
                "image to edit, at the same relative path, would do"
            )
        self._by_stem: dict[str, list[str]] = {}
        for name in self._paths:
            self._by_stem.setdefault(_stem(name), []).append(name)

    def of(self, source: str, class_name: str) -> Path:
        if source in self._paths:
            return self._paths[source]
        found = self._by_stem.get(_stem(source), [])
        if len(found) > 1:
            raise InputError(
                f"mask: {str(self._root)!r} holds {' and '.join(map(repr, found))} for {source!r}: "
                "keep one"
            )
        if not found:
            raise InputError(
                f"mask: {str(self._root)!r} holds none for {source!r}; {_stem(source)}.png would do"
            )
        return self._paths[found[0]]

    def all(self) -> Mapping[str, Path]:
        return self._paths


@plain_dataclass(frozen=True, kw_only=True)
class Single:
    """One file."""

    path: Path

    def of(self, source: str, class_name: str) -> Path:
        return self.path

    def all(self) -> Mapping[str, Path]:
        return {"": self.path}


@plain_dataclass(frozen=True, kw_only=True)
class Classes:
    """A file for each class."""

    path: Path
    """Of the mapping."""
    files: Mapping[str, Path]

    def of(self, source: str, class_name: str) -> Path:
        if class_name not in self.files:
            raise InputError(
                f"{str(self.path)!r}: no mask for class {class_name!r}, of which {source!r} is one"
            )
        return self.files[class_name]

    def all(self) -> Mapping[str, Path]:
        return self.files


def open_folder(config: Folder, facts: FileFacts) -> OfFiles:
    """Raises InputError where there is no such folder, or no image in it."""
    return OfFiles(files=Images(Path(config.path)), scale=config.scale, facts=facts)


def open_file(config: File, facts: FileFacts) -> OfFiles:
    """Raises InputError where there is no such file."""
    return OfFiles(
        files=Single(path=_existing(Path(config.path), "mask")), scale=config.scale, facts=facts
    )


def open_classes(config: PerClass, classes: Sequence[str], facts: FileFacts) -> OfFiles:
    """Raises InputError for unknown classes, classes without a mask, and files not there."""
    path = Path(config.path)
    document = read_document(path, "a JSON or YAML mapping of class to mask file")
    if not isinstance(document.content, dict):
        raise InputError(f"{document.where}: is {document.shown}, not a mapping of class to file")
    files = {}
    for name, value in document.content.items():
        if name not in classes:
            raise InputError(
                f"{value.where}: a mask for unknown class {name!r}; {nearest(name, classes)}"
            )
        files[name] = _existing(path.parent / value.text("file"), value.where)
    without = [name for name in classes if name not in files]
    if without:
        raise InputError(f"{document.where}: no mask for class {without[0]!r}: name its file")
    return OfFiles(files=Classes(path=path, files=files), scale=config.scale, facts=facts)


def _existing(path: Path, where: str) -> Path:
    # `os.path`, as a name that is too long is an error to methods of `Path`.
    if not os.path.isfile(path):
        raise InputError(f"{where}: there is no file {str(path)!r}")
    return path


def _stem(source: str) -> str:
    return PurePosixPath(source).with_suffix("").as_posix()


def read_mask(path: Path) -> Mask:
    """What is white in an image file, H × W; transparency is white, as services have it.

    Raises InputError for files that are no image, and for greys.
    """
    where = f"mask {str(path)!r}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from error
    try:
        pixels = decode(data, where)
    except InputError as error:
        raise InputError(f"{where}: is no image that can be read: mend or replace it") from error
    levels = luma(pixels) if pixels.shape[2] == 3 else pixels
    return black_and_white(levels[..., 0], where)


def nearest_scaled(mask: Mask, height: int, width: int) -> Mask:
    """Scale to the nearest pixel: the one that holds the middle of each new pixel."""
    rows = (2 * np.arange(height) + 1) * mask.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * mask.shape[1] // (2 * width)
    return np.ascontiguousarray(mask[rows][:, columns])
