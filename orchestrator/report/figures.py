"""The figures of a report: SVG that takes its colours from the page, the same bytes every time."""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from orchestrator.report.layout import verdict
from orchestrator.report.results import CellResult, SetSample, StudyResult
from orchestrator.report.statistics import mean, t_interval
from orchestrator.report.table import Row, rows, scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 10.0
"""Inches; the page scales it."""
NUM_COLOURS = 8
DASHES = ("", "6 3", "2 2")
"""Line styles, as SVG and matplotlib know them, for more cells than there are colours."""
CURVES = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "train_accuracy": "training accuracy, %",
    "val_accuracy": "validation accuracy, %",
}
# Matplotlib knows no CSS: it draws in colours that nobody would choose, which are then replaced by
# the page's variables, so that one figure suits light and dark.
_INK, _MUTED, _RULE, _PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
_SERIES = tuple(f"#0d0e{index:02x}" for index in range(NUM_COLOURS))
_VARIABLES = {_INK: "ink", _MUTED: "muted", _RULE: "rule", _PAPER: "paper"} | {
    colour: f"s{index}" for index, colour in enumerate(_SERIES)
}
_SETTINGS = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _RULE,
    "axes.facecolor": "none",
    "axes.titlesize": 10,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def colour_and_dash(index: int) -> tuple[int, str]:
    """Which colour and line style the cell with this index has in every figure."""
    return index % NUM_COLOURS, DASHES[index // NUM_COLOURS % len(DASHES)]


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

    return _svg(f"scores-{metric}", (WIDTH, 0.8 + 0.42 * len(of_metric)), paint)


def _draw_scores(axes: "Axes", result: StudyResult, of_metric: Sequence[Row]) -> None:
    for place, row in enumerate(of_metric):
        values = [100 * value for value in scores(result.cells[row.cell], row.metric).values()]
        colour = _SERIES[colour_and_dash(row.cell)[0]]
        if not values:
            continue
        if bounds := t_interval(values):
            axes.plot(bounds, (place, place), color=colour, linewidth=1.4, zorder=2)
        axes.plot([mean(values)], [place], marker="|", ms=15, mew=2.4, color=colour, zorder=3)
        heights = [place - 0.2] * len(values)  # above the interval, which would hide them
        axes.scatter(values, heights, s=26, color=colour, alpha=0.6, linewidths=0)
    _name_rows(axes, of_metric)
    axes.set_title(f"{of_metric[0].metric}, %")


def _draw_differences(axes: "Axes", of_metric: Sequence[Row]) -> None:
    axes.axvline(0, color=_MUTED, linewidth=1)
    for place, row in enumerate(of_metric):
        if row.diff is None:
            continue
        sure = verdict(row) in ("higher", "lower")
        colour = _INK if sure else _MUTED
        if row.ci_low is not None and row.ci_high is not None:
            ends = (100 * row.ci_low, 100 * row.ci_high)
            axes.plot(ends, (place, place), color=colour, linewidth=1.4)
        face = colour if sure else _PAPER
        axes.plot([100 * row.diff], [place], "o", ms=6, mfc=face, mec=colour, mew=1.4)
    axes.grid(axis="y", visible=False)
    axes.set_title("difference from the baseline, points")


def _name_rows(axes: "Axes", of_metric: Sequence[Row]) -> None:
    axes.set_yticks(range(len(of_metric)), [_short(row.label) for row in of_metric])
    axes.set_ylim(len(of_metric) - 0.5, -0.5)
    axes.tick_params(axis="y", labelcolor=_INK)
    axes.grid(axis="y", visible=False)


def _short(label: str, limit: int = 38) -> str:
    """Cut the middle out of a long label: what tells two cells apart often stands last."""
    if len(label) <= limit:
        return label
    tail = limit // 2
    return f"{label[: limit - tail - 1]}\N{HORIZONTAL ELLIPSIS}{label[-tail:]}"


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

    return _svg("curves", (WIDTH, 2.9 * num_rows), paint)


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
    axes.fill_between(steps, low, high, color=_SERIES[colour], alpha=0.14, linewidth=0)
    axes.plot(steps, centre, color=_SERIES[colour], linestyle=style, linewidth=1.6, marker=marker)


def loss_figure(sheets: Sequence[SetSample]) -> str:
    """The losses of each fitted generator by step; a lone loss has no legend."""
    fitted = [sheet for sheet in sheets if any(sheet.losses.values())]
    if not fitted:
        return ""
    num_rows = -(-len(fitted) // 2)

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(num_rows, 2, squeeze=False).ravel()
        for sheet, axes in zip(fitted, panels, strict=False):
            _draw_losses(axes, sheet)
        _finish(panels, len(fitted))

    return _svg("losses", (WIDTH, 2.6 * num_rows), paint)


def _draw_losses(axes: "Axes", sheet: SetSample) -> None:
    for place, (name, points) in enumerate(sheet.losses.items()):
        steps = [step for step, _ in points]
        values = [value for _, value in points]
        colour = _SERIES[place % NUM_COLOURS]
        axes.plot(steps, values, color=colour, linewidth=1.4, label=name)
    axes.set_title(f"{_short(sheet.name)}: {', '.join(sheet.losses)}")
    if len(sheet.losses) > 1:
        axes.legend(fontsize=9)


def _svg(name: str, size: tuple[float, float], paint: Callable[["Figure"], None]) -> str:
    """Let `paint` fill a figure of `size` inches, and return it as an element of a page."""
    import matplotlib
    from matplotlib.figure import Figure

    text = StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    settings: Any = _SETTINGS | {"svg.hashsalt": name}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Texts stay texts and the reader's fonts draw them; matplotlib's own may lack a letter.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_visible(False)
        figure.get_layout_engine().set(hspace=0.08)  # type: ignore[union-attr, call-arg]
        paint(figure)
        figure.savefig(text, format="svg", metadata=nothing)
    return inline_svg(text.getvalue(), name)


def inline_svg(text: str, name: str) -> str:
    """Cut matplotlib's document down to an element of a page.

    No declaration, metadata or name space; ids that no other figure of the page has; colours and
    fonts by the page's variables.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box, "matplotlib always writes a viewBox"
    # Its style sheet would reach the whole page, and most of its ids name what nothing refers to.
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    prefix = re.sub(r"[^a-z0-9]+", "-", name.lower())
    body = body.replace("xlink:href", "href")
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return f'<svg {box[0]} stroke-linejoin="round" aria-hidden="true">{body.strip()}'
