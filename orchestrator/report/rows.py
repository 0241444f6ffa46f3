"""The numbers of a report: one row for each cell and metric, and for each other test set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.report.results import CellResult, StudyResult, TrialResult
from orchestrator.report.spelling import spelled
from orchestrator.report.statistics import Paired, Place, holm, mean, paired, sample_std

BESIDE = ("top1_last", "val_top1")
"""Shown beside the metrics that a study asks for."""
COMPANION = ("companion_top1", "combined_top1", "agreement")
"""Shown after `top1` where a second classifier was fitted beside the network."""
NO_NUMBER = frozenset({"confusion"})
"""Metrics that are never a single number: no column waits for one."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one cell. Scores and differences are fractions; None is what is not known."""

    cell: int
    """Index into the cells of the study."""
    coordinates: Mapping[str, Any]
    label: str
    metric: str
    where: str = ""
    """The test set's name, if it is another than the study's own."""
    mean: float | None
    std: float | None
    """With n-1; None for a single trial."""
    n: int
    """Finished trials that the mean rests on."""
    expected: int
    comparison: Paired | None
    """With the baseline cell, over the seeds (and folds) finished in both."""
    p_holm: float | None = None
    """Corrected over all comparisons of the metric; on other test sets, over those on any."""

    @property
    def diff(self) -> float | None:
        """The mean difference from the baseline."""
        return self.comparison.difference if self.comparison else None

    @property
    def ci_low(self) -> float | None:
        """The lower end of the 95 % interval of the difference."""
        return self.comparison.ci_low if self.comparison else None

    @property
    def ci_high(self) -> float | None:
        """The upper end of the 95 % interval of the difference."""
        return self.comparison.ci_high if self.comparison else None

    @property
    def p(self) -> float | None:
        """The p of the difference, before correction."""
        return self.comparison.p if self.comparison else None


@dataclass(frozen=True, kw_only=True)
class Drop:
    """What the trials of a cell lose from the study's test set to another."""

    mean: float
    """The clean score minus the one on the other set, paired by trial."""
    std: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class ShiftedRow:
    """One metric of one cell on another test set, beside the same on the study's own."""

    clean: Row
    """On the study's own test set; of a set that lacks classes, over the classes that it has."""
    shifted: Row
    drop: Drop | None
    """None where no trial has both scores."""


def scores(cell: CellResult, metric: str, where: str = "") -> dict[Place, float]:
    """The scores of the finished trials of a cell, by seed and fold.

    Args:
        where: another test set than the study's own.
    """
    return _by_place(cell, lambda trial: _score(trial, metric, where))


def clean_scores(cell: CellResult, metric: str, where: str) -> dict[Place, float]:
    """The scores on the study's own test set that those on another may be held against.

    Where the other set lacks classes they are over the classes that it has: accuracies over
    different classes differ without any shift.
    """

    def score(trial: TrialResult) -> float | None:
        if where in trial.reference:
            return trial.reference[where].get(metric)
        return _score(trial, metric, "")

    return _by_place(cell, score)


def lacks_classes(result: StudyResult, where: str) -> bool:
    """Whether another test set has only some of the classes."""
    return any(where in trial.reference for cell in result.cells for trial in cell.trials)


def _by_place(cell: CellResult, score: Callable[[TrialResult], float | None]) -> dict[Place, float]:
    found = {
        (trial.seed, trial.fold or 0): score(trial)
        for trial in cell.trials
        if trial.status == "finished"
    }
    return {place: value for place, value in found.items() if value is not None}


def _score(trial: TrialResult, metric: str, where: str) -> float | None:
    if where:
        return trial.shifted.get(where, {}).get(metric)
    return trial.companion.get(metric) if metric in COMPANION else trial.scores.get(metric)


def num_finished(cell: CellResult) -> int:
    """How many trials of a cell have scores."""
    return sum(trial.status == "finished" for trial in cell.trials)


def num_expected(result: StudyResult, cell: CellResult) -> int:
    """How many trials of a cell the study asks for: one a seed and fold."""
    return len(result.seeds) * (result.folds or 1) or len(cell.trials)


def shown_metrics(result: StudyResult) -> tuple[str, ...]:
    """The metrics with a single number: those asked for, then `top1_last` and `val_top1`.

    What a second classifier gave follows `top1`, or stands before these two. A metric that no
    finished trial has a number for is left out, unless there are no numbers at all yet; one that
    never has any (a confusion matrix) is always left out.
    """
    names = [name for name in result.metrics if name not in (*COMPANION, *NO_NUMBER)]
    place = names.index("top1") + 1 if "top1" in names else len(names)
    companion = COMPANION if _has_companion(result) else ()
    every = dict.fromkeys((*names[:place], *companion, *names[place:], *BESIDE))
    return tuple(n for n in every if any(scores(c, n) for c in result.cells)) or tuple(every)


def _has_companion(result: StudyResult) -> bool:
    return any(scores(cell, name) for cell in result.cells for name in COMPANION)


def rows(result: StudyResult) -> tuple[Row, ...]:
    """One row for each cell and metric, cell by cell in the order of the study."""
    by_metric = [_corrected(_cell_rows(result, metric)) for metric in shown_metrics(result)]
    return tuple(row for of_cell in zip(*by_metric, strict=True) for row in of_cell)


def _cell_rows(result: StudyResult, metric: str, where: str = "") -> list[Row]:
    return [
        _row(result, index, metric, where, lambda cell: scores(cell, metric, where))
        for index in range(len(result.cells))
    ]


def _corrected(family: Sequence[Row]) -> list[Row]:
    """The rows with the p-values of their comparisons corrected for the number of them."""
    found = list(family)
    compared = [index for index, row in enumerate(found) if row.p is not None]
    corrected = holm([found[index].p or 0.0 for index in compared])
    for index, p_holm in zip(compared, corrected, strict=True):
        found[index] = replace(found[index], p_holm=p_holm)
    return found


def _row(
    result: StudyResult,
    index: int,
    metric: str,
    where: str,
    scored: Callable[[CellResult], Mapping[Place, float]],
) -> Row:
    cell = result.cells[index]
    ours = scored(cell)
    theirs = {} if cell.baseline is None else scored(result.cells[cell.baseline])
    return Row(
        cell=index,
        coordinates=cell.coordinates,
        label=cell.label,
        metric=metric,
        where=where,
        mean=mean(list(ours.values())) if ours else None,
        std=sample_std(list(ours.values())) if ours else None,
        n=len(ours),
        expected=num_expected(result, cell),
        comparison=paired(ours, theirs, result.folds),
    )


def shifted_metrics(result: StudyResult) -> tuple[str, ...]:
    """The metrics that some finished trial has a number for on another test set."""
    return tuple(
        metric
        for metric in dict.fromkeys((*result.metrics, *BESIDE))
        if any(scores(c, metric, w) for c in result.cells for w in result.evaluation_sets)
    )


def shifted_rows(result: StudyResult, metric: str) -> tuple[ShiftedRow, ...]:
    """One row for each other test set and cell, set by set in the order of the study."""
    found = [row for where in result.evaluation_sets for row in _cell_rows(result, metric, where)]
    return tuple(
        ShiftedRow(
            clean=_clean_row(result, row),
            shifted=row,
            drop=_drop(result.cells[row.cell], metric, row.where),
        )
        for row in _corrected(found)
    )


def _clean_row(result: StudyResult, shifted: Row) -> Row:
    metric, where = shifted.metric, shifted.where
    return _row(result, shifted.cell, metric, "", lambda cell: clean_scores(cell, metric, where))


def _drop(cell: CellResult, metric: str, where: str) -> Drop | None:
    clean, shifted = clean_scores(cell, metric, where), scores(cell, metric, where)
    lost = [clean[place] - shifted[place] for place in sorted(set(clean) & set(shifted))]
    return Drop(mean=mean(lost), std=sample_std(lost), n=len(lost)) if lost else None


def coordinate_texts(result: StudyResult, coordinates: Mapping[str, Any]) -> tuple[str, ...]:
    """One text an axis, empty where a cell has no value on it."""
    return tuple(spelled(coordinates[a]) if a in coordinates else "" for a in result.axes)
