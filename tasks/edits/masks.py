"""Which part of an image is repainted: white, or true, is; black, or false, is kept.

A mask comes from files (`folder`, `file`, `per_class`), from annotated `boxes`, from random
`strokes`, from the image itself (`saliency`, `segmentation`), or is `full`. `invert` repaints the
other part; what is repainted then `grow`s by so many pixels. A mask that repaints nothing is
refused, as is one of another size than its image.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.datasets._files import SUFFIXES
from tasks.editing import Mask
from tasks.edits import documents, strokes
from tasks.edits.boxes import Boxes, open_boxes
from tasks.edits.mask_files import File, Folder, PerClass, open_classes, open_file, open_folder
from tasks.edits.polarity import grown
from tasks.edits.salient import Saliency, Salient
from tasks.edits.segmenting import Segmentation, Segments
from tasks.edits.strokes import Strokes
from tasks.errors import InputError, nearest
from tasks.packs import Pixels
from tasks.reading import FileFacts, unremembered
from tasks.specs import STRICT, canonical_json

VERSION = 1
"""Raised where the same settings and files make another mask."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Full:
    """Repaint everything."""

    name: Literal["full"] = "full"


Config = Annotated[
    Folder | File | PerClass | Boxes | Strokes | Saliency | Segmentation | Full,
    Field(discriminator="name"),
]
"""What a user can write: `{name: strokes, max_coverage: 0.5}`."""
KINDS: Mapping[str, type] = {
    "folder": Folder,
    "file": File,
    "per_class": PerClass,
    "boxes": Boxes,
    "strokes": Strokes,
    "saliency": Saliency,
    "segmentation": Segmentation,
    "full": Full,
}
"""The members of `Config` by name."""
NAMES = tuple(KINDS)
OF_THEMSELVES = {"strokes": Strokes(), "saliency": Saliency(), "full": Full()}
"""Those that need no path."""


class Maker(Protocol):
    """Makes the masks of one `Config`, before they are inverted and grown."""

    def mask(self, source: str, class_name: str, image: Pixels, seed: int) -> Mask: ...

    def stamp(self, source: str, class_name: str, seed: int) -> Any:
        """What one mask depends on beside settings and image, as JSON; no mask is made."""
        ...

    def where(self, source: str, class_name: str) -> str:
        """What a message begins with."""
        ...

    def content(self) -> Any:
        """What all masks depend on beside settings, images and seeds, as JSON."""
        ...


@plain_dataclass(frozen=True)
class Masks:
    """The masks of any number of images."""

    config: Any
    _maker: Maker

    def mask(self, source: str, class_name: str, image: Pixels, seed: int) -> Mask:
        """The mask of an image: H × W, true is repainted.

        Args:
            source: path of the image below the input folder, with `/`.
            image: uint8, H × W × 1 or 3.
            seed: `naming.mask_seed`; for random masks.

        Raises InputError where there is none, or none that can be used.
        """
        found = self._maker.mask(source, class_name, image, seed)
        height, width = image.shape[:2]
        where = self._maker.where(source, class_name)
        if found.shape != (height, width):
            raise InputError(
                f"{where}: has {found.shape[1]} × {found.shape[0]} pixels, and {source!r} has "
                f"{width} × {height}: give it the image's size, or say scale: true"
            )
        inverted = getattr(self.config, "invert", False)
        repainted = grown(~found if inverted else found, getattr(self.config, "grow", 0))
        if not repainted.any():
            raise InputError(f"{where}: repaints nothing of {source!r}: {self._remedy(found)}")
        return repainted

    def digest_of(self, source: str, class_name: str, seed: int) -> str:
        """sha256 of what an image's mask depends on beside the image, without making it.

        Files count by content and other images' masks not at all; the seed counts for random masks.
        """
        return self._digest(self._maker.stamp(source, class_name, seed))

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of what all masks depend on: settings, and the content of files."""
        return self._digest(self._maker.content())

    def _digest(self, of: Any) -> str:
        text = canonical_json({"mask": self.config, "version": VERSION, "of": of})
        return hashlib.sha256(text.encode()).hexdigest()

    def _remedy(self, found: Mask) -> str:
        if getattr(self.config, "invert", False) and found.all():
            return "it is white all over, and invert: true repaints black"
        if isinstance(self.config, Segmentation):
            return "the model sees none of the labels in it; lower the threshold, or name others"
        return "white is repainted; where black is meant, say invert: true"


def open_masks(
    config: Any,
    classes: Sequence[str] = (),
    facts: FileFacts = unremembered,
    device: str = "cpu",
) -> Masks:
    """Find what masks are made from.

    Args:
        config: one of `Config`.
        classes: names, for masks by class.
        facts: remembers the hashes of files.
        device: where a segmentation model runs.

    Raises InputError for files that are not there or cannot be used.
    """
    facts = _once(facts)
    match config:
        case Folder():
            maker: Maker = open_folder(config, facts)
        case File():
            maker = open_file(config, facts)
        case PerClass():
            maker = open_classes(config, classes, facts)
        case Boxes():
            maker = open_boxes(config)
        case Strokes():
            maker = _Strokes(config)
        case Saliency():
            maker = Salient(config=config)
        case Segmentation():
            maker = Segments(config, facts, device)
        case Full():
            maker = _Everything()
        case _:
            raise TypeError(f"{type(config).__name__} is no Config of masks")
    return Masks(config, maker)


def named(given: str) -> Any:
    """The Config that a command's `--mask` means: a name, or a path.

    A folder or an image is taken for masks; a mapping in JSON or YAML for one mask a class; a list
    in JSON, a CSV file and CUB-200's bounding_boxes.txt for boxes.

    Raises InputError for anything else.
    """
    if given in OF_THEMSELVES:
        return OF_THEMSELVES[given]
    path, suffix = Path(given), Path(given).suffix.lower()
    # `os.path`, as a name that is too long is an error to methods of `Path`.
    if os.path.isdir(given):
        is_cub = (path / "bounding_boxes.txt").is_file()
        return Boxes(path=given) if is_cub else Folder(path=given)
    if not os.path.isfile(given):
        raise InputError(
            f"mask {given!r}: there is no such file or folder; {nearest(given, OF_THEMSELVES)}"
        )
    if suffix in SUFFIXES:
        return File(path=given)
    if suffix in (".csv", ".txt"):
        return Boxes(path=given)
    if suffix in documents.SUFFIXES:
        content = documents.read_document(path, "masks by class, or boxes").content
        return PerClass(path=given) if isinstance(content, dict) else Boxes(path=given)
    raise InputError(
        f"mask {given!r}: is neither an image nor a list; a folder, an image, CSV, JSON or YAML "
        "would do"
    )


def _once(facts: FileFacts) -> FileFacts:
    """Facts that are found once while these masks are open: weights, and one mask for all."""
    known: dict[tuple[Path, str], str] = {}

    def found(path: Path, what: str, compute: Callable[[Path], str]) -> str:
        if (path, what) not in known:
            known[path, what] = facts(path, what, compute)
        return known[path, what]

    return found


@plain_dataclass(frozen=True)
class _Strokes:
    config: Strokes

    def mask(self, source: str, class_name: str, image: Pixels, seed: int) -> Mask:
        return strokes.draw(self.config, image.shape[0], image.shape[1], seed)

    def stamp(self, source: str, class_name: str, seed: int) -> Any:
        return seed

    def where(self, source: str, class_name: str) -> str:
        return "mask: strokes"

    def content(self) -> Any:
        return None


@plain_dataclass(frozen=True)
class _Everything:
    def mask(self, source: str, class_name: str, image: Pixels, seed: int) -> Mask:
        return np.ones(image.shape[:2], np.bool_)

    def stamp(self, source: str, class_name: str, seed: int) -> Any:
        return None

    def where(self, source: str, class_name: str) -> str:
        return "mask: full"

    def content(self) -> Any:
        return None
