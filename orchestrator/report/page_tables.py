"""The tables as the page lays them out: narrow, and what a reader looks for first.

The columns of Markdown and CSV keep their order for programs; these are for eyes. A line break in
a text parts what may stand below the number from the number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report import wording
from orchestrator.report.layout import (
    Grid,
    Line,
    Verdict,
    axis_names,
    baselines,
    cell_names,
    drop_text,
    extra_columns,
    is_confirmed,
    percent_heading,
    reading_text,
    tone,
    verdict,
)
from orchestrator.report.results import StudyResult
from orchestrator.report.rows import (
    Row,
    ShiftedRow,
    lacks_classes,
    num_expected,
    num_finished,
    rows,
    shifted_metrics,
    shifted_rows,
    shown_metrics,
)

MOST_METRICS = 7
"""Side by side; more stand in tables below."""
READING = "reading"
"""Heads the column that may carry a mark."""
COMPARED = ("difference (points)", READING, "95 % interval", "p (Holm)", "pairs")
MOST_COLUMNS = 8
"""Of a table with room for a spread beside its mean; in wider ones it stands below."""


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """A table with what is the same in all its rows, which needs no column."""

    caption: str
    grid: Grid


def score_tables(result: StudyResult) -> tuple[Grid, ...]:
    """One line a cell: n and the scores, then its training images; more metrics in more tables."""
    metrics = shown_metrics(result)
    parts = [metrics[i : i + MOST_METRICS] for i in range(0, len(metrics), MOST_METRICS)]
    return tuple(_score_table(result, part, is_first=i == 0) for i, part in enumerate(parts))


def _score_table(result: StudyResult, metrics: Sequence[str], *, is_first: bool) -> Grid:
    names = axis_names(result)
    scored = [percent_heading(result, metric) for metric in metrics]
    extra = _training_columns(result) if is_first else {}
    found = {(row.cell, row.metric): row for row in rows(result)}
    lines = []
    for index, cell in enumerate(result.cells):
        n = num_finished(cell)
        texts = (
            *cell_names(result, index),
            wording.out_of(n, num_expected(result, cell)),
            *(_score_text(found[index, metric], n) for metric in metrics),
            *(column[index] for column in extra.values()),
        )
        mark: Verdict = "baseline" if index in baselines(result) else ""
        lines.append(Line(texts=texts, verdict=mark))
    headings = (*names, "n", *scored, *extra)
    return Grid(headings=headings, num_names=len(names), lines=tuple(lines))


def _training_columns(result: StudyResult) -> dict[str, list[str]]:
    images = [f"{cell.num_real:,} + {cell.num_synthetic:,}" for cell in result.cells]
    return {"real + synthetic": images, **extra_columns(result)}


def _score_text(row: Row, n: int) -> str:
    text = _spread(row)
    return text if row.n == n else f"{text}\n({wording.out_of(row.n, row.expected)})"


def _spread(row: Row) -> str:
    return wording.spread(row.mean, row.std).replace(" ", "\n", 1)


def difference_tables(result: StudyResult) -> dict[str, PageTable]:
    """Metric -> one line for each cell that has a baseline; nothing where nothing is compared."""
    compared = [index for index, cell in enumerate(result.cells) if cell.baseline is not None]
    if not compared:
        return {}
    every = rows(result)
    return {
        metric: _difference_table(
            result, [row for row in every if row.metric == metric and row.cell in compared]
        )
        for metric in shown_metrics(result)
    }


def _difference_table(result: StudyResult, of_metric: Sequence[Row]) -> PageTable:
    against = {row.cell: _against(result, row) for row in of_metric}
    several = len(set(against.values())) > 1
    names = (*axis_names(result), *(("against",) if several else ()))
    lines = [
        _line(
            result,
            row,
            (*cell_names(result, row.cell), *((against[row.cell],) if several else ())),
            _compared_texts(result, row),
        )
        for row in of_metric
    ]
    same = "" if several else f", against {against[of_metric[0].cell]}"
    headings = (*names, *COMPARED)
    return PageTable(
        caption=f"{of_metric[0].metric}{same}",
        grid=Grid(headings=headings, num_names=len(names), lines=tuple(lines)),
    )


def _against(result: StudyResult, row: Row) -> str:
    baseline = result.cells[row.cell].baseline
    assert baseline is not None, "only cells with a baseline are compared"
    return result.cells[baseline].label


def _compared_texts(result: StudyResult, row: Row) -> tuple[str, ...]:
    """One text for each of `COMPARED`."""
    num_pairs = row.comparison.num_pairs if row.comparison else 0
    return (
        wording.points(row.diff),
        _reading(result, row),
        wording.interval(row.ci_low, row.ci_high),
        f"{wording.p_value(row.p)} ({wording.p_value(row.p_holm)})" if row.p else wording.NONE,
        wording.out_of(num_pairs, row.expected),
    )


def _reading(result: StudyResult, row: Row) -> str:
    text = reading_text(result, row)
    return f"{text}\nnot confirmed" if _is_indication(row) else text


def _is_indication(row: Row) -> bool:
    return verdict(row) in ("higher", "lower") and not is_confirmed(row)


def _line(
    result: StudyResult, row: Row, names: Sequence[str], numbers: Sequence[str], mark: Verdict = ""
) -> Line:
    return Line(
        texts=(*names, *map(wording.minus, numbers)),
        verdict=mark or verdict(row),
        tone=tone(result, row),
        is_indication=_is_indication(row),
    )


def shift_tables(result: StudyResult) -> dict[str, tuple[PageTable, ...]]:
    """Metric -> a table for each other test set, one line a cell."""
    found = {}
    for metric in shifted_metrics(result):
        every = shifted_rows(result, metric)
        found[metric] = tuple(
            _shift_table(result, where, [row for row in every if row.shifted.where == where])
            for where in result.evaluation_sets
        )
    return found


def _shift_table(result: StudyResult, where: str, of_set: Sequence[ShiftedRow]) -> PageTable:
    names = axis_names(result)
    scored = percent_heading(result, of_set[0].shifted.metric)
    numbers = ("n", f"shifted {scored}", f"clean {scored}", "drop (points)")
    lines = [_shift_line(result, row) for row in of_set]
    lacking = ", clean over the classes that it has" if lacks_classes(result, where) else ""
    return PageTable(
        caption=f"{of_set[0].shifted.metric} on {where}{lacking}",
        grid=Grid(
            headings=(*names, *numbers, *COMPARED),
            num_names=len(names),
            lines=tuple(lines),
        ),
    )


def _shift_line(result: StudyResult, found: ShiftedRow) -> Line:
    row = found.shifted
    scored = (
        wording.out_of(row.n, row.expected),
        _spread(row),
        _spread(found.clean),
        drop_text(found.drop, row).replace(" ", "\n", 1) if found.drop else wording.NONE,
    )
    compared = _compared_texts(result, row)
    if result.cells[row.cell].baseline is None:
        compared = (wording.NONE,) * len(compared)
    mark: Verdict = "baseline" if row.cell in baselines(result) else ""
    return _line(result, row, cell_names(result, row.cell), (*scored, *compared), mark)
