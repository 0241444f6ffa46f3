"""Random irregular masks as a brush leaves them.

Yu et al., "Free-form image inpainting with gated convolution" (ICCV 2019, arXiv:1806.03589),
JiahuiYu/generative_inpainting, `brush_stroke_mask`: a stroke starts anywhere, takes 4 to 11 turns
that alternate to left and right around 2π/5, with steps ~ N(diagonal / 8, half of it), and a brush
of 12 to 40 pixels in images of 256. Here widths are shares of sqrt(height × width); the flips at
the end, whose result that code drops, are made; and instead of one to three strokes there are as
many as the coverage takes: it is drawn from its range first, every stroke starts where nothing is
repainted yet, and the last one is lifted where the coverage is met.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.editing import Mask
from tasks.edits.polarity import Grow
from tasks.specs import STRICT

MEAN_ANGLE, ANGLE_RANGE = 2 * math.pi / 5, 2 * math.pi / 15

Share = Annotated[float, Field(gt=0, le=1)]
Width = Annotated[float, Field(ge=0.01, le=1)]
"""Thinner brushes would take minutes to cover a photograph."""
Turns = Annotated[int, Field(ge=1, le=100)]
Vertex = tuple[float, float]
"""Column and row."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Strokes:
    """Random strokes; each image's own, by its seed."""

    name: Literal["strokes"] = "strokes"
    min_coverage: Share = 0.1
    """Share of the image that is repainted at least."""
    max_coverage: Share = 0.4
    min_turns: Turns = 4
    max_turns: Turns = 11
    min_width: Width = 12 / 256
    """Of the brush, as a share of sqrt(height × width)."""
    max_width: Width = 40 / 256
    invert: bool = False
    """Repaint what the strokes leave; the coverage is that of the strokes."""
    grow: Grow = 0
    """Pixels by which the repainted part grows, beyond its coverage."""

    def __post_init__(self) -> None:
        for what in ("coverage", "turns", "width"):
            low, high = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if low > high:
                raise ValueError(f"min_{what} {low:g} is above max_{what} {high:g}")


def draw(config: Strokes, height: int, width: int, seed: int) -> Mask:
    """Draw a mask; the same seed draws the same."""
    rng = np.random.default_rng(seed)
    wanted = _num_wanted(config, height * width, rng)
    mask = np.zeros((height, width), np.bool_)
    while (missing := wanted - int(mask.sum())) > 0:
        vertices, brush = _stroke(config, mask, rng)
        drawn = _drawn(vertices, brush, height, width) & ~mask
        if int(drawn.sum()) > missing:
            drawn = _lifted(vertices, brush, mask, missing)
        mask |= drawn
    flips = rng.random(2) < 0.5
    return np.ascontiguousarray(mask[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1])


def _num_wanted(config: Strokes, size: int, rng: np.random.Generator) -> int:
    """Pixels to repaint: within the range wherever whole pixels are."""
    share = rng.uniform(config.min_coverage, config.max_coverage)
    least, most = math.ceil(config.min_coverage * size), math.floor(config.max_coverage * size)
    return max(1, min(max(round(share * size), least), most))


def _stroke(config: Strokes, mask: Mask, rng: np.random.Generator) -> tuple[list[Vertex], int]:
    height, width = mask.shape
    free = np.flatnonzero(~mask)
    row, column = divmod(int(free[rng.integers(len(free))]), width)
    vertices: list[Vertex] = [(column, row)]
    radius = math.hypot(height, width) / 8
    low = MEAN_ANGLE - rng.uniform(0, ANGLE_RANGE)
    high = MEAN_ANGLE + rng.uniform(0, ANGLE_RANGE)
    for turn in range(int(rng.integers(config.min_turns, config.max_turns + 1))):
        angle = rng.uniform(low, high)
        angle = 2 * math.pi - angle if turn % 2 == 0 else angle
        length = float(np.clip(rng.normal(radius, radius / 2), 0, 2 * radius))
        x = vertices[-1][0] + length * math.cos(angle)
        y = vertices[-1][1] + length * math.sin(angle)
        vertices.append((min(max(x, 0), width - 1), min(max(y, 0), height - 1)))
    scale = math.sqrt(height * width)
    brush = max(1, round(rng.uniform(config.min_width, config.max_width) * scale))
    return vertices, brush


def _drawn(vertices: list[Vertex], brush: int, height: int, width: int) -> Mask:
    """Lines between the vertices, and a disc at each of them, so that corners are round."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(image)
    places = [(round(x), round(y)) for x, y in vertices]
    pen.line(places, fill=1, width=brush)
    for x, y in places:
        pen.ellipse((x - brush // 2, y - brush // 2, x + brush // 2, y + brush // 2), fill=1)
    return np.asarray(image) > 0


def _lifted(vertices: list[Vertex], brush: int, mask: Mask, num_pixels: int) -> Mask:
    """The first so many new pixels that the brush passes over."""
    found = np.zeros_like(mask)
    for start, part in _parts(vertices, brush, *mask.shape):
        new = part & ~mask & ~found
        missing = num_pixels - int(found.sum())
        if int(new.sum()) <= missing:
            found |= new
            continue
        rows, columns = np.nonzero(new)
        nearest = np.argsort((columns - start[0]) ** 2 + (rows - start[1]) ** 2, kind="stable")
        found[rows[nearest[:missing]], columns[nearest[:missing]]] = True
        break
    return found


def _parts(
    vertices: list[Vertex], brush: int, height: int, width: int
) -> Iterator[tuple[npt.NDArray[np.float64], Mask]]:
    """The stroke from vertex to vertex: where each part starts, and its pixels."""
    for start, stop in itertools.pairwise(vertices):
        yield np.array(start, np.float64), _drawn([start, stop], brush, height, width)
