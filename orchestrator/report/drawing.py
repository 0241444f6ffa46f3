"""Draws figures as SVG that takes its colours from the page, the same bytes every time."""

import re
import warnings
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 10.0
"""Inches; the page scales it."""
NUM_COLOURS = 8
DASHES = ("", "6 3", "2 2")
"""Line styles, as SVG and matplotlib know them, for more cells than there are colours."""
# Matplotlib knows no CSS: it draws in colours that nobody would choose, which are then replaced by
# the page's variables, so that one figure suits light and dark.
INK, MUTED, RULE, PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
SERIES = tuple(f"#0d0e{index:02x}" for index in range(NUM_COLOURS))
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {
    colour: f"s{index}" for index, colour in enumerate(SERIES)
}
_SETTINGS = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.titlesize": 10,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def colour_and_dash(index: int) -> tuple[int, str]:
    """Which colour and line style the cell with this index has in every figure."""
    return index % NUM_COLOURS, DASHES[index // NUM_COLOURS % len(DASHES)]


def short(label: str, limit: int = 38) -> str:
    """Cut the middle out of a long label: what tells two cells apart often stands last."""
    if len(label) <= limit:
        return label
    tail = limit // 2
    return f"{label[: limit - tail - 1]}\N{HORIZONTAL ELLIPSIS}{label[-tail:]}"


def draw(name: str, size: tuple[float, float], paint: Callable[["Figure"], None]) -> str:
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
        figure.get_layout_engine().set(hspace=0.08, wspace=0.06)  # type: ignore[union-attr, call-arg]
        paint(figure)
        figure.savefig(text, format="svg", metadata=nothing)
    return inlinedraw(text.getvalue(), name)


def inlinedraw(text: str, name: str) -> str:
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
