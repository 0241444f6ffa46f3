"""The step that finds test images which also stand, exactly or nearly, in the train split.

About 3.3 % of CIFAR-10's test images have a near-duplicate among the training images (B. Barz &
J. Denzler, "Do we train on test data? Purging CIFAR of near-duplicates", J. Imaging 6(6), 2020,
arXiv:1902.00423). They find candidates with a trained network and judge them by eye. Here no
network is needed: see `tasks.copies`.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.copies import Copy, CopySearch, Kind, everything
from tasks.packs import Indices, Pack
from tasks.results import write_result
from tasks.specs import DuplicatesSpec, Progress, Work


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A test image and the train image that it copies."""

    test: int
    """Row of the test pack."""
    train: int
    """Row of the train pack."""
    test_source: str
    train_source: str
    kind: Kind
    distance: float
    """0 for exact copies, else 1 - the correlation of details, 0..1."""


def duplicates(spec: DuplicatesSpec, train: Path, test: Path, out: Path) -> Work:
    """Write `duplicates.parquet`: for each test image that has copies in `train`, the closest.

    Exact is: equal files or equal pixels. Near is: the same picture, perhaps encoded again,
    mirrored, brightened, moved or cropped a little. Memory grows with the test split alone.
    """
    started = time.perf_counter()
    old, new = Pack(train), Pack(test)
    total = len(old) + len(new)
    search = CopySearch(everything(new), everything(old), usual=everything(old))
    for done in search.look():
        yield Progress(done=done, total=total)
    found = [_pair(old, new, row, copy) for row, copy in sorted(search.found().items())]
    _write(out, found)
    result = {
        "num_exact": sum(pair.kind == "exact" for pair in found),
        "num_near": sum(pair.kind == "near" for pair in found),
        "num_test": len(new),
        "num_train": len(old),
        "seconds": time.perf_counter() - started,
    }
    write_result(out, result)
    yield Progress(done=total, total=total)


def _pair(old: Pack, new: Pack, test: int, copy: Copy) -> Pair:
    return Pair(
        test=test,
        train=copy.of,
        test_source=new.sources[test],
        train_source=old.sources[copy.of],
        kind=copy.kind,
        distance=copy.distance,
    )


def _write(out: Path, found: list[Pair]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("test", pa.int64()),
            ("train", pa.int64()),
            ("test_source", pa.string()),
            ("train_source", pa.string()),
            ("kind", pa.string()),
            ("distance", pa.float64()),
        ]
    )
    rows = [{name: getattr(pair, name) for name in schema.names} for pair in found]
    pq.write_table(pa.Table.from_pylist(rows, schema), out / "duplicates.parquet")


def pairs(folder: Path) -> tuple[Pair, ...]:
    """What a finished step found, in the order of the test images."""
    import pyarrow.parquet as pq

    return tuple(Pair(**row) for row in pq.read_table(folder / "duplicates.parquet").to_pylist())


def excluded(folder: Path) -> Indices:
    """Rows of the test pack to leave out, ascending."""
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "duplicates.parquet", columns=["test"])["test"].to_numpy()
    return np.unique(rows).astype(np.int64)
