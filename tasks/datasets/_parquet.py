"""Parquet files with a column of images, divided as the Hugging Face Hub does it."""

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.datasets._columns import find_columns, stated_features
from tasks.datasets._splits import SPLIT_NAMES
from tasks.datasets._tables import BATCH_ROWS, Batches, Tables, TableStore
from tasks.errors import InputError
from tasks.reading import DataMissing

if TYPE_CHECKING:
    import pyarrow as pa

_PREFIX = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?![A-Za-z0-9])")


def parquet_files(root: Path) -> list[Path]:
    """`root` itself, or the Parquet files below it, sorted; none where there is nothing."""
    if root.is_file():
        return [root]
    return sorted(
        path
        for path in root.rglob("*.parquet")
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def parquet_store(
    name: str,
    root: Path,
    *,
    skip_bad: bool,
    known: tuple[str, ...] | None = None,
    image: str | None = None,
    label: str | None = None,
    split: str | None = None,
) -> TableStore:
    """Open the files at `root`, with the columns that are named or can be told.

    A column `split` that is named says the split of each row; else the names of files
    (`train-...`) or of their folders (`train/...`) do; else a column that is called `split`.

    Args:
        known: class names, for files that state none.

    Raises DataMissing where there is no file, InputError where columns or splits cannot be told.
    """
    files = parquet_files(root)
    if not files:
        raise DataMissing(
            f"{name}: there is no Parquet file at {str(root)!r}; expected one, or a folder of "
            f"train-*.parquet and test-*.parquet"
        )
    by_split = {} if split else _by_split(name, root, files)
    first = (by_split.get("train") or files)[0]
    schema = _schema(name, first)
    if not by_split and split is None and "split" in schema.names:
        split = "split"
    features, where = stated_features(schema), f"{name}: {str(first)!r}"
    columns = find_columns(where, schema, features, image=image, label=label, split=split)
    if columns.names is None:
        columns = replace(columns, names=known)
    tables: dict[str, Tables] = {
        part: functools.partial(_batches, name, chosen)
        for part, chosen in (by_split or {"train": files}).items()
    }
    folder = root if root.is_dir() else root.parent
    return TableStore(name, columns, tables, files=files, root=folder, skip_bad=skip_bad)


def _by_split(name: str, root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by the split that their names say; empty where no name says one."""
    found: dict[str | None, list[Path]] = {}
    for path in files:
        found.setdefault(_split_of(path, root), []).append(path)
    if set(found) == {None}:
        return {}
    if None in found:
        raise InputError(
            f"{name}: the name of {str(found[None][0])!r} says no split, that of others does; "
            f"train-, val- or test- in front would do"
        )
    if "train" not in found:
        raise InputError(f"{name}: {str(root)!r} holds no train-*.parquet")
    return {part: found[part] for part in ("train", "val", "test") if part in found}


def _split_of(path: Path, root: Path) -> str | None:
    folders = path.relative_to(root).parts[:-1] if path != root else ()
    for part in (path.name, *reversed(folders)):
        if match := _PREFIX.match(part):
            return SPLIT_NAMES[match[1]]
    return None


@contextlib.contextmanager
def _readable(name: str, path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name}: {str(path)!r} is no whole Parquet file ({error})") from error


def _schema(name: str, path: Path) -> "pa.Schema":
    import pyarrow.parquet as pq

    with _readable(name, path):
        return pq.read_schema(path)


def _batches(name: str, files: Sequence[Path], columns: Sequence[str]) -> Batches:
    import pyarrow.parquet as pq

    for path in files:
        absent = sorted(set(columns) - set(_schema(name, path).names))
        if absent:
            raise InputError(f"{name}: {str(path)!r} has no column {absent[0]!r}, others have")
        first = 0
        with _readable(name, path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                yield str(path), first, batch
                first += len(batch)
