"""The numbers of a report: one row for each cell and metric, and the files that hold them bare."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.report.results import CellResult, StudyResult
from orchestrator.report.statistics import Paired, holm, mean, paired, sample_std

if TYPE_CHECKING:
    import pandas

BESIDE = ("top1_last", "val_top1")
"""Shown beside the metrics that a study asks for."""
NUMBERS = ("metric", "mean", "std", "n", "expected", "diff", "ci_low", "ci_high", "p", "p_holm")
"""The columns that follow the axes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one cell. Scores and differences are fractions; None is what is not known."""

    cell: int
    """Index into the cells of the study."""
    coordinates: Mapping[str, Any]
    label: str
    metric: str
    mean: float | None
    std: float | None
    """With n-1; None for a single trial."""
    n: int
    """Finished trials that the mean rests on."""
    expected: int
    comparison: Paired | None
    """With the baseline cell, over the seeds finished in both."""
    p_holm: float | None = None
    """Corrected over all comparisons of the metric."""

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
        """The exact sign-flip p of the difference."""
        return self.comparison.p if self.comparison else None


def scores(cell: CellResult, metric: str) -> dict[int, float]:
    """The scores of the finished trials of a cell, by seed."""
    return {
        trial.seed: trial.scores[metric]
        for trial in cell.trials
        if trial.status == "finished" and metric in trial.scores
    }


def shown_metrics(result: StudyResult) -> tuple[str, ...]:
    """The metrics with a single number: those asked for, then `top1_last` and `val_top1`.

    A metric that no finished trial has a number for (a confusion matrix) is left out, unless
    there are no numbers at all yet.
    """
    finished = [t for cell in result.cells for t in cell.trials if t.status == "finished"]
    names = dict.fromkeys((*result.metrics, *BESIDE))
    return tuple(n for n in names if any(n in t.scores for t in finished)) or tuple(names)


def rows(result: StudyResult) -> tuple[Row, ...]:
    """One row for each cell and metric, cell by cell in the order of the study."""
    by_metric = [_metric_rows(result, metric) for metric in shown_metrics(result)]
    return tuple(row for of_cell in zip(*by_metric, strict=True) for row in of_cell)


def _metric_rows(result: StudyResult, metric: str) -> list[Row]:
    found = [_row(result, index, metric) for index in range(len(result.cells))]
    compared = [index for index, row in enumerate(found) if row.p is not None]
    corrected = holm([found[index].p or 0.0 for index in compared])
    for index, p_holm in zip(compared, corrected, strict=True):
        found[index] = replace(found[index], p_holm=p_holm)
    return found


def _row(result: StudyResult, index: int, metric: str) -> Row:
    cell = result.cells[index]
    ours = scores(cell, metric)
    theirs = {} if cell.baseline is None else scores(result.cells[cell.baseline], metric)
    return Row(
        cell=index,
        coordinates=cell.coordinates,
        label=cell.label,
        metric=metric,
        mean=mean(list(ours.values())) if ours else None,
        std=sample_std(list(ours.values())) if ours else None,
        n=len(ours),
        expected=len(result.seeds) or len(cell.trials),
        comparison=paired(ours, theirs),
    )


def value_text(value: Any) -> str:
    """Spell the value of an axis: text as it is, nothing for none, anything else as in JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def coordinate_texts(result: StudyResult, coordinates: Mapping[str, Any]) -> tuple[str, ...]:
    """One text an axis, empty where a cell has no value on it."""
    return tuple(value_text(coordinates[a]) if a in coordinates else "" for a in result.axes)


def csv_text(result: StudyResult) -> str:
    """The rows as CSV: the axes, then `NUMBERS`. Equal results give equal bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*result.axes, *NUMBERS])
    for row in rows(result):
        numbers = [_cell_text(getattr(row, name)) for name in NUMBERS]
        writer.writerow([*coordinate_texts(result, row.coordinates), *numbers])
    return text.getvalue()


def _cell_text(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{_rounded(value):.6f}"
    return "" if value is None else str(value)


def _rounded(value: float) -> float:
    return round(value, 6) + 0.0  # adding zero turns -0.0 into 0.0


def records(result: StudyResult) -> list[dict[str, Any]]:
    """The rows as plain mappings, as JSON and notebooks want them; axes stay values."""
    return [
        {"coordinates": dict(row.coordinates), **{name: getattr(row, name) for name in NUMBERS}}
        for row in rows(result)
    ]


def json_text(result: StudyResult) -> str:
    """The rows with the question, the notes, every trial's state and the costs, as JSON."""
    numbers = [
        {k: _rounded(v) if isinstance(v, float) else v for k, v in record.items()}
        for record in records(result)
    ]
    trials = [
        {
            "coordinates": dict(cell.coordinates),
            "seed": trial.seed,
            "key": trial.key,
            "status": trial.status,
            "scores": dict(trial.scores),
            "error": trial.error,
        }
        for cell in result.cells
        for trial in cell.trials
    ]
    content = {
        "study": result.name,
        "question": result.question,
        "baseline": dict(result.baseline),
        "seeds": result.seeds,
        "match": result.match,
        "num_validation": result.num_validation,
        "num_test": result.num_test,
        "notes": result.notes,
        "differences": result.differences,
        "rows": numbers,
        "trials": trials,
        "costs": [asdict(line) for line in result.costs],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"


def frame(result: StudyResult) -> "pandas.DataFrame":
    """The rows as a data frame, one column an axis, for notebooks; numbers are not rounded."""
    import pandas

    table = [
        {**{axis: row.coordinates.get(axis) for axis in result.axes}}
        | {name: getattr(row, name) for name in NUMBERS}
        for row in rows(result)
    ]
    return pandas.DataFrame(table, columns=[*result.axes, *NUMBERS])
