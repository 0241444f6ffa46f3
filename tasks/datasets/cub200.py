"""CUB-200-2011: 5,994 + 5,794 photographs of 200 species of birds, of various sizes.

Source: C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie, The Caltech-UCSD Birds-200-2011
Dataset, CNS-TR-2011-001, 2011. Classes are named as in `classes.txt`. A copy that holds only some
of the listed images is those; species without any are no classes then. Grey images get three
channels.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic.dataclasses import dataclass

from tasks.caches import cache_dir
from tasks.datasets._fetch import download_folder
from tasks.datasets._files import File, FileStore, Listing
from tasks.datasets._paths import inside
from tasks.datasets._splits import SplitReader
from tasks.datasets._text import read_pairs
from tasks.errors import InputError
from tasks.reading import DataMissing
from tasks.specs import STRICT, Locator, NotHashed

VERSION = 1
FOLDER = "CUB_200_2011"
URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
MD5 = "97eceeb196236b17998738112f37df78"
"""Of the archive, as Caltech's records state it."""
EXPECTED = (
    "images.txt, image_class_labels.txt, train_test_split.txt, classes.txt, bounding_boxes.txt and "
    "images/, published at data.caltech.edu/records/65de6-vp158"
)
SPLIT_OF = {"1": "train", "0": "test"}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the dataset is, and whether the birds are cut out."""

    crop: bool = False
    """Keep the bounding box of the bird alone."""
    root: Locator[str | None] = None
    """`CUB_200_2011` or the folder around it; None is this machine's cache, filled by download."""
    url: Locator[str] = URL
    """Of the published archive."""
    skip_bad: Annotated[bool, NotHashed()] = False
    """Leave out images that cannot be read, and say so; the digest counts what is left."""


def build(config: Config) -> SplitReader:
    """Return the reader."""
    around = Path(config.root) if config.root else cache_dir() / "cub200"

    def fetched() -> None:
        if not (_root(around) / "images.txt").is_file():
            download_folder("cub200", config.url, around / FOLDER, MD5)

    return SplitReader(
        name="cub200",
        version=VERSION,
        opened=lambda: FileStore(
            _listing(_root(around), config.crop), skip_bad=config.skip_bad, colour=True
        ),
        fetched=fetched,
    )


def _root(around: Path) -> Path:
    return around if (around / "images.txt").is_file() else around / FOLDER


def _listing(root: Path, crop: bool) -> Listing:
    names = {key: name for key, (_, name) in _pairs(root, "classes.txt").items()}
    label_of = _column(root, "image_class_labels.txt")
    split_of = _column(root, "train_test_split.txt")
    box_of = _column(root, "bounding_boxes.txt") if crop else None
    found: list[tuple[str, str, File]] = []
    seen: dict[str, int] = {}
    for image, (row, name) in _pairs(root, "images.txt").items():
        where = f"cub200: {str(root / 'images.txt')!r}, row {row}"
        if name in seen:
            raise InputError(f"{where}: {name!r} is in row {seen[name]} already")
        seen[name] = row
        path = inside(root / "images", name, where)
        label = _one_of(names, label_of(image))
        split = SPLIT_OF[_one_of(SPLIT_OF, split_of(image))]
        box = None if box_of is None else _box(*box_of(image))
        if path.is_file():
            found.append((split, label, File(label=0, source=name, path=path, box=box)))
    if not found:
        raise DataMissing(
            f"cub200: {str(root / 'images')!r} holds none of the listed images; expected {EXPECTED}"
        )
    return _numbered(names, found)


def _numbered(names: dict[str, str], found: list[tuple[str, str, File]]) -> Listing:
    """Count the classes that have images, in the order of `classes.txt`."""
    present = {label for _, label, _ in found}
    number = {label: index for index, label in enumerate(k for k in names if k in present)}
    splits: dict[str, list[File]] = {"train": [], "test": []}
    for split, label, file in found:
        splits[split].append(replace(file, label=number[label]))
    return Listing(classes=tuple(names[label] for label in number), splits=splits)


def _pairs(root: Path, name: str) -> dict[str, tuple[int, str]]:
    return read_pairs("cub200", root / name, EXPECTED)


def _column(root: Path, name: str) -> Callable[[str], tuple[str, str]]:
    """Look an image's value up: image -> the value, and where it stands."""
    rows = _pairs(root, name)

    def value(image: str) -> tuple[str, str]:
        if image not in rows:
            raise InputError(f"cub200: {str(root / name)!r} has no row for image {image}")
        return rows[image][1], f"cub200: {str(root / name)!r}, row {rows[image][0]}"

    return value


def _one_of(choices: dict[str, str], found: tuple[str, str]) -> str:
    value, where = found
    if value not in choices:
        known = list(choices)
        raise InputError(f"{where}: {value!r}; {known[0]} to {known[-1]} would do")
    return value


def _box(value: str, where: str) -> tuple[float, float, float, float]:
    try:
        left, top, width, height = (float(part) for part in value.split())
    except ValueError as error:
        raise InputError(f"{where}: {value!r} is no left, top, width and height") from error
    return left, top, width, height
