"""The two CIFAR datasets in the forms they are published in: Python batches, plain or in their
archive, and Parquet.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

import functools
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.datasets._arrays import Arrays, ArrayStore
from tasks.datasets._fetch import download
from tasks.datasets._parquet import parquet_files, parquet_store
from tasks.datasets._pickles import Bytes, load_batch
from tasks.datasets._splits import SplitReader, Store
from tasks.errors import InputError
from tasks.reading import DataMissing

SIDE = 32
WEB = "https://www.cs.toronto.edu/~kriz"


@dataclass(frozen=True, kw_only=True)
class Published:
    """What tells one CIFAR from the other."""

    name: str
    folder: str
    """Of the batches, in the archive `<...>.tar.gz` that `archive` names."""
    archive: str
    md5: str
    """Of the archive."""
    train: tuple[str, ...]
    test: tuple[str, ...]
    hub: str
    """Name on the Hugging Face Hub."""


def cifar_reader(
    published: Published,
    root: Path,
    *,
    mirror: str,
    classes: tuple[str, ...],
    batch_label: str,
    parquet_label: str,
    skip_bad: bool,
    version: int,
    settings: tuple[object, ...],
) -> SplitReader:
    """Read whatever form lies in `root`: batches first, then the archive, then Parquet.

    Args:
        classes: names in label order; Parquet files may state others.
        batch_label: key of the labels in a batch.
        parquet_label: column of the labels in Parquet.
        settings: see `SplitReader`.
    """

    def opened() -> Store:
        batches = _batches(published, root)
        if batches is None:
            return parquet_store(
                published.name, root, skip_bad=skip_bad, known=classes, label=parquet_label
            )
        splits = {
            split: functools.partial(_arrays, published, batches, names, batch_label)
            for split, names in (("train", published.train), ("test", published.test))
        }
        files = _files(published, batches)
        return ArrayStore(published.name, classes, files, splits)

    def fetched() -> None:
        if not (_is_there(published, root) or parquet_files(root)):
            url = f"{mirror}/{published.archive}"
            download(published.name, url, root / published.archive, published.md5)

    return SplitReader(
        name=published.name,
        version=version,
        settings=settings,
        opened=opened,
        image_bytes=3 * SIDE * SIDE,
        fetched=fetched,
    )


def _is_there(published: Published, root: Path) -> bool:
    return _folder(published, root) is not None or (root / published.archive).is_file()


def _folder(published: Published, root: Path) -> Path | None:
    """The folder of batches: in `root`, or `root` itself."""
    return next(
        (f for f in (root / published.folder, root) if (f / published.test[0]).is_file()), None
    )


def _batches(published: Published, root: Path) -> Path | None:
    """The folder or the archive of batches; None where Parquet files are there instead."""
    folder = _folder(published, root)
    if folder is not None:
        return folder
    if (root / published.archive).is_file():
        return root / published.archive
    if parquet_files(root):
        return None
    raise DataMissing(
        f"{published.name}: {str(root)!r} holds neither {published.folder} nor "
        f"{published.archive} (www.cs.toronto.edu/~kriz/cifar.html) nor the Parquet files of "
        f"huggingface.co/datasets/{published.hub}"
    )


def _files(published: Published, batches: Path) -> Sequence[Path]:
    if batches.is_file():
        return [batches]
    files = [batches / name for name in (*published.train, *published.test)]
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise DataMissing(
            f"{published.name}: {absent[0].name} is not in {str(batches)!r}; expected "
            f"{', '.join((*published.train, *published.test))}"
        )
    return files


def _arrays(published: Published, batches: Path, names: Sequence[str], label_key: str) -> Arrays:
    parts, labels = [], []
    for name, data in _read(published, batches, names):
        where = f"{published.name}: {str(batches / name)!r}"
        batch = load_batch(data, where)
        stored, found = batch.get("data"), batch.get(label_key)
        if not isinstance(stored, Bytes):
            raise InputError(f"{where}: its data is no array of N × {3 * SIDE * SIDE} bytes")
        if not isinstance(found, list) or not all(_is_small(label) for label in found):
            raise InputError(f"{where}: its {label_key!r} is no list of small integers")
        images = stored.array(3 * SIDE * SIDE, where)
        if len(images) != len(found):
            raise InputError(f"{where}: {len(images)} images but {len(found)} labels")
        parts.append(images)
        labels += found
    stored = np.concatenate(parts)
    # A row is 1,024 red values, then green, then blue.
    pixels = stored.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return Arrays(stored=stored, pixels=pixels, labels=np.array(labels, np.int64))


def _is_small(label: object) -> bool:
    return type(label) is int and abs(label) < 2**31


def _read(published: Published, batches: Path, names: Sequence[str]) -> list[tuple[str, bytes]]:
    if batches.is_dir():
        return [(name, (batches / name).read_bytes()) for name in names]
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(batches) as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                if folder == published.folder and name in names and member.isreg():
                    opened = archive.extractfile(member)
                    assert opened is not None
                    found[name] = opened.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(
            f"{published.name}: {str(batches)!r} is damaged ({error}): fetch it again"
        ) from error
    absent = [name for name in names if name not in found]
    if absent:
        raise InputError(
            f"{published.name}: {str(batches)!r} holds no {published.folder}/{absent[0]}: fetch "
            f"it again"
        )
    return [(name, found[name]) for name in names]
