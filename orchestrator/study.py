"""A YAML file becomes a StudySpec: merged, expanded and checked before anything runs."""

import contextlib
import functools
import importlib.resources
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator import yaml12
from orchestrator.grid import candidates, cells
from orchestrator.overlay import overlaid
from orchestrator.parsing import parse_evaluation_sets, parse_quality
from orchestrator.settings import EditedTest, EvaluationSet, QualitySettings
from orchestrator.validating import section, shown
from tasks import plugins
from tasks.errors import InputError, nearest

CELL_KEYS = ("dataset", "synthetic", "subset", "variant", "sets", "set_seed", "mixing", "train")
STUDY_KEYS = (
    "question",
    *CELL_KEYS,
    "axes",
    "arms",
    "seeds",
    "folds",
    "evaluate_on",
    "extractor",
    "measures",
    "audit",
    "compare",
    "report",
    "keep_weights",
    "smoke",
)
KEEP_WEIGHTS = ("selected", "all", "none")
FOLDS = range(2, 101)
"""How many parts cross-validation may have."""


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """A setting that a sibling study's winner decides."""

    path: str
    study: "StudySpec"
    metric: str


@dataclass(frozen=True, kw_only=True, eq=False)
class StudySpec:
    """One question, ready to be planned. Compared by identity: it is made once for each file."""

    name: str
    question: str
    document: Mapping[str, Any]
    """The study after `smoke` and `--set`."""
    base: Mapping[str, Any] = field(repr=False)
    """Its cell settings before arms and axes."""
    axes: Mapping[str, tuple[Any, ...]]
    arms: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    folds: int | None
    """Of cross-validation on the train split; None tests on the test split."""
    evaluation_sets: tuple[EvaluationSet | EditedTest, ...]
    quality: QualitySettings
    """What is measured of synthetic sets."""
    baseline: Mapping[str, Any]
    metrics: tuple[str, ...]
    keep_weights: str
    best_of: BestOf | None
    origin: str
    """What the user named: a path or a bundled study."""
    overrides: tuple[str, ...]
    smoke: bool

    @functools.cached_property
    def axis_names(self) -> tuple[str, ...]:
        """Axis paths in order; `arm` first where there are arms."""
        return (*(("arm",) if self.arms else ()), *self.axes)


def bundled() -> dict[str, Path]:
    """The studies that ship with Augury, by name."""
    folder = importlib.resources.files("search_spaces")
    found = [Path(str(item)) for item in folder.iterdir() if item.name.endswith(".yaml")]
    return {path.stem: path for path in sorted(found)}


def load_study(name: str, overrides: Sequence[str] = (), smoke: bool = False) -> StudySpec:
    """Read a study by path or bundled name.

    Args:
        overrides: `path=value` as given with `--set`.
        smoke: shrink it by its own `smoke:` section.

    Raises InputError with the file, the path in it, the value and what would do.
    """
    return _load(name, tuple(overrides), smoke, ())


def load_studies(
    names: Sequence[str], overrides: Sequence[str] = (), smoke: bool = False
) -> list[StudySpec]:
    """Read several studies that are planned together.

    A `best_of` that names one of them means the one that was read, with its overrides.

    Raises InputError as `load_study`, and where two files have one name.
    """
    loaded = [load_study(name, overrides, smoke) for name in dict.fromkeys(names)]
    by_name = {study.name: study for study in loaded}
    if len(by_name) < len(loaded):
        twice = next(s.name for s in loaded if by_name[s.name] is not s)
        raise InputError(f"two studies are called {twice!r}: rename one of the files")
    return [_follow(study, by_name) for study in loaded]


def _follow(study: StudySpec, others: Mapping[str, StudySpec]) -> StudySpec:
    best_of = study.best_of
    if best_of is None or best_of.study.name not in others:
        return study
    other = others[best_of.study.name]
    if best_of.path not in other.axes:
        raise InputError(
            f"{study.origin}: {best_of.path}.best_of: study {other.origin!r} has no axis "
            f"{best_of.path!r}; {nearest(best_of.path, other.axes)}"
        )
    followed = replace(study, best_of=replace(best_of, study=other))
    for value in candidates(followed):
        cells(followed, value)
    return followed


def _load(name: str, overrides: tuple[str, ...], smoke: bool, above: tuple[Path, ...]) -> StudySpec:
    path = _find(name)
    if path in above:
        raise InputError(f"{path.name}: best_of goes round in a circle")
    try:
        document = yaml12.parse(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise InputError(f"a study is a mapping, not {shown(document)}; see `augury schema`")
        document = overlaid(document, overrides, smoke)
        return _study(path, name, document, overrides, smoke, (*above, path))
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _find(name: str) -> Path:
    path = Path(name)
    with contextlib.suppress(OSError):  # a name too long to be one
        if path.is_file():
            return path.resolve()
    if name in bundled():
        return bundled()[name].resolve()
    with contextlib.suppress(OSError):
        if path.is_dir():
            raise InputError(f"{name}: is a folder; name a study file in it")
    hint = nearest(name, bundled())
    raise InputError(f"{name}: there is no such file, and no bundled study of that name; {hint}")


def _study(
    path: Path,
    origin: str,
    document: dict[str, Any],
    overrides: tuple[str, ...],
    smoke: bool,
    above: tuple[Path, ...],
) -> StudySpec:
    for key in document:
        if key not in STUDY_KEYS:
            raise InputError(f"{key}: unknown key {key!r}; {nearest(key, STUDY_KEYS)}")
    question = document.get("question") or ""
    if not isinstance(question, str):
        raise InputError(f"question: a sentence was expected, not {shown(question)}")
    if not question.strip():
        raise InputError("question: is missing; say in one sentence what the study asks")
    axes, arms = _axes(document), _arms(document)
    best_of = _best_of(path, document, overrides, smoke, above)
    spec = StudySpec(
        name=f"{path.stem}-smoke" if smoke else path.stem,
        question=" ".join(question.split()),
        document=document,
        base={key: document[key] for key in CELL_KEYS if key in document},
        axes=axes,
        arms=arms,
        seeds=_seeds(document),
        folds=_folds(document),
        evaluation_sets=parse_evaluation_sets(document.get("evaluate_on")),
        quality=parse_quality(document),
        baseline=_baseline(document, axes, arms),
        metrics=_metrics(document),
        keep_weights=_keep(document),
        best_of=best_of,
        origin=origin,
        overrides=overrides,
        smoke=smoke,
    )
    # Every cell is checked now, so that no mistake waits for hours in a later arm.
    for value in candidates(spec) if best_of else (None,):
        cells(spec, value)
    return spec


def _axes(document: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    axes = section(document.get("axes"), "axes")
    for path, values in axes.items():
        if path.split(".")[0] not in CELL_KEYS:
            close = nearest(path.split(".")[0], CELL_KEYS)
            raise InputError(f"axes.{path}: unknown path {path!r}; {close}")
        if not isinstance(values, list) or not values:
            raise InputError(
                f"axes.{path}: a list with at least one value was expected, not {shown(values)}"
            )
        if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
            raise InputError(f"axes.{path}: a value stands twice in {values!r}")
        for other in axes:
            if path.startswith(f"{other}."):
                raise InputError(
                    f"axes.{path}: lies inside the axis {other!r}: keep one of the two"
                )
    return {path: tuple(values) for path, values in axes.items()}


def _arms(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    arms: dict[str, Mapping[str, Any]] = {
        name: section(values, f"arms.{name}")
        for name, values in section(document.get("arms"), "arms").items()
    }
    for name, values in arms.items():
        for key in values:
            if key not in CELL_KEYS:
                raise InputError(
                    f"arms.{name}.{key}: unknown key {key!r}; {nearest(key, CELL_KEYS)}"
                )
    return arms


def _seeds(document: Mapping[str, Any]) -> tuple[int, ...]:
    seeds = document.get("seeds", [0, 1, 2])
    whole = isinstance(seeds, list) and all(type(s) is int and 0 <= s < 2**32 for s in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        raise InputError(
            f"seeds: a list of different whole numbers from 0 to {2**32 - 1} was expected, not "
            f"{shown(seeds)}"
        )
    return tuple(seeds)


def _folds(document: Mapping[str, Any]) -> int | None:
    folds = document.get("folds")
    if folds is None:
        return None
    if type(folds) is not int or folds not in FOLDS:
        raise InputError(
            f"folds: a whole number from {min(FOLDS)} to {max(FOLDS)} was expected, not "
            f"{shown(folds)}"
        )
    return folds


def _baseline(
    document: Mapping[str, Any],
    axes: Mapping[str, tuple[Any, ...]],
    arms: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    compare = document.get("compare")
    if compare is None:
        return {}
    if not isinstance(compare, dict) or set(compare) != {"baseline"}:
        raise InputError(
            f"compare: {{baseline: {{axis: value}}}} was expected, not {shown(compare)}"
        )
    baseline = compare["baseline"]
    if not section(baseline, "compare.baseline"):
        raise InputError("compare.baseline: is empty; say {axis: value}")
    found = {}
    for path, value in baseline.items():
        choices = tuple(arms) if path == "arm" and arms else axes.get(path)
        if choices is None:
            known = (*axes, *(("arm",) if arms else ()))
            raise InputError(f"compare.baseline.{path}: is no axis; {nearest(path, known)}")
        if value not in choices:
            raise InputError(
                f"compare.baseline.{path}: {value!r} is not on the axis; it holds {list(choices)!r}"
            )
        # As the axis spells it: `1.0` may stand for `1`, and keys may come in another order.
        found[path] = choices[choices.index(value)]
    return found


def _metrics(document: Mapping[str, Any]) -> tuple[str, ...]:
    report = section(document.get("report"), "report")
    for key in report:
        if key != "metrics":
            raise InputError(f"report.{key}: unknown key {key!r}; did you mean 'metrics'?")
    metrics = report.get("metrics", ["top1"])
    if not isinstance(metrics, list) or not metrics:
        raise InputError(f"report.metrics: a list of names was expected, not {shown(metrics)}")
    for name in metrics:
        if name not in plugins.names("metrics"):
            known = plugins.names("metrics")
            raise InputError(
                f"report.metrics: unknown metric {name!r}; {nearest(str(name), known)}"
            )
    return tuple(dict.fromkeys(metrics))


def _keep(document: Mapping[str, Any]) -> str:
    keep = document.get("keep_weights", "all")
    if keep not in KEEP_WEIGHTS:
        raise InputError(
            f"keep_weights: {shown(keep)} is unknown; {nearest(str(keep), KEEP_WEIGHTS)}"
        )
    return str(keep)


def _find_best_of(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        if "best_of" in value:
            yield path, value["best_of"]
        else:
            for key, inner in value.items():
                yield from _find_best_of(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _find_best_of(inner, path)


def _best_of(
    path: Path,
    document: Mapping[str, Any],
    overrides: tuple[str, ...],
    smoke: bool,
    above: tuple[Path, ...],
) -> BestOf | None:
    for kind in ("arms", "axes"):
        for inside, _ in _find_best_of(document.get(kind) or {}, kind):
            raise InputError(f"{inside}: best_of stands in the study itself, not in {kind}")
    found = list(_find_best_of({key: document[key] for key in CELL_KEYS if key in document}))
    if not found:
        return None
    if len(found) > 1:
        raise InputError(f"{found[1][0]}: a study takes one setting with best_of, not several")
    where, values = found[0]
    for axis in document.get("axes") or {}:
        if f"{axis}.".startswith(f"{where}.") or where.startswith(f"{axis}."):
            raise InputError(f"axes.{axis}: best_of decides {where} already: keep one of the two")
    if (
        not isinstance(values, dict)
        or not isinstance(values.get("study"), str)
        or set(values) - {"study", "metric"}
    ):
        raise InputError(f"{where}.best_of: {{study: NAME, metric: val_top1}} was expected")
    if values.get("metric", "val_top1") != "val_top1":
        raise InputError(
            f"{where}.best_of.metric: {values['metric']!r} selects nothing; winners are chosen by "
            f"val_top1, on validation images alone"
        )
    beside = path.parent / f"{values['study']}.yaml"
    try:
        name = str(beside) if beside.is_file() else values["study"]
        # An axis given with --set is this study's own; what it decides is not asked again.
        shared = tuple(text for text in overrides if not text.startswith("axes."))
        sibling = _load(name, shared, smoke, above)
    except InputError as error:
        raise InputError(f"{where}.best_of.study: {error}") from error
    if where not in sibling.axes:
        raise InputError(
            f"{where}.best_of: study {sibling.name!r} has no axis {where!r}; "
            f"{nearest(where, sibling.axes)}"
        )
    return BestOf(path=where, study=sibling, metric="val_top1")
