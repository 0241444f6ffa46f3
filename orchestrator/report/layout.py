"""The tables of a report as headings and texts, before any file format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.report import wording
from orchestrator.report.results import StudyResult
from orchestrator.report.table import Row, coordinate_texts, rows, shown_metrics

Verdict = Literal["baseline", "higher", "lower", "undecided", ""]

FEWEST_EQUAL = 6
"""Pairs from which equal differences may claim a direction: the exact test can go below 0.05."""
ROUNDING = 1e-9
"""Equal differences of scores are not equal in their last bits."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a table."""

    texts: tuple[str, ...]
    verdict: Verdict = ""
    group: str = ""
    """The metric that a line of differences belongs to."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of texts. The first `num_names` columns are names, the others numbers."""

    headings: tuple[str, ...]
    num_names: int
    lines: tuple[Line, ...]


def has_equal_differences(row: Row) -> bool:
    """Whether all pairs, two or more, differ alike: their interval has no width and says nothing.

    Scores move in whole images, so a few seeds fall together by chance.
    """
    if row.ci_low is None or row.ci_high is None:
        return False
    return row.ci_high - row.ci_low < ROUNDING


def is_too_equal(row: Row) -> bool:
    """Whether equal differences are so few that they may be chance."""
    num_pairs = row.comparison.num_pairs if row.comparison else 0
    return has_equal_differences(row) and num_pairs < FEWEST_EQUAL


def verdict(row: Row) -> Verdict:
    """What a row may claim: a direction only where the interval of the difference excludes zero."""
    if row.ci_low is None or row.ci_high is None:
        return "undecided" if row.comparison else ""
    if row.ci_low <= 0 <= row.ci_high or is_too_equal(row):
        return "undecided"
    return "higher" if row.ci_low > 0 else "lower"


def axis_names(result: StudyResult) -> tuple[str, ...]:
    """The last part of each axis path where that tells it apart, else the whole path."""
    ends = [axis.rsplit(".", 1)[-1] for axis in result.axes]
    if not ends:
        return ("cell",)
    return tuple(
        end if ends.count(end) == 1 else axis for axis, end in zip(result.axes, ends, strict=True)
    )


def _names(result: StudyResult, cell: int) -> tuple[str, ...]:
    texts = coordinate_texts(result, result.cells[cell].coordinates)
    return texts or (result.cells[cell].label,)


def baselines(result: StudyResult) -> set[int]:
    """The cells that others are compared with."""
    return {cell.baseline for cell in result.cells if cell.baseline is not None}


def score_grid(result: StudyResult) -> Grid:
    """One line a cell: its training images, n, and mean ± std of every metric, in percent.

    It holds no time and no host, so that equal results give equal bytes.
    """
    metrics = shown_metrics(result)
    extra = _extra_columns(result)
    names = axis_names(result)
    found = {(row.cell, row.metric): row for row in rows(result)}
    headings = (*names, "real", "synthetic", "images", *extra, "n", *(f"{m} %" for m in metrics))
    lines = []
    for index, cell in enumerate(result.cells):
        of_cell = [found[index, metric] for metric in metrics]
        n = of_cell[0].n if of_cell else 0
        counts = (cell.num_real, cell.num_synthetic, cell.num_real + cell.num_synthetic)
        texts = (
            *_names(result, index),
            *(f"{count:,}" for count in counts),
            *(column[index] for column in extra.values()),
            wording.out_of(n, len(result.seeds) or len(cell.trials)),
            *(_score_text(row, n) for row in of_cell),
        )
        mark: Verdict = "baseline" if index in baselines(result) else ""
        lines.append(Line(texts=texts, verdict=mark))
    return Grid(headings=headings, num_names=len(names), lines=tuple(lines))


def _extra_columns(result: StudyResult) -> dict[str, list[str]]:
    """What cells differ in beside the axes; a heading that an axis has is not given twice."""
    columns = {}
    if len({cell.model for cell in result.cells}) > 1:
        columns["parameters (M)"] = [wording.millions(cell.num_parameters) for cell in result.cells]
    if len({cell.steps for cell in result.cells}) > 1:
        columns["steps"] = [f"{cell.steps:,}" for cell in result.cells]
    taken = {axis.rsplit(".", 1)[-1] for axis in result.axes}
    return {heading: column for heading, column in columns.items() if heading not in taken}


def _score_text(row: Row, n: int) -> str:
    text = wording.spread(row.mean, row.std)
    return text if row.n in (n, 0) else f"{text} ({wording.out_of(row.n, row.expected)})"


def difference_grid(result: StudyResult, metrics: Sequence[str] = ()) -> Grid:
    """One line for each metric and cell that has a baseline: the paired difference in points."""
    names = axis_names(result)
    headings = (
        *("metric", *names, "against", "pairs"),
        *("difference (points)", "95 % interval", "p", "p (Holm)", "reading"),
    )
    every = rows(result)
    lines = []
    for metric in metrics or shown_metrics(result):
        for row in every:
            baseline = result.cells[row.cell].baseline
            if row.metric == metric and baseline is not None:
                lines.append(_difference_line(result, row, result.cells[baseline].label))
    return Grid(headings=headings, num_names=len(names) + 2, lines=tuple(lines))


def _difference_line(result: StudyResult, row: Row, against: str) -> Line:
    num_pairs = row.comparison.num_pairs if row.comparison else 0
    numbers = (
        wording.out_of(num_pairs, row.expected),
        wording.points(row.diff),
        wording.interval(row.ci_low, row.ci_high),
        wording.p_value(row.p),
        wording.p_value(row.p_holm),
    )
    said = verdict(row)
    texts = (
        *(row.metric, *_names(result, row.cell), against),
        *map(wording.minus, numbers),
        said or wording.NONE,
    )
    return Line(texts=texts, verdict=said, group=row.metric)


def cost_grid(result: StudyResult) -> Grid:
    """What each kind of work took, and the sum."""
    paid = any(line.money_usd for line in result.costs)
    headings = ("work", "device", "steps", "time", *(("money (USD)",) if paid else ()))
    lines = [
        Line(
            texts=(
                *(line.what, line.device or wording.NONE),
                *(f"{line.steps:,}", wording.hours(line.hours)),
                *((f"{line.money_usd:,.2f}",) if paid else ()),
            )
        )
        for line in result.costs
    ]
    if len(lines) > 1:
        total = sum(line.hours for line in result.costs)
        money = sum(line.money_usd for line in result.costs)
        steps = sum(line.steps for line in result.costs)
        texts = ("total", "", f"{steps:,}", wording.hours(total))
        lines.append(Line(texts=(*texts, *((f"{money:,.2f}",) if paid else ()))))
    return Grid(headings=headings, num_names=2, lines=tuple(lines))
