"""Draws the map of a set: real, synthetic and test images as points, by PCA or t-SNE."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from orchestrator.report.results import FeatureMap
from orchestrator.report.statistics import mean

SIDE = 300
"""Of a map, in units of its own."""
_MARGIN = 8
MOST_POINTS = 700
"""Of each group."""
MOST_NAMED_CLASSES = 20
LONGEST_NAME = 10

GROUPS = ("real, training", "synthetic", "real, test")
"""By the numbers of `FeatureMap.group`."""
ORDER = (0, 2, 1)
"""What is drawn over what: synthetic points last."""
PAGE_COLOURS = ("var(--muted)", "var(--s1)", "var(--s0)")
FILE_COLOURS = ("#7a7f86", "#c75a00", "#1f6fb4")
"""For a file of its own, which no page gives colours."""

Point = tuple[float, float]


def map_svg(
    found: FeatureMap,
    kind: str,
    classes: Sequence[str],
    colours: Sequence[str] = PAGE_COLOURS,
    *,
    is_file: bool = False,
) -> str:
    """One map as an `<svg>` element; nothing where it has no points.

    All points of a group are one path of dots, which is a tenth of as many circles.

    Args:
        kind: `pca` or `tsne`.
        is_file: with the name space and the paper that a file of its own needs.
    """
    points: Sequence[Point] = found.pca if kind == "pca" else found.tsne
    if not points:
        return ""
    placed = _placed(points)
    dots = [
        _dots([p for p, g in zip(placed, found.group, strict=True) if g == group], colours[group])
        for group in ORDER
    ]
    ink = ("#1b1d20", "#fff") if is_file else ("var(--ink)", "var(--paper)")
    names = _names(placed, found, classes, *ink)
    box = f'viewBox="0 0 {SIDE} {SIDE}"'
    start = f'<svg {box} aria-hidden="true">'
    if is_file:
        start = f'<svg xmlns="http://www.w3.org/2000/svg" {box} width="900" height="900">'
        start += f'<rect width="{SIDE}" height="{SIDE}" fill="#fff"/>'
    return f"{start}{''.join(dots)}{names}</svg>"


def _placed(points: Sequence[Point]) -> list[Point]:
    """Scaled alike in both directions, so that distances stay what they are."""
    low = [min(point[axis] for point in points) for axis in (0, 1)]
    high = [max(point[axis] for point in points) for axis in (0, 1)]
    room = SIDE - 2 * _MARGIN
    scale = room / (max(high[0] - low[0], high[1] - low[1]) or 1.0)
    shift = [(SIDE - scale * (low[axis] + high[axis])) / 2 for axis in (0, 1)]
    return [(scale * x + shift[0], SIDE - (scale * y + shift[1])) for x, y in points]


def _dots(points: Sequence[Point], colour: str) -> str:
    if len(points) > MOST_POINTS:
        points = [points[i * len(points) // MOST_POINTS] for i in range(MOST_POINTS)]
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
    style = 'fill="none" stroke-width="4" stroke-linecap="round" stroke-opacity=".55"'
    return f'<path d="{path}" stroke="{colour}" {style}/>' if points else ""


def _names(
    placed: Sequence[Point], found: FeatureMap, classes: Sequence[str], colour: str, paper: str
) -> str:
    """Each class by name, in the middle of its real training images."""
    if len(classes) > MOST_NAMED_CLASSES:
        return ""
    of_class: dict[int, list[Point]] = {}
    for point, group, label in zip(placed, found.group, found.label, strict=True):
        if group == 0:
            of_class.setdefault(label, []).append(point)
    texts = dict(enumerate(classes))
    return "".join(
        _text(
            mean([x for x, _ in points]), mean([y for _, y in points]), texts[label], colour, paper
        )
        for label, points in sorted(of_class.items())
        if label in texts
    )


def _text(x: float, y: float, name: str, colour: str, paper: str) -> str:
    cut = f"{name[: LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    short = name if len(name) <= LONGEST_NAME else cut
    style = f'font-size="12" font-weight="600" text-anchor="middle" fill="{colour}"'
    halo = f'stroke="{paper}" stroke-width="3" stroke-linejoin="round" paint-order="stroke"'
    place = f'x="{x:.1f}" y="{y + 4:.1f}" font-family="sans-serif"'
    return f"<text {place} {style} {halo}>{escape(short)}</text>"
