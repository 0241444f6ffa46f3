"""Looks for images of a synthetic set that stand in the test split, or were memorised.

Copies, exact and near, are found by `tasks.copies`, without a network. Beyond them an image counts
as memorised that lies in feature space beside one training image and far from all others, nearer
than real images come:

- d1 < d2 / 3, where d1 and d2 are the distances to the nearest and the next training image: the
  ratio test of Yoon et al., "Diffusion probabilistic models generalize when they fail to memorize"
  (ICML 2023 workshop; also in Gu et al., "On memorization in diffusion models", arXiv 2310.02664);
- d1 < q / 2, where 99 % of real test images lie farther than q from every training image. Honest
  images of a class may fall close together, and the ratio alone would accuse them; and some test
  images of real data do stand in the train split, so that the smallest distance says little. Meehan
  et al., "A non-parametric test to detect data-copying in generative models" (arXiv 2004.05675),
  judge by the distances of test images as well.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.copies import Copy, CopySearch, Selected, everything
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
"""Of the nearest to the next distance. The least of 1,797 honest digits was 0.35."""
BESIDE = 1 / 2
"""Of the distance that `LEVELS[0]` of the test images come to a training image."""
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

    first: Distances
    """Of synthetic images to the nearest training image,"""
    second: Distances
    """and to the next."""
    rows: Indices
    """The nearest training image, as a row of its pack."""
    test_to_train: Distances
    """Of real test images to the nearest training image."""
    among: int
    """Training images, and test images, among which the nearest is found for `shown`: of more
    images one is nearer, whoever looks."""
    shown: dict[str, Distances]
    """To the nearest of `among` images."""


def audit(spec: AuditSpec, inputs: Mapping[Key, Path], out: Path) -> Work:
    """Compare every image of a set with the training and the test images.

    `result.json`: `images`; copies of test and of training images, `test_exact`, `test_near`,
    `train_exact`, `train_near`; `memorised` images and their share, `memorisation_rate`;
    `nearer_to_test`, the share of images that lie nearer to a test image than 99 % of test images
    do to a training image; `quantiles` (`LEVELS`) of the distances in feature space to the nearest
    image, `synthetic_to_train`, `synthetic_to_test` and, for comparison, `test_to_train`. For both
    the nearest is found among as many training as test images, `among`. `audit.parquet`: the worst
    cases.

    Args:
        inputs: the folders of all packs and features that `spec` names.
    """
    started = time.perf_counter()
    synthetic = everything(Pack(inputs[spec.pack]))
    train_pack, test_pack = Pack(inputs[spec.real.train.pack]), Pack(inputs[spec.real.test])
    train = Selected(pack=train_pack, rows=select(train_pack, spec.real.train)[1])
    test = everything(test_pack)
    if spec.real.train.fold is not None:
        test = Selected(pack=test_pack, rows=held_out(test_pack, spec.real.train))
    total = len(train) + len(test) + 3
    splits: dict[Split, Selected] = {"test": test, "train": train}
    copies: dict[Split, dict[int, Copy]] = {}
    done = 0
    for split, originals in splits.items():
        # Among few images the typical one is far: all that there are say what is alike by chance.
        search = CopySearch(synthetic, originals, everything(train_pack), thorough=True)
        for looked in search.look():
            yield Progress(done=done + looked, total=total)
        done += len(originals)
        copies[split] = search.found()
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


def _compared(
    spec: AuditSpec, inputs: Mapping[Key, Path], train_rows: Indices, test_rows: Indices
) -> _Compared:
    made = load_features(inputs[spec.features]).features
    train = load_features(inputs[spec.real.train_features]).features[train_rows]
    test = load_features(inputs[spec.real.test_features]).features[test_rows]
    distances, indices = nearest(made, train, min(2, len(train)))
    among = min(len(train), len(test))
    some_train, some_test = train[_spread(len(train), among)], test[_spread(len(test), among)]
    return _Compared(
        first=distances[:, 0],
        second=distances[:, -1],
        rows=train_rows[indices[:, 0]],
        test_to_train=nearest(test, train, 1)[0][:, 0],
        among=among,
        shown={
            "synthetic_to_train": nearest(made, some_train, 1)[0][:, 0],
            "synthetic_to_test": nearest(made, some_test, 1)[0][:, 0],
            "test_to_train": nearest(test, some_train, 1)[0][:, 0],
        },
    )


def _spread(total: int, size: int) -> Indices:
    """So many of `total` positions, evenly."""
    return np.arange(size, dtype=np.int64) * total // size


def _memorised(compared: _Compared) -> npt.NDArray[np.bool_]:
    near = BESIDE * np.quantile(compared.test_to_train, LEVELS[0])
    alone: npt.NDArray[np.bool_] = compared.first < RATIO * compared.second
    return alone & (compared.first < near)


def _counted(copies: Mapping[Split, Mapping[int, Copy]]) -> dict[str, int]:
    return {
        f"{split}_{kind}": sum(copy.kind == kind for copy in found.values())
        for split, found in copies.items()
        for kind in ("exact", "near")
    }


def _distances(compared: _Compared) -> dict[str, Any]:
    shown = compared.shown
    limit = np.quantile(shown["test_to_train"], LEVELS[0])
    return {
        "nearer_to_test": float((shown["synthetic_to_test"] < limit).mean()),
        "quantiles": {n: np.quantile(values, LEVELS).tolist() for n, values in shown.items()},
        "among": compared.among,
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
    for row in sorted(rows, key=lambda row: compared.first[row])[:WORST]:
        yield Case(
            kind="feature",
            split="train",
            synthetic=row,
            real=int(compared.rows[row]),
            distance=float(compared.first[row]),
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
