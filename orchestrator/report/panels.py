"""The parts of the page that are neither tables of scores nor figures, as values to lay out."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report import wording
from orchestrator.report.fidelity import fit_state, groups
from orchestrator.report.reading import commands, duplicate_notes, place_name
from orchestrator.report.results import CellResult, StudyResult, TrialResult
from orchestrator.report.set_panels import data_address
from orchestrator.report.statistics import mean

MOST_CONFUSION_CLASSES = 30
SMALL_SIDE = 64
"""Images up to this many pixels wide are shown enlarged, pixel by pixel."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image inside the page."""

    address: str
    """A `data:` address."""
    small: bool


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """The summed confusion of one cell."""

    label: str
    num_trials: int
    rows: tuple[tuple[tuple[int, float], ...], ...]
    """A count and its share of the row, by true and predicted class."""


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """What one cell did in one class."""

    images: str
    """Training images, real + synthetic; empty where they are not shown."""
    score: str
    """The mean over finished trials."""


@dataclass(frozen=True, kw_only=True)
class PerClass:
    """One metric by class, in label order."""

    metric: str
    has_images: bool
    rows: tuple[tuple[str, tuple[ClassScore, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class DuplicatePairs:
    """Test images that were found in the train split, each beside its like."""

    note: str
    pairs: tuple[tuple[Picture, Picture], ...]


def _picture(png: bytes) -> Picture:
    # The width stands in the header, at a fixed place.
    width = struct.unpack(">I", png[16:20])[0] if len(png) >= 24 else 0
    return Picture(address=data_address(png), small=width <= SMALL_SIDE)


def confusions(result: StudyResult) -> tuple[Confusion, ...]:
    """One matrix a cell, summed over its finished trials; none where classes are too many."""
    if len(result.classes) > MOST_CONFUSION_CLASSES:
        return ()
    found = []
    for cell in result.cells:
        matrices = [t.confusion for t in cell.trials if t.status == "finished" and t.confusion]
        if matrices:
            summed = [
                [sum(values) for values in zip(*lines, strict=True)]
                for lines in zip(*matrices, strict=True)
            ]
            shaded = tuple(tuple((n, n / max(1, sum(row))) for n in row) for row in summed)
            found.append(Confusion(label=cell.label, num_trials=len(matrices), rows=shaded))
    return tuple(found)


def per_class(result: StudyResult) -> tuple[PerClass, ...]:
    """One table for each metric that has values by class: recall, then the study's metrics.

    Recall stands beside the training images of each class, where those are known.
    """
    finished = [t for cell in result.cells for t in cell.trials if t.status == "finished"]
    known = {name for trial in finished for name in trial.per_class}
    order = dict.fromkeys(("recall", *result.metrics, *sorted(known)))
    counted = any(cell.real_per_class or cell.synthetic_per_class for cell in result.cells)
    return tuple(_per_class(result, n, counted and n == "recall") for n in order if n in known)


def _per_class(result: StudyResult, metric: str, has_images: bool) -> PerClass:
    means = [class_means(cell, metric) for cell in result.cells]
    return PerClass(
        metric=metric,
        has_images=has_images,
        rows=tuple(
            (
                label,
                tuple(
                    ClassScore(
                        images=_images_text(cell, index) if has_images else "",
                        score=wording.percent(values[index] if index < len(values) else None),
                    )
                    for cell, values in zip(result.cells, means, strict=True)
                ),
            )
            for index, label in enumerate(result.classes)
        ),
    )


def class_means(cell: CellResult, metric: str) -> tuple[float | None, ...]:
    """The mean of each class over the finished trials; empty where no trial has the metric."""
    found = [t.per_class[metric] for t in cell.trials if _has_classes(t, metric)]
    columns = [
        [values[index] for values in found if index < len(values)]
        for index in range(max(map(len, found), default=0))
    ]
    return tuple(mean(column) if column else None for column in columns)


def _has_classes(trial: TrialResult, metric: str) -> bool:
    return trial.status == "finished" and bool(trial.per_class.get(metric))


def _images_text(cell: CellResult, index: int) -> str:
    """`90`, and `90 + 45` in a cell that has synthetic images."""
    counts = (cell.real_per_class, cell.synthetic_per_class)
    real, synthetic = (f"{each[index]:,}" if index < len(each) else "0" for each in counts)
    return f"{real} + {synthetic}" if any(cell.synthetic_per_class) else real


def duplicate_pairs(result: StudyResult) -> tuple[DuplicatePairs, ...]:
    """The pairs of each test set that has some to show."""
    found = [check for check in result.duplicates if check.num_exact + check.num_near]
    return tuple(
        DuplicatePairs(
            note=note, pairs=tuple((_picture(ours), _picture(like)) for ours, like in check.pairs)
        )
        for check, note in zip(found, duplicate_notes(result), strict=True)
        if check.pairs
    )


def trial_names(result: StudyResult) -> tuple[str, ...]:
    """What heads each column of a table with one column a trial."""
    folds = [None] if result.folds is None else list(range(result.folds))
    return tuple(place_name(seed, fold) for seed in result.seeds for fold in folds)


def trials_by_name(cell: CellResult) -> dict[str, TrialResult]:
    """The trials of a cell by `trial_names`."""
    return {place_name(trial.seed, trial.fold): trial for trial in cell.trials}


def provenance(result: StudyResult) -> dict[str, str]:
    """What made the numbers: data, seeds, code, libraries, machines."""
    trials = [t for cell in result.cells for t in cell.trials if t.status == "finished"]
    facts = {
        "study": result.name,
        "baseline": ", ".join(f"{axis} = {value}" for axis, value in result.baseline.items()),
        "model": "; ".join(dict.fromkeys(map(_model, result.cells))),
        "generators": "; ".join(_generators(result)),
        "seeds": ", ".join(map(str, result.seeds)),
        "folds": str(result.folds or ""),
        "classes": str(len(result.classes)),
        "commit": result.commit,
        "store": result.store,
        "devices": ", ".join(sorted({t.device for t in trials if t.device})),
        "threads": ", ".join(map(str, sorted({t.threads for t in trials if t.threads}))),
        "versions": _versions([t.versions for t in trials]),
        "command": "\n".join(commands(result)),
    }
    return {name: text for name, text in facts.items() if text}


def _generators(result: StudyResult) -> list[str]:
    """The size of each generator, and how long it was fitted."""
    found = []
    for group in groups(result):
        fits = [fit for fit in group.fits if fit_state(fit) == "finished"]
        if fits:
            size = f"{wording.millions(fits[0].num_parameters)} M parameters"
            steps = wording.counted(fits[0].num_steps, "step")
            found.append(f"{group.label} ({size}, {steps})")
    return found


def _model(cell: CellResult) -> str:
    if cell.num_parameters is None:
        return cell.model
    return f"{cell.model} ({wording.millions(cell.num_parameters)} M parameters)"


def _versions(recorded: Sequence[Mapping[str, str]]) -> str:
    found: dict[str, set[str]] = {}
    for versions in recorded:
        for name, version in versions.items():
            found.setdefault(name, set()).add(version)
    return ", ".join(f"{name} {' and '.join(sorted(found[name]))}" for name in sorted(found))
