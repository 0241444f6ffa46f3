"""The figures of the scores: each trial, what differs from the baseline, other test sets."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.report.drawing import (
    INK,
    MUTED,
    PAPER,
    SERIES,
    WIDTH,
    colour_and_dash,
    draw,
    short,
)
from orchestrator.report.layout import is_confirmed, verdict
from orchestrator.report.results import StudyResult
from orchestrator.report.rows import Row, ShiftedRow, rows, scores, shifted_rows
from orchestrator.report.statistics import independent, mean, t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SETS_ABREAST = 3
LONGEST_NAME = 52
"""Of a row; more would leave the panels too narrow."""


def score_figure(result: StudyResult, metric: str) -> str:
    """Each seed's score as a dot, mean and 95 % t interval, beside the paired differences.

    Returns an `<svg>` element, or nothing where no trial is finished.
    """
    of_metric = [row for row in rows(result) if row.metric == metric]
    if not any(row.n for row in of_metric):
        return ""
    compared = any(row.comparison for row in of_metric)

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, 2 if compared else 1, sharey=True, squeeze=False)[0]
        _draw_scores(panels[0], result, of_metric)
        if compared:
            _draw_differences(panels[1], of_metric)

    return draw(f"scores-{metric}", (WIDTH, 0.8 + 0.42 * len(of_metric)), paint)


def _draw_scores(axes: "Axes", result: StudyResult, of_metric: Sequence[Row]) -> None:
    for place, row in enumerate(of_metric):
        found = scores(result.cells[row.cell], row.metric)
        values = [100 * value for value in found.values()]
        colour = SERIES[colour_and_dash(row.cell)[0]]
        if not values:
            continue
        if bounds := _score_interval(result, row):
            _draw_interval(axes, place, bounds, (0, 100), colour)
        axes.plot([mean(values)], [place], marker="|", ms=15, mew=2.4, color=colour, zorder=3)
        heights = [place - 0.2] * len(values)  # above the interval, which would hide them
        axes.scatter(values, heights, s=26, color=colour, alpha=0.6, linewidths=0)
    _keep_within(axes, (0, 100))
    _name_rows(axes, [row.label for row in of_metric])
    axes.set_title(_title(result, of_metric[0].metric))


def has_cut_intervals(result: StudyResult, metric: str) -> bool:
    """Whether some interval of the figure goes on beyond what percentages can be."""
    of_metric = [row for row in rows(result) if row.metric == metric]
    bounds = [_score_interval(result, row) for row in of_metric]
    return any(low < 0 or high > 1 for low, high in filter(None, bounds)) or any(
        abs(end) > 1 for row in of_metric for end in (row.ci_low, row.ci_high) if end is not None
    )


def _score_interval(result: StudyResult, row: Row) -> tuple[float, float] | None:
    found = scores(result.cells[row.cell], row.metric)
    return t_interval(independent(found, result.folds), folds=result.folds) if found else None


def _draw_interval(
    axes: "Axes",
    place: int,
    bounds: tuple[float, float],
    limits: tuple[float, float],
    colour: str,
) -> None:
    """A line in percent, with an arrow where it goes on beyond what a percentage can be."""
    low, high = limits
    ends = [min(high, max(low, 100 * bound)) for bound in bounds]
    axes.plot(ends, (place, place), color=colour, linewidth=1.4, zorder=2)
    if 100 * bounds[0] < low:
        axes.plot([low], [place], "<", ms=6, color=colour, zorder=3)
    if 100 * bounds[1] > high:
        axes.plot([high], [place], ">", ms=6, color=colour, zorder=3)


def _keep_within(axes: "Axes", limits: tuple[float, float]) -> None:
    """Room for a mark at the limits, and none beyond."""
    low, high = axes.get_xlim()
    edge = 0.03 * (limits[1] - limits[0])
    axes.set_xlim(max(low, limits[0] - edge), min(high, limits[1] + edge))


def _draw_differences(axes: "Axes", of_metric: Sequence[Row]) -> None:
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, row in enumerate(of_metric):
        if row.diff is None:
            continue
        colour = INK if verdict(row) in ("higher", "lower") else MUTED
        if row.ci_low is not None and row.ci_high is not None:
            _draw_interval(axes, place, (row.ci_low, row.ci_high), (-100, 100), colour)
        face = colour if is_confirmed(row) else PAPER
        axes.plot([100 * row.diff], [place], "o", ms=6, mfc=face, mec=colour, mew=1.4, zorder=4)
    _keep_within(axes, (-100, 100))
    axes.grid(axis="y", visible=False)
    axes.set_title("difference from the baseline, points")


def _title(result: StudyResult, metric: str) -> str:
    return f"{metric}, %{' (lower is better)' if metric in result.lower_is_better else ''}"


def _name_rows(axes: "Axes", labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [short(label, LONGEST_NAME) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="y", visible=False)


def shift_figure(result: StudyResult, metric: str) -> str:
    """For each other test set: the mean of each cell there, beside that on the study's own.

    Returns an `<svg>` element, or nothing where no trial has a score on another set.
    """
    found = shifted_rows(result, metric)
    names = [name for name in result.evaluation_sets if _is_scored(found, name)]
    if not names:
        return ""
    num_columns = 2 if len(names) == 4 else min(MOST_SETS_ABREAST, len(names))
    num_rows = -(-len(names) // num_columns)

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(num_rows, num_columns, sharey=True, sharex=True, squeeze=False)
        for axes in panels.ravel()[len(names) :]:
            axes.set_axis_off()
        for name, axes in zip(names, panels.ravel(), strict=False):
            _draw_shift(axes, result, [row for row in found if row.shifted.where == name])
            axes.set_title(short(name, 24 if num_columns > 1 else 60))
            axes.tick_params(axis="x", labelbottom=True)  # the one below may be off
            axes.set_xlabel(_title(result, metric))

    height = num_rows * (0.9 + 0.36 * len(result.cells))
    return draw(f"shift-{metric}", (WIDTH, height), paint)


def _is_scored(found: Sequence[ShiftedRow], name: str) -> bool:
    return any(row.shifted.n for row in found if row.shifted.where == name)


def _draw_shift(axes: "Axes", result: StudyResult, of_set: Sequence[ShiftedRow]) -> None:
    for place, row in enumerate(of_set):
        colour = SERIES[colour_and_dash(row.shifted.cell)[0]]
        ends = [100 * each.mean for each in (row.clean, row.shifted) if each.mean is not None]
        if row.shifted.mean is None:
            continue
        found = scores(result.cells[row.shifted.cell], row.shifted.metric, row.shifted.where)
        values = [100 * value for value in found.values()]
        axes.plot(ends, [place] * len(ends), color=colour, linewidth=1.4, alpha=0.5, zorder=2)
        axes.plot(ends[:-1], [place] * (len(ends) - 1), "o", ms=7, mfc=PAPER, mec=colour, mew=1.6)
        axes.plot(ends[-1:], [place], "o", ms=7, color=colour)
        axes.scatter(
            values, [place + 0.28] * len(values), s=14, color=colour, alpha=0.6, linewidths=0
        )
    _name_rows(axes, [row.shifted.label for row in of_set])
