"""The figure of the classes: how many training images each has, and how well it is recognised."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.report.drawing import (
    INK,
    MUTED,
    SERIES,
    WIDTH,
    colour_and_dash,
    draw,
    short,
)
from orchestrator.report.panels import class_means
from orchestrator.report.results import CellResult, StudyResult
from tasks.specs import Counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PROFILES = 8
MOST_NAMED_CLASSES = 20
"""On an axis of a small panel; more are numbered."""
LONG_TAIL = 20.0
"""Largest class by smallest from which counts are drawn on a logarithmic scale."""

LONGEST_TITLE = 32

Profile = tuple[Counts, Counts]
"""Real and synthetic training images of each class."""


def profiles(result: StudyResult) -> dict[Profile, list[int]]:
    """The ways in which training images are spread, each with the cells that have it."""
    found: dict[Profile, list[int]] = {}
    for index, cell in enumerate(result.cells):
        found.setdefault((cell.real_per_class, cell.synthetic_per_class), []).append(index)
    return found


def class_figure(result: StudyResult) -> str:
    """By class in label order: training images above, the recall of each cell below.

    One pair of panels for each way in which images are spread over the classes, and for no more
    than `MOST_PROFILES` of them. Returns an `<svg>` element, or nothing where nothing is known.
    """
    recalls = {i: class_means(cell, "recall") for i, cell in enumerate(result.cells)}
    recalls = {index: values for index, values in recalls.items() if values}
    drawn = list(profiles(result).items())[:MOST_PROFILES]
    has_counts = any(any(counts) for profile, _ in drawn for counts in profile)
    heights = [*([1.0] if has_counts else []), *([1.0] if recalls else [])]
    if not heights:
        return ""
    floor = _floor(recalls.values())
    num_columns = min(2, len(drawn))
    num_blocks = -(-len(drawn) // num_columns)

    def paint(figure: "Figure") -> None:
        blocks = figure.subfigures(num_blocks, num_columns, squeeze=False).ravel()
        for block, (profile, cells) in zip(blocks, drawn, strict=False):
            block.patch.set_visible(False)
            panels = block.subplots(len(heights), 1, sharex=True, squeeze=False)[:, 0]
            if has_counts:
                _draw_counts(panels[0], profile)
            if recalls:
                _draw_recall(panels[-1], {i: recalls[i] for i in cells if i in recalls}, floor)
            panels[0].set_title(_title([result.cells[index] for index in cells]))
            _name_classes(panels[-1], result.classes)

    size = (WIDTH, num_blocks * (0.7 + 1.5 * len(heights)))
    return draw("classes", size, paint)


def _title(cells: Sequence[CellResult]) -> str:
    labels = ", ".join(cell.label for cell in cells)
    if len(labels) > LONGEST_TITLE and len(cells) > 1:
        more = f" and {len(cells) - 1} more"
        return short(cells[0].label, LONGEST_TITLE - len(more)) + more
    return short(labels, LONGEST_TITLE)


def _draw_counts(axes: "Axes", profile: Profile) -> None:
    sizes = [count for counts in profile for count in counts]
    least, most = min((size for size in sizes if size), default=1), max(sizes, default=1)
    _draw_bars(axes, *profile)
    if most >= LONG_TAIL * least:
        axes.set_yscale("log")
        axes.set_ylim(max(0.5, least / 2), 1.5 * most)
        axes.set_ylabel("images (log)")
    else:
        axes.set_ylim(0, 1.1 * max(1, most))
        axes.set_ylabel("images")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.minorticks_off()
    if any(sizes):
        beside_title: Any = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0}
        axes.legend(fontsize=9, ncols=2, handlelength=1.2, columnspacing=1.2, **beside_title)


def _draw_bars(axes: "Axes", real: Counts, synthetic: Counts) -> None:
    """Bars side by side; for many classes, bars and a line over them."""
    if len(real or synthetic) <= MOST_NAMED_CLASSES:
        kinds = {"real": (real, MUTED), "synthetic": (synthetic, INK)}
        used = [(name, counts, colour) for name, (counts, colour) in kinds.items() if any(counts)]
        width = 0.8 / max(1, len(used))
        for place, (name, counts, colour) in enumerate(used):
            shift = width * (place - (len(used) - 1) / 2)
            places = [index + shift for index in range(len(counts))]
            axes.bar(places, counts, width=width, color=colour, alpha=0.6, lw=0, label=name)
        return
    if any(real):
        axes.bar(range(len(real)), real, width=1, color=MUTED, alpha=0.6, lw=0, label="real")
    if any(synthetic):
        shown = [count or math.nan for count in synthetic]
        axes.step(range(len(shown)), shown, where="mid", color=INK, lw=1.5, label="synthetic")


def _floor(recalls: Iterable[Sequence[float | None]]) -> int:
    """Where the axis of recall starts in all panels: the quarter below the least one, in %."""
    known = [value for values in recalls for value in values if value is not None]
    return min(75, 25 * int(4 * min(known, default=0.0)))


def _draw_recall(axes: "Axes", recalls: Mapping[int, Sequence[float | None]], floor: int) -> None:
    for place, (index, values) in enumerate(recalls.items()):
        # Side by side within a class, so that equal ones do not hide each other.
        shift = 0.5 * ((place + 0.5) / len(recalls) - 0.5)
        known = [(i, value) for i, value in enumerate(values) if value is not None]
        axes.scatter(
            [i + shift for i, _ in known],
            [100 * value for _, value in known],
            s=22 if len(values) <= MOST_NAMED_CLASSES else 7,
            color=SERIES[colour_and_dash(index)[0]],
            linewidths=0,
        )
    axes.set_ylim(floor - 2, 102)
    axes.set_yticks(range(floor, 101, 25 if floor < 75 else 5))
    axes.set_ylabel("recall, %")


def _name_classes(axes: "Axes", classes: Sequence[str]) -> None:
    axes.set_xlim(-0.7, max(0, len(classes) - 1) + 0.7)
    if len(classes) > MOST_NAMED_CLASSES:
        axes.set_xlabel("class, numbered from 0 in label order")
        return
    names = [short(name, 14) for name in classes]
    tilted = sum(map(len, names)) > 40
    axes.set_xticks(range(len(names)), names)
    if tilted:
        axes.tick_params(axis="x", labelrotation=40)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.grid(axis="x", visible=False)
