"""The curves of classifiers: loss and accuracy by optimizer step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.report.drawing import SERIES, WIDTH, colour_and_dash, draw
from orchestrator.report.results import CellResult, StudyResult
from orchestrator.report.statistics import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "train_accuracy": "training accuracy, %",
    "val_accuracy": "validation accuracy, %",
}


def curve_figure(result: StudyResult) -> str:
    """Loss and accuracy by step: the mean of each cell's seeds, and the band they fill."""
    drawn = [name for name in CURVES if any(curve(cell, name) for cell in result.cells)]
    if not drawn:
        return ""
    num_rows = -(-len(drawn) // 2)

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(num_rows, 2, squeeze=False).ravel()
        for name, axes in zip(drawn, panels, strict=False):
            for index, cell in enumerate(result.cells):
                _draw_curve(axes, index, curve(cell, name), 100 if "accuracy" in name else 1)
            axes.set_title(CURVES[name])
        _finish(panels, len(drawn))

    return draw("curves", (WIDTH, 2.9 * num_rows), paint)


def _finish(panels: Iterable["Axes"], num_used: int) -> None:
    for place, axes in enumerate(panels):
        if place >= num_used:
            axes.set_axis_off()
        elif place >= num_used - 2:
            axes.set_xlabel("optimizer step")


def curve(cell: CellResult, name: str) -> dict[float, list[float]]:
    """A column of the histories: step -> the value of each seed that has one."""
    found: dict[float, list[float]] = {}
    for trial in cell.trials:
        for point in trial.history:
            if name in point and "step" in point:
                found.setdefault(point["step"], []).append(point[name])
    return dict(sorted(found.items()))


def _draw_curve(
    axes: "Axes", index: int, points: Mapping[float, Sequence[float]], scale: int
) -> None:
    if not points:
        return
    colour, dash = colour_and_dash(index)
    style: Any = (0, tuple(map(float, dash.split()))) if dash else "-"
    steps = list(points)
    low, high = ([scale * end(v) for v in points.values()] for end in (min, max))
    marker = "o" if len(steps) == 1 else None
    centre = [scale * mean(values) for values in points.values()]
    axes.fill_between(steps, low, high, color=SERIES[colour], alpha=0.14, linewidth=0)
    axes.plot(steps, centre, color=SERIES[colour], linestyle=style, linewidth=1.6, marker=marker)
