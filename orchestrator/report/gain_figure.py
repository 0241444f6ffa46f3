"""The figure of what measures say beside what was gained: a panel for each measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.report.drawing import INK, MUTED, SERIES, WIDTH, draw
from orchestrator.report.fidelity import SetGroup, groups
from orchestrator.report.gains import Gain, gains
from orchestrator.report.layout import direction
from orchestrator.report.ranking import Correlation, rankings
from orchestrator.report.results import StudyResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABREAST = 4
FEWEST = 3
"""Sets from which points are worth drawing."""


@dataclass(frozen=True, kw_only=True)
class GainFigure:
    """Each set as a point, numbered."""

    svg: str
    names: tuple[str, ...]
    """By number, from 1."""


def gain_figure(result: StudyResult) -> GainFigure | None:
    """The largest ranking as points: a measure across, the gain with its interval upwards."""
    ranking = max(rankings(result), key=lambda each: len(each.labels), default=None)
    if ranking is None or len(ranking.labels) < FEWEST:
        return None
    found = gains(result)
    members = [(g, found[g.key]) for g in groups(result) if g.label in ranking.labels]
    drawn = [each for each in ranking.correlations if each.n >= FEWEST]
    if not drawn:
        return None
    return GainFigure(svg=_svg(drawn, members), names=ranking.labels)


def _svg(drawn: Sequence[Correlation], members: Sequence[tuple[SetGroup, Gain]]) -> str:
    num_rows = -(-len(drawn) // ABREAST)

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(num_rows, ABREAST, sharey=True, squeeze=False)
        for axes in panels.ravel()[len(drawn) :]:
            axes.set_axis_off()
        for each, axes in zip(drawn, panels.ravel(), strict=False):
            _draw(axes, each, members)
        for row in panels:
            row[0].set_ylabel("gain, points")

    return draw("gains", (WIDTH, 2.5 * num_rows), paint)


def _draw(axes: "Axes", found: Correlation, members: Sequence[tuple[SetGroup, Gain]]) -> None:
    measure = found.measure
    axes.axhline(0, color=MUTED, linewidth=1)
    for number, (group, gain) in enumerate(members, 1):
        if measure.name not in group.measures:
            continue
        x = measure.scale * group.measures[measure.name].mean
        y = 100 * gain.found.difference
        colour = SERIES[0] if direction(gain.found) in ("higher", "lower") else MUTED
        if gain.found.ci_low is not None and gain.found.ci_high is not None:
            ends = (100 * gain.found.ci_low, 100 * gain.found.ci_high)
            axes.plot((x, x), ends, color=colour, linewidth=1.2, alpha=0.7)
        axes.plot([x], [y], "o", ms=4.5, color=colour, zorder=3)
        offset = {"xytext": (4, 3), "textcoords": "offset points"}
        axes.annotate(str(number), (x, y), fontsize=8, color=INK, **offset)  # type: ignore[arg-type]
    rho = "" if found.rho is None else f", rho {found.rho + 0.0:+.2f}".replace("-", "−")
    axes.set_title(f"{measure.heading}{rho}", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="x", nbins=4)
    axes.margins(x=0.12)
