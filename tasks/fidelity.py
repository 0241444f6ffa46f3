"""Measures how near a synthetic set is to the real training images, by their features."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.errors import InputError
from tasks.errors import nearest as nearest_name
from tasks.extraction import Features, load_features
from tasks.measures.catalogue import CATALOGUE, DENSITY_K, IN_FEATURE_SPACE, PRECISION_K
from tasks.measures.frechet import frechet_distance
from tasks.measures.kernel import kernel_distance
from tasks.measures.manifold import NAMES, manifold_measures
from tasks.measures.projection import pca, tsne
from tasks.neighbours import nearest
from tasks.packs import Indices, Pack, held_out, select
from tasks.results import write_result
from tasks.specs import FidelitySpec, Key, Progress, Work

FEWEST_FOR_FID = 2048
"""As many images as Inception has features: below, covariances are singular."""
MAP_ROWS = 300
"""Of each of real, synthetic and test images."""
PAIRED_PER_CLASS = 4
CHECKED_AT_ONCE = 4096

REAL, SYNTHETIC, TEST = 0, 1, 2
"""Groups of the map."""


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Some images of one pack, in its order or class by class."""

    rows: Indices
    """Of the pack."""
    features: Features
    """Of `rows`."""
    labels: npt.NDArray[np.int64]
    """Of `rows`, in the label order of the real training images."""

    def where(self, chosen: Indices) -> "_Group":
        """Those at these positions."""
        return _Group(
            rows=self.rows[chosen], features=self.features[chosen], labels=self.labels[chosen]
        )


@dataclass(kw_only=True)
class _Findings:
    """What has been measured so far."""

    measures: dict[str, float] = field(default_factory=dict)
    stamp: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    kid_std: float | None = None


def fidelity(spec: FidelitySpec, inputs: Mapping[Key, Path], out: Path) -> Work:
    """Compare all images of a synthetic set with the real training images of `spec.real`.

    - `result.json`: `measures` by name; `kid_std` over subsets; `stamp`, what the numbers depend
      on; `warnings`, one line each, also for a measure that so few images do not have; `seconds`.
    - `map.npz`: up to 300 real, synthetic and test images as points: `pca` and `tsne`, n × 2;
      `group`, 0 real, 1 synthetic, 2 test; `label`, in the order of the real pack.
    - `neighbours.npz`: the first few synthetic images of each class, `synthetic`, the nearest real
      training image of each, `real`, both as rows of their packs, and their `distance`.

    Args:
        inputs: the folders of all packs and features that `spec` names.

    Raises InputError for features that are not finite, or of different extractors.
    """
    started = time.perf_counter()
    stamp = _common_stamp(spec, inputs)
    real, synthetic, test = _groups(spec, inputs)
    found = _Findings(
        stamp={
            **stamp,
            "real_images": str(len(real.rows)),
            "synthetic_images": str(len(synthetic.rows)),
        }
    )
    wanted = _possible(spec.measures, len(real.rows), len(synthetic.rows), found)
    total = len(wanted) + 2
    for done in _measure(wanted, real.features, synthetic.features, found):
        yield Progress(done=done, total=total, metrics=dict(found.measures))
    _write_neighbours(out, real, synthetic)
    yield Progress(done=total - 1, total=total)
    _write_map(out, real, synthetic, test)
    write_result(
        out,
        {
            "measures": found.measures,
            "kid_std": found.kid_std,
            "stamp": found.stamp,
            "warnings": found.warnings,
            "seconds": time.perf_counter() - started,
        },
    )
    yield Progress(done=total, total=total)


def _common_stamp(spec: FidelitySpec, inputs: Mapping[Key, Path]) -> dict[str, str]:
    keys = (spec.features, spec.real.train_features, spec.real.test_features)
    stamps = [load_features(inputs[key]).stamp for key in keys]
    for other in stamps[1:]:
        for name in sorted(stamps[0].keys() | other.keys()):
            if stamps[0].get(name) != other.get(name):
                raise InputError(
                    f"features of {name} {stamps[0].get(name)} and of {name} {other.get(name)} "
                    "cannot be compared: describe real and synthetic images alike"
                )
    return stamps[0]


def _groups(spec: FidelitySpec, inputs: Mapping[Key, Path]) -> tuple[_Group, _Group, _Group]:
    """The real training images, the synthetic ones and the real test images."""
    train = Pack(inputs[spec.real.train.pack])
    synthetic, test = Pack(inputs[spec.pack]), Pack(inputs[spec.real.test])
    rows = select(train, spec.real.train)[1]
    tested = np.arange(len(test), dtype=np.int64)
    if spec.real.train.fold is not None:
        tested = held_out(test, spec.real.train)
    return (
        _group("real training", train, rows, inputs[spec.real.train_features], train.classes),
        _group("synthetic", synthetic, None, inputs[spec.features], train.classes),
        _group("test", test, tested, inputs[spec.real.test_features], train.classes),
    )


def _group(
    what: str, pack: Pack, rows: Indices | None, features: Path, classes: tuple[str, ...]
) -> _Group:
    stored = load_features(features).features
    assert len(stored) == len(pack)
    if rows is None:  # all of them: they stay mapped
        rows = np.arange(len(pack), dtype=np.int64)
    else:
        stored = stored[rows]
    for start in range(0, len(stored), CHECKED_AT_ONCE):
        if not np.isfinite(stored[start : start + CHECKED_AT_ONCE]).all():
            raise InputError(
                f"some features of the {what} images are no finite numbers: look at the extractor"
            )
    order = np.array([classes.index(name) for name in pack.classes], np.int64)
    return _Group(rows=rows, features=stored, labels=order[pack.labels[rows]])


def _possible(
    asked: tuple[str, ...], num_real: int, num_synthetic: int, found: _Findings
) -> list[str]:
    """Those of the measures that so many images have; the others are spoken of."""
    possible = []
    for name in asked:
        if name not in IN_FEATURE_SPACE:
            raise InputError(f"unknown measure {name!r}: {nearest_name(name, IN_FEATURE_SPACE)}")
        measure = CATALOGUE[name]
        if num_real < measure.fewest_real or num_synthetic < measure.fewest_synthetic:
            found.warnings.append(
                f"{name} is not there: it needs {measure.fewest_real} real and "
                f"{measure.fewest_synthetic} synthetic images, and there are {num_real:,} and "
                f"{num_synthetic:,}"
            )
        else:
            possible.append(name)
    return possible


def _measure(
    wanted: list[str], real: Features, synthetic: Features, found: _Findings
) -> Iterator[int]:
    """Measure, and say after each part how many of `wanted` are done."""
    if "fid" in wanted:
        found.measures["fid"] = frechet_distance(real, synthetic)
        if min(len(real), len(synthetic)) < FEWEST_FOR_FID:
            found.warnings.append(
                f"FID below {FEWEST_FOR_FID:,} images ({len(real):,} real, {len(synthetic):,} "
                "synthetic) is too high, and compares only with FID of as many images"
            )
        yield len(found.measures)
    if "kid" in wanted:
        distance = kernel_distance(real, synthetic)
        found.measures["kid"], found.kid_std = distance.mean, distance.std
        found.stamp["kid_subsets"] = f"{distance.subsets} of {distance.subset_size}"
        yield len(found.measures)
    if manifold := [name for name in NAMES if name in wanted]:
        found.measures |= manifold_measures(real, synthetic, manifold)
        if {"precision", "recall"} & set(manifold):
            found.stamp["precision_recall_k"] = str(PRECISION_K)
        if {"density", "coverage"} & set(manifold):
            found.stamp["density_coverage_k"] = str(DENSITY_K)
        yield len(found.measures)


def _write_neighbours(out: Path, real: _Group, synthetic: _Group) -> None:
    """The first synthetic images of each class, and the nearest real one of any class."""
    firsts = [
        np.flatnonzero(synthetic.labels == label)[:PAIRED_PER_CLASS]
        for label in np.unique(synthetic.labels)
    ]
    shown = synthetic.where(np.concatenate(firsts))
    distances, indices = nearest(shown.features, real.features, 1)
    np.savez(
        out / "neighbours.npz",
        synthetic=shown.rows,
        real=real.rows[indices[:, 0]],
        distance=distances[:, 0],
    )


def _write_map(out: Path, real: _Group, synthetic: _Group, test: _Group) -> None:
    chosen = {REAL: _spread(real), SYNTHETIC: _spread(synthetic), TEST: _spread(test)}
    features = np.concatenate([group.features for group in chosen.values()])
    sizes = [len(group.rows) for group in chosen.values()]
    np.savez(
        out / "map.npz",
        pca=pca(chosen[REAL].features, features),
        tsne=tsne(features),
        group=np.repeat(list(chosen), sizes),
        label=np.concatenate([group.labels for group in chosen.values()]),
    )


def _spread(group: _Group) -> _Group:
    """Up to so many images, of each class in proportion, evenly over their order."""
    by_class = np.argsort(group.labels, kind="stable")
    size = min(MAP_ROWS, len(by_class))
    return group.where(by_class[np.arange(size) * len(by_class) // size])
