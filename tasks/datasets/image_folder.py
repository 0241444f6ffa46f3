"""Images in class folders: `root/<class>/**/*.png`, the layout of torchvision's ImageFolder."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.datasets._decode import decode
from tasks.errors import InputError
from tasks.packs import Example, split_digest
from tasks.reading import DataMissing, FileFacts, file_sha256, fixed_test
from tasks.specs import STRICT, Counts, DatasetInfo, Locator, NotHashed, SplitInfo

VERSION = 1
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the class folders are."""

    root: Locator[str]
    """The class folders, or a folder with `train` and `test` in it that hold them."""
    test: Locator[str | None] = None
    """Class folders of the test split; without them a fixed stratified part of `root` is it."""
    test_fraction: Annotated[float, Field(gt=0, lt=1), NotHashed()] = 0.2
    """Of `root`, where there is no test folder; the digests say which images it chose."""
    skip_bad: Annotated[bool, NotHashed()] = False
    """Leave out images that cannot be read, and say so, instead of stopping; the digest counts
    what is left."""


class ImageFolder:
    """Lists, hashes and decodes class folders."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def identify(self, facts: FileFacts) -> DatasetInfo:
        train, test = self._roots()
        classes = _classes(train)
        whole = self._rows(train, classes, facts)
        if test is None:
            number = round(self.config.test_fraction * len(whole[0]))
            chosen = fixed_test(whole[0], len(classes), number)
            parts = {
                "all": whole[0],
                "train": [row for row in whole[0] if row[1] not in chosen],
                "test": [row for row in whole[0] if row[1] in chosen],
            }
            skipped = {"all": whole[1], "train": whole[1], "test": ()}
        else:
            other = self._rows(test, _same_classes(test, classes, train), facts)
            parts = {"all": whole[0], "train": whole[0], "test": other[0]}
            skipped = {"all": whole[1], "train": whole[1], "test": other[1]}
        splits = {
            name: SplitInfo(
                digest=split_digest((classes[label], source, sha) for label, source, sha in rows),
                counts=_counts(rows, len(classes)),
                skipped=skipped[name],
            )
            for name, rows in parts.items()
        }
        return DatasetInfo(classes=classes, splits=splits)

    def read(self, split: str) -> Iterator[Example]:
        train, test = self._roots()
        classes = _classes(train)
        root = test if split == "test" and test is not None else train
        chosen: set[str] | None = None
        if test is None and split != "all":
            rows = self._rows(train, classes, lambda path, _, compute: compute(path))[0]
            number = round(self.config.test_fraction * len(rows))
            chosen = fixed_test(rows, len(classes), number)
        for label, path in _files(root, classes):
            source = path.relative_to(root).as_posix()
            if chosen is not None and (source in chosen) != (split == "test"):
                continue
            data = path.read_bytes()
            try:
                pixels = decode(data, str(path))
            except InputError:
                if self.config.skip_bad:
                    continue
                raise
            sha = hashlib.sha256(data).hexdigest()
            yield Example(pixels=pixels, label=label, source=source, sha256=sha)

    def fetch(self) -> None:
        """Nothing to fetch: the images are the user's own."""

    def _roots(self) -> tuple[Path, Path | None]:
        root = Path(self.config.root)
        if not root.is_dir():
            raise DataMissing(
                f"image_folder: there is no folder {self.config.root!r}; expected one folder per "
                f"class in it, with images"
            )
        test = Path(self.config.test) if self.config.test is not None else None
        if test is None and {"train", "test"} <= {child.name for child in root.iterdir()}:
            return root / "train", root / "test"
        if test is not None and not test.is_dir():
            raise DataMissing(f"image_folder: there is no test folder {self.config.test!r}")
        return root, test

    def _rows(
        self, root: Path, classes: tuple[str, ...], facts: FileFacts
    ) -> tuple[list[tuple[int, str, str]], tuple[str, ...]]:
        """Label, source and sha256 of each image, and the sources of those left out."""
        rows, skipped = [], []
        for label, path in _files(root, classes):
            source = path.relative_to(root).as_posix()
            if self.config.skip_bad and facts(path, "readable", _readable) != "yes":
                skipped.append(source)
            else:
                rows.append((label, source, facts(path, "sha256", file_sha256)))
        return rows, tuple(skipped)


def _counts(rows: list[tuple[int, str, str]], num_classes: int) -> Counts:
    found = Counter(label for label, _, _ in rows)
    return tuple(found[label] for label in range(num_classes))


def _classes(root: Path) -> tuple[str, ...]:
    names = sorted(
        child.name for child in root.iterdir() if child.is_dir() and not child.name.startswith(".")
    )
    if not names:
        raise InputError(f"image_folder: {str(root)!r} holds no class folders")
    return tuple(names)


def _same_classes(test: Path, classes: tuple[str, ...], train: Path) -> tuple[str, ...]:
    found = _classes(test)
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise InputError(
            f"image_folder: class {unknown[0]!r} of {str(test)!r} is not in {str(train)!r}, which "
            f"holds {', '.join(classes[:12])}"
        )
    absent = sorted(set(classes) - set(found))
    if absent:
        raise InputError(f"image_folder: {str(test)!r} has no folder for class {absent[0]!r}")
    return classes


def _files(root: Path, classes: tuple[str, ...]) -> Iterator[tuple[int, Path]]:
    for label, name in enumerate(classes):
        folder = root / name
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and path.is_file()
        )
        if not files:
            raise InputError(
                f"image_folder: {str(folder)!r} holds no image: add some "
                f"({', '.join(sorted(SUFFIXES))}) or remove the folder"
            )
        for path in files:
            yield label, path


def _readable(path: Path) -> str:
    try:
        decode(path.read_bytes(), str(path))
    except InputError:
        return "no"
    return "yes"


def build(config: Config) -> ImageFolder:
    """Return the reader."""
    return ImageFolder(config)
