"""Datasets whose images are cells of Arrow tables: Parquet files, the `datasets` library."""

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.datasets._columns import Columns
from tasks.datasets._decode import decode
from tasks.datasets._files import is_image, readable
from tasks.datasets._paths import inside
from tasks.datasets._splits import SPLIT_NAMES, Contents
from tasks.errors import InputError
from tasks.origins import read_origins
from tasks.packs import Example
from tasks.reading import FileFacts, Row, file_sha256

Batches = Iterator[tuple[str, int, Any]]
"""The table's name, the number of the first row in it, and a `pyarrow` Table or RecordBatch."""

Tables = Callable[[Sequence[str]], Batches]
"""Reads the columns of these names, a few rows at a time, in a fixed order."""

BATCH_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class _Cell:
    where: str
    split: str
    source: str
    label: Any
    image: Any


class TableStore:
    """A `Store` of tables; an image's source is its index in the split, its sha256 its bytes'."""

    def __init__(
        self,
        name: str,
        columns: Columns,
        tables: Mapping[str, Tables],
        *,
        files: Sequence[Path],
        root: Path | None,
        skip_bad: bool,
    ) -> None:
        """Open tables.

        Args:
            tables: by split; where a column says the split, the names do not matter.
            files: those that the tables are stored in.
            root: folder that paths in cells start from and must not leave; None takes any path.
        """
        self._name, self._columns, self._tables = name, columns, tables
        self._files, self._root, self._skip_bad = files, root, skip_bad

    def splits(self) -> Container[str]:
        return self._splits

    def files(self) -> Sequence[Path]:
        return self._files

    def contents(self, facts: FileFacts) -> Contents:
        rows: dict[str, list[Row]] = {split: [] for split in self._splits}
        skipped: dict[str, list[str]] = {split: [] for split in self._splits}
        seen: dict[Path, str] = {}
        for cell in self._cells(with_image=True):
            label, image = self._label(cell), self._image(cell)
            if isinstance(image, Path):
                if image in seen:
                    raise InputError(f"{cell.where}: {str(image)!r} is in {seen[image]} already")
                seen[image] = cell.where.rsplit(", ", 1)[-1]
                good = not self._skip_bad or facts(image, "readable", readable) == "yes"
                sha = facts(image, "sha256", file_sha256)
            else:
                good = not self._skip_bad or is_image(image)
                sha = hashlib.sha256(image).hexdigest()
            if good:
                rows[cell.split].append((label, cell.source, sha))
            else:
                skipped[cell.split].append(cell.source)
        return Contents(
            classes=self._classes,
            rows=rows,
            skipped={split: tuple(sources) for split, sources in skipped.items()},
            outside=bool(seen),
        )

    def examples(self, split: str, kept: Container[str] | None) -> Iterator[Example]:
        for cell in self._cells(with_image=True, only=split):
            if kept is not None and cell.source not in kept:
                continue
            label, image = self._label(cell), self._image(cell)
            data = image.read_bytes() if isinstance(image, Path) else image
            try:
                pixels = decode(data, cell.where)
            except InputError:
                if self._skip_bad:
                    continue
                raise
            sha = hashlib.sha256(data).hexdigest()
            yield Example(
                pixels=pixels,
                label=label,
                source=cell.source,
                sha256=sha,
                origins=read_origins(data),
            )

    @functools.cached_property
    def _splits(self) -> tuple[str, ...]:
        if self._columns.split is None:
            return tuple(self._tables)
        found = {cell.split for cell in self._cells(with_image=False)}
        if "train" not in found:
            raise InputError(
                f"{self._name}: column {self._columns.split!r} says `train` of no row; it says "
                f"{', '.join(sorted(found)) or 'nothing'}"
            )
        return tuple(split for split in ("train", "val", "test") if split in found)

    @functools.cached_property
    def _classes(self) -> tuple[str, ...]:
        if self._columns.names is not None:
            return self._columns.names
        return tuple(str(value) for value in self._numbers)

    @functools.cached_property
    def _numbers(self) -> dict[Any, int]:
        """What stands in the column of labels -> label."""
        if self._columns.names is not None:
            names = self._columns.names
            return {
                **{name: n for n, name in enumerate(names)},
                **{n: n for n in range(len(names))},
            }
        found = {cell.label for cell in self._cells(with_image=False) if cell.split == "train"}
        known = sorted(value for value in found - {None} if isinstance(value, str) or value >= 0)
        return {value: number for number, value in enumerate(known)}

    def _label(self, cell: _Cell) -> int:
        if cell.label in self._numbers:
            return self._numbers[cell.label]
        shown = ", ".join(self._classes[:12])
        if isinstance(cell.label, int):
            shown = f"0 to {len(self._classes) - 1}" if self._columns.names else shown
            hidden = " (-1 stands for a label that was not published)" if cell.label == -1 else ""
            raise InputError(f"{cell.where}: label {cell.label}{hidden}; {shown} would do")
        raise InputError(f"{cell.where}: label {cell.label!r}; {shown} would do")

    def _image(self, cell: _Cell) -> bytes | Path:
        found = cell.image
        if isinstance(found, dict):
            found = found.get("path") if found.get("bytes") is None else found["bytes"]
        if isinstance(found, bytes):
            return found
        if found is None:
            # No bytes are no image, as `decode` will say, or `skip_bad` leave out.
            return b""
        path = inside(self._root, found, cell.where) if self._root else Path(found)
        if not path.is_file():
            raise InputError(f"{cell.where}: there is no file {str(path)!r}")
        return path

    def _cells(self, *, with_image: bool, only: str | None = None) -> Iterator[_Cell]:
        image, label, split = self._columns.image, self._columns.label, self._columns.split
        wanted = [name for name in (image if with_image else None, label, split) if name]
        counts: Counter[str] = Counter()
        for stored, tables in self._tables.items():
            if split is None and only not in (None, stored):
                continue
            for table, first, batch in tables(wanted):
                columns = {name: batch.column(name).to_pylist() for name in wanted}
                for offset, value in enumerate(columns[label]):
                    where = f"{self._name}: {table}, row {first + offset}"
                    part = self._part(columns[split][offset], where) if split else stored
                    index = counts[part]
                    counts[part] += 1
                    if only in (None, part):
                        pixels = columns[image][offset] if with_image else None
                        yield _Cell(
                            where=where,
                            split=part,
                            source=f"{index:06d}",
                            label=value,
                            image=pixels,
                        )

    @staticmethod
    def _part(value: Any, where: str) -> str:
        if value not in SPLIT_NAMES:
            raise InputError(f"{where}: split {value!r}; {', '.join(SPLIT_NAMES)} would do")
        return SPLIT_NAMES[value]
