"""The tables of a report as headings and texts, before any file format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.report import wording
from orchestrator.report.results import StudyResult
from orchestrator.report.rows import (
    Drop,
    Row,
    ShiftedRow,
    coordinate_texts,
    num_expected,
    num_finished,
    rows,
    shifted_metrics,
    shifted_rows,
    shown_metrics,
)
from orchestrator.report.statistics import ALPHA, ROUNDING, Paired

Verdict = Literal["baseline", "higher", "lower", "undecided", ""]
Tone = Literal["better", "worse", ""]

FEWEST_EQUAL = 6
"""Pairs from which equal differences may claim a direction: the exact test can go below 0.05."""
NEITHER = frozenset({"agreement"})
"""Metrics that are no better for being higher or lower."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a table."""

    texts: tuple[str, ...]
    verdict: Verdict = ""
    tone: Tone = ""
    is_indication: bool = False
    """The interval gives a direction that the test does not confirm."""


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
    return row.comparison is not None and _has_no_width(row.comparison)


def _has_no_width(found: Paired) -> bool:
    if found.ci_low is None or found.ci_high is None:
        return False
    return found.ci_high - found.ci_low < ROUNDING


def is_too_equal(row: Row) -> bool:
    """Whether equal differences are so few that they may be chance."""
    return row.comparison is not None and _is_chance(row.comparison)


def _is_chance(found: Paired) -> bool:
    return _has_no_width(found) and found.num_counted < FEWEST_EQUAL


def verdict(row: Row) -> Verdict:
    """What a row may claim: a direction only where the interval of the difference excludes zero."""
    return direction(row.comparison) if row.comparison else ""


def direction(found: Paired) -> Verdict:
    """What a difference may claim."""
    if found.ci_low is None or found.ci_high is None:
        return "undecided"
    if found.ci_low <= 0 <= found.ci_high or _is_chance(found):
        return "undecided"
    return "higher" if found.ci_low > 0 else "lower"


def is_confirmed(row: Row) -> bool:
    """Whether the corrected test stands behind the direction that the interval gives."""
    directed = verdict(row) in ("higher", "lower")
    return directed and row.p_holm is not None and row.p_holm <= ALPHA


def tone(result: StudyResult, row: Row) -> Tone:
    """Whether the direction that a row claims is the one wanted of its metric."""
    return tone_of(result, row.metric, verdict(row))


def tone_of(result: StudyResult, metric: str, said: Verdict) -> Tone:
    """Whether a direction is the one wanted of a metric."""
    if said not in ("higher", "lower") or metric in NEITHER:
        return ""
    return "better" if (said == "lower") == (metric in result.lower_is_better) else "worse"


def reading_text(result: StudyResult, row: Row) -> str:
    """The verdict, and whether it is good news where that is not the usual way round."""
    return reading_of(result, row.metric, verdict(row))


def reading_of(result: StudyResult, metric: str, said: Verdict) -> str:
    """A direction in words, and whether it is good news where that is not the usual way round."""
    judged = tone_of(result, metric, said) if metric in result.lower_is_better else ""
    return f"{said or wording.NONE} ({judged})" if judged else said or wording.NONE


def percent_heading(result: StudyResult, metric: str) -> str:
    """Heads a column of scores; an arrow marks the metrics that should go down."""
    return f"{metric} % \N{DOWNWARDS ARROW}" if metric in result.lower_is_better else f"{metric} %"


def axis_names(result: StudyResult) -> tuple[str, ...]:
    """The last part of each axis path where that tells it apart, else the whole path."""
    ends = [axis.rsplit(".", 1)[-1] for axis in result.axes]
    if not ends:
        return ("cell",)
    return tuple(
        end if ends.count(end) == 1 else axis for axis, end in zip(result.axes, ends, strict=True)
    )


def cell_names(result: StudyResult, cell: int) -> tuple[str, ...]:
    """One text for each of `axis_names`."""
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
    extra = extra_columns(result)
    names = axis_names(result)
    found = {(row.cell, row.metric): row for row in rows(result)}
    scored = (percent_heading(result, metric) for metric in metrics)
    headings = (*names, "real", "synthetic", "images", *extra, "n", *scored)
    lines = []
    for index, cell in enumerate(result.cells):
        of_cell = [found[index, metric] for metric in metrics]
        n = num_finished(cell)
        counts = (cell.num_real, cell.num_synthetic, cell.num_real + cell.num_synthetic)
        texts = (
            *cell_names(result, index),
            *(f"{count:,}" for count in counts),
            *(column[index] for column in extra.values()),
            wording.out_of(n, num_expected(result, cell)),
            *(_score_text(row, n) for row in of_cell),
        )
        mark: Verdict = "baseline" if index in baselines(result) else ""
        lines.append(Line(texts=texts, verdict=mark))
    return Grid(headings=headings, num_names=len(names), lines=tuple(lines))


def extra_columns(result: StudyResult) -> dict[str, list[str]]:
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
    return text if row.n == n else f"{text} ({wording.out_of(row.n, row.expected)})"


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
    texts = (
        *(row.metric, *cell_names(result, row.cell), against),
        *map(wording.minus, numbers),
        reading_text(result, row),
    )
    return Line(texts=texts, verdict=verdict(row), tone=tone(result, row))


def shift_grid(result: StudyResult, metrics: Sequence[str] = ()) -> Grid:
    """One line for each metric, other test set and cell: what is kept there, and what is gained.

    The difference from the baseline is the one on that set.
    """
    chosen = metrics or shifted_metrics(result)
    several = len(chosen) > 1
    names = (*(("metric",) if several else ()), *axis_names(result), "test set")
    scored = "%" if several or not chosen else percent_heading(result, chosen[0])
    numbers = (
        *("n", f"clean {scored}", f"shifted {scored}", "drop (points)", "pairs"),
        *("difference (95 % interval)", "p (Holm)", "reading"),
    )
    lines = []
    for metric in chosen:
        for row in shifted_rows(result, metric):
            named = (*cell_names(result, row.shifted.cell), row.shifted.where)
            lines.append(_shift_line(result, row, (metric, *named) if several else named))
    return Grid(headings=(*names, *numbers), num_names=len(names), lines=tuple(lines))


def _shift_line(result: StudyResult, found: ShiftedRow, names: tuple[str, ...]) -> Line:
    row, drop = found.shifted, found.drop
    num_pairs = row.comparison.num_pairs if row.comparison else 0
    scored = (
        wording.out_of(row.n, row.expected),
        wording.spread(found.clean.mean, found.clean.std),
        wording.spread(row.mean, row.std),
        drop_text(drop, row) if drop else wording.NONE,
    )
    compared: tuple[str, ...] = (
        wording.out_of(num_pairs, row.expected),
        _with_interval(row),
        wording.p_value(row.p_holm),
        reading_text(result, row),
    )
    if result.cells[row.cell].baseline is None:
        compared = (wording.NONE,) * len(compared)
    mark: Verdict = "baseline" if row.cell in baselines(result) else verdict(row)
    return Line(
        texts=(*names, *map(wording.minus, (*scored, *compared))),
        verdict=mark,
        tone=tone(result, row),
    )


def _with_interval(row: Row) -> str:
    text = wording.points(row.diff)
    if row.ci_low is None:
        return text
    return f"{text} ({wording.interval(row.ci_low, row.ci_high)})"


def drop_text(drop: Drop, row: Row) -> str:
    """A drop with its spread, and what it rests on where that is less than the row does."""
    text = wording.points_spread(drop.mean, drop.std)
    return text if drop.n == row.n else f"{text} ({wording.out_of(drop.n, row.expected)})"


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
