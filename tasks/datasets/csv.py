"""Images listed in a CSV file with the header `path,label` or `path,label,split`.

Other columns are passed over. `split` says `train`, `val` (or `validation`) or `test`; without that
column, or with no row for `test`, a fixed stratified part of the training images is the test split.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.datasets._files import File, FileStore, Listing
from tasks.datasets._splits import SPLIT_NAMES, SplitReader
from tasks.errors import InputError
from tasks.reading import DataMissing
from tasks.specs import STRICT, Locator, NotHashed

VERSION = 1
MAY_HOLD_EDITS = True
"""What users put there may be made from other images, which is looked for."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which file lists the images, and where they are."""

    file: Locator[str]
    """The CSV file: UTF-8, separated by commas, with a header."""
    root: Locator[str | None] = None
    """Folder that relative paths start from and must not leave; None is the folder of `file`."""
    test_fraction: Annotated[float, Field(gt=0, lt=1), NotHashed()] = 0.2
    """Of the training images, where no row is for `test`; the digests say which it chose."""
    skip_bad: Annotated[bool, NotHashed()] = False
    """Leave out images that cannot be read, and say so; the digest counts what is left."""


def build(config: Config) -> SplitReader:
    """Return the reader."""
    return SplitReader(
        name="csv",
        version=VERSION,
        opened=lambda: FileStore(_listing(config), skip_bad=config.skip_bad),
        test_fraction=config.test_fraction,
    )


@plain_dataclass(frozen=True, kw_only=True)
class _Row:
    where: str
    number: int
    path: Path
    label: str
    split: str


def _listing(config: Config) -> Listing:
    file = Path(config.file)
    if not file.is_file():
        raise DataMissing(
            f"csv: there is no file {config.file!r}; expected one with the header path,label or "
            f"path,label,split"
        )
    root = Path(os.path.abspath(config.root if config.root is not None else file.parent))
    rows = list(_rows(file, root))
    classes = sorted({row.label for row in rows if row.split == "train"})
    if not classes:
        raise InputError(f"csv: {config.file!r} holds no training image")
    number = {label: index for index, label in enumerate(classes)}
    sources = _sources(rows, root)
    splits: dict[str, list[File]] = {}
    for row in rows:
        if row.label not in number:
            raise InputError(
                f"{row.where}: no training image has label {row.label!r}; "
                f"{', '.join(classes[:12])} would do"
            )
        found = File(label=number[row.label], source=sources[row.path], path=row.path)
        splits.setdefault(row.split, []).append(found)
    return Listing(classes=tuple(classes), splits=splits)


def _rows(file: Path, root: Path) -> Iterator[_Row]:
    """Every row, checked; its image is there and named once."""
    seen: dict[Path, int] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            _check_header(file, list(reader.fieldnames or ()))
            for values in reader:
                number = reader.line_num
                row = _row(f"csv: {str(file)!r}, row {number}", number, values, root)
                if row.path in seen:
                    raise InputError(
                        f"{row.where}: {values['path']!r} is in row {seen[row.path]} already"
                    )
                seen[row.path] = number
                yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"csv: {str(file)!r} cannot be read ({error})") from error


def _check_header(file: Path, header: list[str]) -> None:
    if not {"path", "label"} <= set(header) or len(set(header)) != len(header):
        raise InputError(
            f"csv: the header of {str(file)!r} is {','.join(header)!r}; path,label or "
            f"path,label,split would do"
        )


def _row(where: str, number: int, values: dict[str, str], root: Path) -> _Row:
    # DictReader puts what is too much under None, and None where something is wanting.
    if None in values or None in values.values():
        raise InputError(f"{where}: has another number of fields than the header")
    if not values["label"]:
        raise InputError(f"{where}: has no label")
    split = values.get("split", "train")
    if split not in SPLIT_NAMES:
        raise InputError(f"{where}: split {split!r}; {', '.join(SPLIT_NAMES)} would do")
    path = Path(os.path.normpath(root / values["path"]))
    if not (Path(values["path"]).is_absolute() or path.is_relative_to(root)):
        raise InputError(
            f"{where}: {values['path']!r} leads out of {str(root)!r}; set `root`, or give the "
            f"whole path"
        )
    if "\0" in values["path"] or not path.is_file():
        raise InputError(f"{where}: there is no file {str(path)!r}")
    return _Row(
        where=where,
        number=number,
        path=path,
        label=values["label"],
        split=SPLIT_NAMES[split],
    )


def _sources(rows: list[_Row], root: Path) -> dict[Path, str]:
    """Names without the folders that only this machine has: below `root`, or below what the files
    outside of it have in common."""
    outside = [row.path for row in rows if not row.path.is_relative_to(root)]
    shared = os.path.commonpath([path.parent for path in outside]) if outside else ""
    paths = {row.path for row in rows} - set(outside)
    inside = {path: path.relative_to(root).as_posix() for path in paths}
    # No path below `root` starts with a slash.
    return inside | {path: f"/{path.relative_to(shared).as_posix()}" for path in outside}
