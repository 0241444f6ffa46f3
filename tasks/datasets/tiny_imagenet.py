"""Tiny ImageNet: 100,000 + 10,000 colour images of 64 × 64 in 200 classes of ImageNet.

Source: Stanford's course CS231n, 2015. Its 10,000 validation images are the test split, because the
labels of its test images were never published. Grey images get three channels.

Classes stand in the order of `wnids.txt`. Each is named by its first word in `words.txt`; where two
classes share that word, each is `word (wnid)`; a wnid without words names itself.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic.dataclasses import dataclass

from tasks.caches import cache_dir
from tasks.datasets._fetch import download_folder
from tasks.datasets._files import File, FileStore, Listing, images_below
from tasks.datasets._paths import inside
from tasks.datasets._splits import SplitReader
from tasks.datasets._text import read_lines, read_pairs
from tasks.errors import InputError
from tasks.specs import STRICT, Locator, NotHashed

VERSION = 1
FOLDER = "tiny-imagenet-200"
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
"""Of the archive, as Avalanche (avalanche.continualai.org) states it; Stanford states none."""
EXPECTED = (
    "wnids.txt, words.txt, train/<wnid>/images/*.JPEG, val/images/*.JPEG and "
    "val/val_annotations.txt, published at cs231n.stanford.edu/tiny-imagenet-200.zip"
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the dataset is."""

    root: Locator[str | None] = None
    """`tiny-imagenet-200` or the folder around it; None is this machine's cache, filled by
    download."""
    url: Locator[str] = URL
    """Of the published archive."""
    skip_bad: Annotated[bool, NotHashed()] = False
    """Leave out images that cannot be read, and say so; the digest counts what is left."""


def build(config: Config) -> SplitReader:
    """Return the reader."""
    around = Path(config.root) if config.root else cache_dir() / "tiny_imagenet"

    def fetched() -> None:
        if not (_root(around) / "wnids.txt").is_file():
            download_folder("tiny_imagenet", config.url, around / FOLDER, MD5)

    return SplitReader(
        name="tiny_imagenet",
        version=VERSION,
        opened=lambda: FileStore(_listing(_root(around)), skip_bad=config.skip_bad, colour=True),
        image_bytes=3 * 64 * 64,
        fetched=fetched,
    )


def _root(around: Path) -> Path:
    return around if (around / "wnids.txt").is_file() else around / FOLDER


def _listing(root: Path) -> Listing:
    wnids: dict[str, int] = {}
    for row, line in read_lines("tiny_imagenet", root / "wnids.txt", EXPECTED):
        where = f"tiny_imagenet: {str(root / 'wnids.txt')!r}, row {row}"
        wnid = line.strip()
        if wnid in wnids:
            raise InputError(f"{where}: {wnid!r} is there already")
        inside(root / "train", wnid, where)
        wnids[wnid] = len(wnids)
    splits = {"train": _training(root / "train", wnids), "test": _test(root / "val", wnids)}
    return Listing(classes=_class_names(root, list(wnids)), splits=splits)


def _class_names(root: Path, wnids: list[str]) -> tuple[str, ...]:
    words = read_pairs("tiny_imagenet", root / "words.txt", EXPECTED, "\t")
    first = {wnid: words[wnid][1].split(",")[0] if wnid in words else wnid for wnid in wnids}
    shared = Counter(first.values())
    return tuple(word if shared[word] == 1 else f"{word} ({wnid})" for wnid, word in first.items())


def _training(train: Path, wnids: dict[str, int]) -> list[File]:
    files = []
    for wnid, label in wnids.items():
        found = images_below(train / wnid / "images")
        if not found:
            raise InputError(
                f"tiny_imagenet: {str(train / wnid / 'images')!r} holds no image; expected "
                f"{EXPECTED}"
            )
        files += [File(label=label, source=f"{wnid}/{path.name}", path=path) for path in found]
    return files


def _test(val: Path, wnids: dict[str, int]) -> list[File]:
    annotations = val / "val_annotations.txt"
    files = []
    for name, (row, rest) in read_pairs("tiny_imagenet", annotations, EXPECTED, "\t").items():
        where = f"tiny_imagenet: {str(annotations)!r}, row {row}"
        wnid = rest.split("\t")[0]
        if wnid not in wnids:
            raise InputError(f"{where}: {wnid!r} is not in wnids.txt")
        path = inside(val / "images", name, where)
        if not path.is_file():
            raise InputError(f"{where}: there is no file {str(path)!r}")
        files.append(File(label=wnids[wnid], source=name, path=path))
    return files
