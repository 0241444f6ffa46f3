"""The files that hold a report's numbers bare: CSV, JSON, and a data frame."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.report.reading import notes, num_left_out
from orchestrator.report.results import StudyResult
from orchestrator.report.rows import (
    Row,
    ShiftedRow,
    coordinate_texts,
    rows,
    shifted_metrics,
    shifted_rows,
)
from orchestrator.report.set_table import group_records, ranking_records, set_records

if TYPE_CHECKING:
    import pandas

NUMBERS = ("metric", "mean", "std", "n", "expected", "diff", "ci_low", "ci_high", "p", "p_holm")
"""The columns that follow the axes."""
DROPS = ("drop", "drop_std")
"""The last columns, where a study has other test sets."""


def _columns(result: StudyResult) -> tuple[str, ...]:
    return (*NUMBERS, *DROPS) if result.evaluation_sets else NUMBERS


def _numbers(result: StudyResult) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Each row with its columns; after them those of other test sets, as `top1@name`."""
    for row in rows(result):
        blank = dict.fromkeys(_columns(result))
        yield row, blank | {name: getattr(row, name) for name in NUMBERS}
    for metric in shifted_metrics(result):
        for found in shifted_rows(result, metric):
            numbers = {name: getattr(found.shifted, name) for name in NUMBERS}
            named = {"metric": f"{metric}@{found.shifted.where}"}
            yield found.shifted, numbers | named | _drops(found)


def _drops(found: ShiftedRow) -> dict[str, float | None]:
    drop = found.drop
    return {"drop": drop.mean if drop else None, "drop_std": drop.std if drop else None}


def csv_text(result: StudyResult) -> str:
    """The rows as CSV: the axes, then `NUMBERS`. Equal results give equal bytes.

    Other test sets have rows of their own after all others, with a metric such as `top1@name`,
    and two more columns at the end.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*result.axes, *_columns(result)])
    for row, numbers in _numbers(result):
        texts = [_cell_text(value) for value in numbers.values()]
        writer.writerow([*coordinate_texts(result, row.coordinates), *texts])
    return text.getvalue()


def _cell_text(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{_rounded(value):.6f}"
    return "" if value is None else str(value)


def _rounded(value: Any) -> Any:
    # Adding zero turns -0.0 into 0.0.
    return round(value, 6) + 0.0 if isinstance(value, float) else value


def records(result: StudyResult) -> list[dict[str, Any]]:
    """The rows as plain mappings, as JSON and notebooks want them; axes stay values."""
    return [
        {"coordinates": dict(row.coordinates), **{name: getattr(row, name) for name in NUMBERS}}
        for row in rows(result)
    ]


def shifted_records(result: StudyResult) -> list[dict[str, Any]]:
    """The rows of other test sets as plain mappings: the set, the clean mean, drop and numbers."""
    return [
        {
            "coordinates": dict(found.shifted.coordinates),
            "set": found.shifted.where,
            **{name: getattr(found.shifted, name) for name in NUMBERS},
            "clean_mean": found.clean.mean,
            **_drops(found),
        }
        for metric in shifted_metrics(result)
        for found in shifted_rows(result, metric)
    ]


def json_text(result: StudyResult) -> str:
    """The rows with the question, the notes, cells, every trial's state and the costs, as JSON."""
    content = {
        "study": result.name,
        "question": result.question,
        "baseline": dict(result.baseline),
        "seeds": result.seeds,
        "folds": result.folds,
        "classes": result.classes,
        "match": result.match,
        "lower_is_better": sorted(result.lower_is_better),
        "num_validation": result.num_validation,
        "num_test": result.num_test - num_left_out(result),
        "evaluation_sets": {
            name: count - num_left_out(result, name)
            for name, count in result.evaluation_sets.items()
        },
        "notes": notes(result),
        "differences": result.differences,
        "duplicates": _duplicates(result),
        "rows": _all_rounded(records(result)),
        "shifted": _all_rounded(shifted_records(result)),
        "cells": _cells(result),
        "trials": _trials(result),
        "costs": [asdict(line) for line in result.costs],
        "sets": set_records(result),
        "set_groups": group_records(result),
        "measures_and_gain": ranking_records(result),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"


def _all_rounded(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: _rounded(value) for name, value in record.items()} for record in table]


def _cells(result: StudyResult) -> list[dict[str, Any]]:
    return [
        {
            "coordinates": dict(cell.coordinates),
            "model": cell.model,
            "num_parameters": cell.num_parameters,
            "steps": cell.steps,
            "num_real": cell.num_real,
            "num_synthetic": cell.num_synthetic,
            "real_per_class": cell.real_per_class,
            "synthetic_per_class": cell.synthetic_per_class,
        }
        for cell in result.cells
    ]


def _trials(result: StudyResult) -> list[dict[str, Any]]:
    return [
        {
            "coordinates": dict(cell.coordinates),
            "seed": trial.seed,
            "fold": trial.fold,
            "key": trial.key,
            "status": trial.status,
            "scores": dict(trial.scores),
            "shifted": {where: dict(found) for where, found in trial.shifted.items()},
            "companion": dict(trial.companion),
            "error": trial.error,
        }
        for cell in result.cells
        for trial in cell.trials
    ]


def _duplicates(result: StudyResult) -> list[dict[str, Any]]:
    """The checks without their images."""
    return [
        {name: value for name, value in vars(check).items() if name != "pairs"}
        for check in result.duplicates
    ]


def frame(result: StudyResult) -> "pandas.DataFrame":
    """The rows of the CSV as a data frame, one column an axis; numbers are not rounded."""
    import pandas

    table = [
        {axis: row.coordinates.get(axis) for axis in result.axes} | numbers
        for row, numbers in _numbers(result)
    ]
    return pandas.DataFrame(table, columns=[*result.axes, *_columns(result)])
