"""The losses of generators by optimizer step: small panels, one for each loss."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.report.drawing import SERIES, draw, short
from orchestrator.report.fidelity import SetGroup, fit_state, groups
from orchestrator.report.results import SetResult, StudyResult
from orchestrator.report.statistics import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABREAST = 5
MOST_LOSSES = 8
"""Of a generator."""
MOST_POINTS = 150
"""Of a curve; more are averaged."""
PANEL = (2.0, 1.6)
"""Inches."""
WIDE_SPAN = 30.0
"""Largest value by smallest from which a loss is drawn on a logarithmic scale."""

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class LossFigure:
    """The losses of all fits of a group."""

    label: str
    svg: str
    width: float
    """Inches."""
    note: str
    """How many fits there are, and how many of them failed."""


def loss_figures(result: StudyResult) -> tuple[LossFigure, ...]:
    """One figure a group of sets whose fits left curves."""
    drawn = [(group, _names(group)) for group in groups(result)]
    return tuple(
        _figure(place, group, names) for place, (group, names) in enumerate(drawn) if names
    )


def _names(group: SetGroup) -> list[str]:
    names = (name for each in group.sets for name, points in each.losses.items() if points)
    return list(dict.fromkeys(names))[:MOST_LOSSES]


def _figure(place: int, group: SetGroup, names: Sequence[str]) -> LossFigure:
    num_columns = min(ABREAST, len(names))
    num_rows = -(-len(names) // num_columns)
    fitted = list({each.fit.key if each.fit else each.key: each for each in group.sets}.values())

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        for name, axes in zip(names, panels, strict=False):
            _draw(axes, name, fitted)

    size = (PANEL[0] * num_columns, PANEL[1] * num_rows)
    return LossFigure(
        label=group.label,
        svg=draw(f"losses-{place}", size, paint),
        width=size[0],
        note=_note(fitted),
    )


def _note(fitted: Sequence[SetResult]) -> str:
    num_failed = sum(_has_failed(each) for each in fitted)
    if len(fitted) == 1:
        return "failed" if num_failed else ""
    return f"{len(fitted)} fits" + (f", {num_failed} failed" if num_failed else "")


def _has_failed(each: SetResult) -> bool:
    return each.fit is not None and fit_state(each.fit) == "failed"


def _draw(axes: "Axes", name: str, fitted: Sequence[SetResult]) -> None:
    every: list[float] = []
    for place, each in enumerate(fitted):
        points = thinned([p for p in each.losses.get(name, ()) if math.isfinite(p[1])])
        if not points:
            continue
        steps, values = [step for step, _ in points], [value for _, value in points]
        colour = SERIES[place % len(SERIES)]
        axes.plot(steps, values, color=colour, linewidth=1.2, marker="o" if len(steps) == 1 else "")
        if _has_failed(each):
            axes.plot(steps[-1:], values[-1:], "x", color=SERIES[4], markersize=7, mew=2)
        every += values
    is_wide = bool(every) and min(every) > 0 and max(every) > WIDE_SPAN * min(every)
    if is_wide:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title(short(name, 22) + (" (log)" if is_wide else ""), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="x", nbins=4)


def thinned(points: Curve, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """A curve of no more than so many points: the last step of each part, and its mean value."""
    if len(points) <= most:
        return list(points)
    bounds = [i * len(points) // most for i in range(most + 1)]
    parts = [points[start:stop] for start, stop in itertools.pairwise(bounds)]
    return [(part[-1][0], mean([value for _, value in part])) for part in parts]
