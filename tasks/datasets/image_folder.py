"""Images in class folders: `root/<class>/**/*.png`, the layout of torchvision's ImageFolder.

Validation and test images may lie in folders without classes, beside a `labels.json` or with one
inside: `{"0001.png": "cat", ...}`.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.datasets._files import SUFFIXES, File, FileStore, Listing, images_below
from tasks.datasets._label_files import NAME, label_file, labelled_files
from tasks.datasets._splits import SPLIT_NAMES, SplitReader
from tasks.errors import InputError
from tasks.reading import DataMissing
from tasks.specs import STRICT, Locator, NotHashed

VERSION = 1
MAY_HOLD_EDITS = True
"""What users put there may be made from other images, which is looked for."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the class folders are."""

    root: Locator[str]
    """The class folders, or a folder with `train` and `val` or `test` in it that hold them."""
    val: Locator[str | None] = None
    """Folder of the validation images, where they come apart."""
    test: Locator[str | None] = None
    """Folder of the test split; without one a fixed stratified part of `root` is it."""
    test_fraction: Annotated[float, Field(gt=0, lt=1), NotHashed()] = 0.2
    """Of `root`, where there is no test folder; the digests say which images it chose."""
    skip_bad: Annotated[bool, NotHashed()] = False
    """Leave out images that cannot be read, and say so, instead of stopping; the digest counts
    what is left."""


def build(config: Config) -> SplitReader:
    """Return the reader."""
    return SplitReader(
        name="image_folder",
        version=VERSION,
        opened=lambda: FileStore(_listing(config), skip_bad=config.skip_bad),
        test_fraction=config.test_fraction,
        offers_all=True,
    )


def _listing(config: Config) -> Listing:
    folders = _folders(config)
    train = folders.pop("train")
    classes = _classes(train)
    splits = {"train": _class_files(train, classes)}
    for split, folder in folders.items():
        labels = label_file(folder)
        if labels is None:
            _check_same_classes(folder, classes, train)
            splits[split] = _class_files(folder, classes)
        else:
            splits[split] = labelled_files("image_folder", folder, labels, classes)
    return Listing(classes=classes, splits=splits)


def _folders(config: Config) -> dict[str, Path]:
    """The folder of each split; `train` is always one."""
    root = Path(config.root)
    if not root.is_dir():
        raise DataMissing(
            f"image_folder: there is no folder {config.root!r}; expected one folder per class in "
            f"it, with images"
        )
    found = {"train": root}
    inside = sorted(
        child for child in root.iterdir() if child.name in SPLIT_NAMES and child.is_dir()
    )
    if len(inside) > 1 and root / "train" in inside:
        for child in inside:
            split = SPLIT_NAMES[child.name]
            if split != "train" and split in found:
                raise InputError(
                    f"image_folder: {found[split].name!r} and {child.name!r} in {config.root!r} "
                    f"are both validation images: keep one"
                )
            found[split] = child
    for split, given in (("val", config.val), ("test", config.test)):
        if given is not None:
            found[split] = Path(given)
            if not found[split].is_dir():
                raise DataMissing(f"image_folder: there is no {split} folder {given!r}")
    return found


def _class_names(root: Path) -> list[str]:
    return sorted(
        child.name for child in root.iterdir() if child.is_dir() and not child.name.startswith(".")
    )


def _classes(train: Path) -> tuple[str, ...]:
    names = _class_names(train)
    if not names:
        raise InputError(f"image_folder: {str(train)!r} holds no class folders")
    return tuple(names)


def _check_same_classes(folder: Path, classes: tuple[str, ...], train: Path) -> None:
    found = _class_names(folder)
    if not found:
        raise InputError(f"image_folder: {str(folder)!r} holds no class folders and no {NAME}")
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise InputError(
            f"image_folder: class {unknown[0]!r} of {str(folder)!r} is not in {str(train)!r}, "
            f"which holds {', '.join(classes[:12])}"
        )
    absent = sorted(set(classes) - set(found))
    if absent:
        raise InputError(f"image_folder: {str(folder)!r} has no folder for class {absent[0]!r}")


def _class_files(root: Path, classes: tuple[str, ...]) -> list[File]:
    files: list[File] = []
    for label, name in enumerate(classes):
        found = images_below(root / name)
        if not found:
            raise InputError(
                f"image_folder: {str(root / name)!r} holds no image: add some "
                f"({', '.join(sorted(SUFFIXES))}) or remove the folder"
            )
        files += [
            File(label=label, source=path.relative_to(root).as_posix(), path=path) for path in found
        ]
    return files
