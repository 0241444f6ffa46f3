"""Looks for images of a synthetic set that stand in the test split, or were memorised.

Copies, exact and near, are found by `tasks.copies`, without a network. Beyond them an image counts
as memorised that lies in feature space beside one training image and far from all others, nearer
than any real test image does:

- d1 < d2 / 3, the ratio test of Yoon et al., "Diffusion probabilistic models generalize when they
  fail to memorize" (ICML 2023 workshop; also in Gu et al., "On memorization in diffusion models",
  arXiv 2310.02664), where d1 and d2 are the distances to the nearest and the next training image
  that is no copy of it; and
- d1 is less than a third of the smallest distance of a real test image to a training image: honest
  images of a class may fall close together, and the ratio alone would accuse them. Somepalli et al.
  ("Diffusion art or digital forgery?", arXiv 2212.03860) judge by such a baseline as well.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.copies import Copy, CopySearch, Selected
from tasks.extraction import load_features
from tasks.neighbours import nearest
from tasks.packs import Indices, Pack, held_out, select
from tasks.results import write_result
from tasks.specs import AuditSpec, Key, Progress, Work

Kind = Literal["exact", "near", "feature"]
Split = Literal["train", "test"]
Distances = npt.NDArray[np.float64]

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Quantiles of distances that are kept."""
RATIO = 1 / 3
"""Of the nearest to the next distance, and to the smallest one of real images."""
WORST = 24
"""Cases kept of each kind and split."""
FILE = "audit.parquet"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A synthetic image and the real one that it is too near to."""

    kind: Kind
    split: Split
    synthetic: int
    """Row of the set's pack."""
    real: int
    """Row of the pack of the split."""
    distance: float
    """0 for exact copies; of near ones as in `tasks.copies`, else in feature space."""


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """Distances in feature space, one a synthetic or test image."""

    to_train: Distances
    """Synthetic images × the nearest two training images."""
    train_rows: Indices
    to_test: Distances
    test_rows: Indices
    baseline: Distances
    """Of real test images to the nearest training image."""


def audit(spec: AuditSpec, inputs: Mapping[Key, Path], out: Path) -> Work:
    """Compare every image of a set with the training and the test images.

    `result.json`: `images`; copies of test and of training images, `test_exact`, `test_near`,
    `train_exact`, `train_near`; `memorised` images and their share, `memorisation_rate`;
    `nearer_to_test`, the share of images that lie nearer to a test image than 99 % of test images
    do to a training image; `quantiles` (`LEVELS`) of the distances in feature space to the nearest
    image, `synthetic_to_train`, `synthetic_to_test` and, for comparison, `test_to_train`.
    `audit.parquet`: the worst cases.

    Args:
        inputs: the folders of all packs and features that `spec` names.
    """
    started = time.perf_counter()
    synthetic = _all(Pack(inputs[spec.pack]))
    train_pack, test_pack = Pack(inputs[spec.real.train.pack]), Pack(inputs[spec.real.test])
    train = Selected(pack=train_pack, rows=select(train_pack, spec.real.train)[1])
    test = _all(test_pack)
    if spec.real.train.fold is not None:
        test = Selected(pack=test_pack, rows=held_out(test_pack, spec.real.train))
    total = len(train) + len(test) + 3
    copies: dict[Split, dict[int, Copy]] = {}
    done = 0
    for split, originals in (("test", test), ("train", train)):
        search = CopySearch(synthetic, originals, usual=train, thorough=True)
        for looked in search.look():
            yield Progress(done=done + looked, total=total)
        done += len(originals)
        copies[split] = search.found()  # type: ignore[index]
    compared = _compared(spec, inputs, train.rows, test.rows)
    yield Progress(done=total - 1, total=total)
    beside = _memorised(compared)
    memorised = np.zeros(len(synthetic), np.bool_)
    memorised[list(copies["train"])] = True
    memorised |= beside
    _write(out, [*_copied(copies), *_beside(compared, beside, copies["train"])])
    write_result(
        out,
        {
            "images": len(synthetic),
            **_counted(copies),
            "memorised": int(memorised.sum()),
            "memorisation_rate": float(memorised.mean()),
            **_distances(compared),
            "seconds": time.perf_counter() - started,
        },
    )
    yield Progress(done=total, total=total)


def _all(pack: Pack) -> Selected:
    return Selected(pack=pack, rows=np.arange(len(pack), dtype=np.int64))


def _compared(
    spec: AuditSpec, inputs: Mapping[Key, Path], train_rows: Indices, test_rows: Indices
) -> _Compared:
    made = load_features(inputs[spec.features]).features
    train = load_features(inputs[spec.real.train_features]).features[train_rows]
    test = load_features(inputs[spec.real.test_features]).features[test_rows]
    to_train, nearest_train = nearest(made, train, min(2, len(train)))
    to_test, nearest_test = nearest(made, test, 1)
    return _Compared(
        to_train=to_train,
        train_rows=train_rows[nearest_train[:, 0]],
        to_test=to_test[:, 0],
        test_rows=test_rows[nearest_test[:, 0]],
        baseline=nearest(test, train, 1)[0][:, 0],
    )


def _memorised(compared: _Compared) -> npt.NDArray[np.bool_]:
    first, second = compared.to_train[:, 0], compared.to_train[:, -1]
    # A test image that stands in the train split, too, says nothing of how near honest ones are.
    apart = compared.baseline[compared.baseline > 0]
    smallest = float(apart.min()) if len(apart) else 0.0
    found: npt.NDArray[np.bool_] = (first < RATIO * second) & (first < RATIO * smallest)
    return found


def _counted(copies: Mapping[Split, Mapping[int, Copy]]) -> dict[str, int]:
    return {
        f"{split}_{kind}": sum(copy.kind == kind for copy in found.values())
        for split, found in copies.items()
        for kind in ("exact", "near")
    }


def _distances(compared: _Compared) -> dict[str, Any]:
    limit = np.quantile(compared.baseline, LEVELS[0])
    shown = {
        "synthetic_to_train": compared.to_train[:, 0],
        "synthetic_to_test": compared.to_test,
        "test_to_train": compared.baseline,
    }
    return {
        "nearer_to_test": float((compared.to_test < limit).mean()),
        "quantiles": {n: np.quantile(values, LEVELS).tolist() for n, values in shown.items()},
    }


def _copied(copies: Mapping[Split, Mapping[int, Copy]]) -> Iterable[Case]:
    for split, found in copies.items():
        for kind in ("exact", "near"):
            mine = [(c.distance, row, c.of) for row, c in found.items() if c.kind == kind]
            for distance, row, real in sorted(mine)[:WORST]:
                yield Case(kind=kind, split=split, synthetic=row, real=real, distance=distance)


def _beside(
    compared: _Compared, beside: npt.NDArray[np.bool_], copied: Mapping[int, Copy]
) -> Iterable[Case]:
    rows = [int(row) for row in np.flatnonzero(beside) if int(row) not in copied]
    for row in sorted(rows, key=lambda row: compared.to_train[row, 0])[:WORST]:
        yield Case(
            kind="feature",
            split="train",
            synthetic=row,
            real=int(compared.train_rows[row]),
            distance=float(compared.to_train[row, 0]),
        )


def _write(out: Path, cases: list[Case]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [(name, pa.string()) for name in ("kind", "split")]
    numbers = [(name, pa.int64()) for name in ("synthetic", "real")]
    schema = pa.schema([*texts, *numbers, ("distance", pa.float64())])
    rows = [{name: getattr(case, name) for name in schema.names} for case in cases]
    pq.write_table(pa.Table.from_pylist(rows, schema), out / FILE)


def worst_cases(folder: Path) -> tuple[Case, ...]:
    """What a finished audit found: copies of test images first, the closest of each kind first."""
    import pyarrow.parquet as pq

    return tuple(Case(**row) for row in pq.read_table(folder / FILE).to_pylist())
