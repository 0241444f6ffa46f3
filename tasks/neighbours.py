"""Nearest neighbours and balls in feature space, without ever holding all pairs.

Distances are Euclidean and computed in float64. Whatever the number of rows, working memory is some
arrays of `block` × `block` numbers and of `block` rows of features.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 2048
"""Rows at once: 32 MiB for the distances of a block of queries to a block of keys."""

ROUNDING = 1e-12
"""Of squared lengths: by how much a squared distance may be wrong."""

Rows = npt.NDArray[np.floating[Any]]
"""N × D, in memory or mapped."""
Distances = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def nearest(queries: Rows, keys: Rows, k: int, block: int = BLOCK) -> tuple[Distances, Indices]:
    """Find the `k` nearest `keys` of each query, the nearest first, of equals the lower row.

    The distance of a row to an equal one is exactly 0. Where keys are equally far, which of them
    is the last of the `k` is not said.

    Returns distances and rows of `keys`, both len(queries) × k. Raises ValueError where there are
    fewer than `k` keys, or the two have other numbers of columns; InputError for what is no finite
    number.
    """
    _check(queries, keys)
    if not 1 <= k <= len(keys):
        raise ValueError(f"k={k}: choose from 1 to {len(keys)}, the number of rows to find")
    distances = np.empty((len(queries), k), np.float64)
    indices = np.empty((len(queries), k), np.int64)
    centre = _mean(keys, block)
    for mine in _blocks(len(queries), block):
        found = _candidates(queries[mine], keys, centre, k, block)
        exact = _exact(queries[mine], keys, found)
        order = np.lexsort((found, exact))
        distances[mine] = np.take_along_axis(exact, order, 1)
        indices[mine] = np.take_along_axis(found, order, 1)
    return distances, indices


def radii(points: Rows, k: int, block: int = BLOCK) -> Distances:
    """Distance of each point to the `k`-th nearest of the others, N.

    Raises ValueError where there are not more than `k` points.
    """
    if k >= len(points):
        raise ValueError(f"k={k}: {len(points)} points have {len(points) - 1} neighbours at most")
    # The point itself is one of the k + 1 nearest, or is as far as one: at distance 0.
    return nearest(points, points, k + 1, block)[0][:, k]


@dataclass(frozen=True, kw_only=True)
class Balls:
    """One around each of some rows."""

    radius: Distances
    closed: bool
    """Whether a ball holds what lies on its surface, to within rounding."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """Which balls hold which points, counted."""

    balls: Indices
    """For each point, how many balls hold it."""
    occupied: npt.NDArray[np.bool_]
    """For each ball, whether it holds a point."""


def held(
    rows: Rows,
    columns: Rows,
    around_columns: Sequence[Balls] = (),
    around_rows: Sequence[Balls] = (),
    block: int = BLOCK,
) -> tuple[list[Held], list[Held]]:
    """See which points the balls around other points hold, in one pass over all pairs.

    Returns for each of `around_columns` what it holds of `rows`, and for each of `around_rows` what
    it holds of `columns`.
    """
    _check(rows, columns)
    centre = _mean(columns, block)
    theirs = [_Tally(balls, len(rows), len(columns)) for balls in around_columns]
    ours = [_Tally(balls, len(columns), len(rows)) for balls in around_rows]
    for mine in _blocks(len(rows), block):
        for other, squared, lengths in _squared(rows[mine], columns, centre, block):
            for tally in theirs:
                tally.add(mine, other, squared, lengths)
            for tally in ours:
                tally.add(other, mine, squared.T, lengths)
    return [tally.held for tally in theirs], [tally.held for tally in ours]


class _Tally:
    """Counts what balls of one kind hold, block by block."""

    def __init__(self, balls: Balls, num_points: int, num_balls: int) -> None:
        if len(balls.radius) != num_balls:
            raise ValueError(f"{len(balls.radius)} radii for {num_balls} balls")
        self._squares = np.square(balls.radius)
        self._closed = balls.closed
        self.held = Held(
            balls=np.zeros(num_points, np.int64), occupied=np.zeros(num_balls, np.bool_)
        )

    def add(self, points: slice, balls: slice, squared: "Tensor", lengths: float) -> None:
        """Take in a block, points × balls, of vectors whose squared lengths add up to `lengths`."""
        import torch

        limit, slack = torch.from_numpy(self._squares[balls]), ROUNDING * lengths
        inside = squared <= limit + slack if self._closed else squared < limit - slack
        self.held.balls[points] += inside.sum(1).numpy()
        self.held.occupied[balls] |= inside.any(0).numpy()


def _check(queries: Rows, keys: Rows) -> None:
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise ValueError(f"features of shapes {queries.shape} and {keys.shape} cannot be compared")


def _blocks(total: int, block: int) -> Iterator[slice]:
    for start in range(0, total, block):
        yield slice(start, min(start + block, total))


def _mean(rows: Rows, block: int) -> Distances:
    """Far from the origin, products would lose the digits in which distances differ."""
    total = np.zeros(rows.shape[1], np.float64)
    for part in _blocks(len(rows), block):
        total += rows[part].sum(0, dtype=np.float64)
    return total / max(1, len(rows))


def _squared(
    queries: Rows, keys: Rows, centre: Distances, block: int
) -> "Iterator[tuple[slice, Tensor, float]]":
    """Squared distances of all `queries` to each block of `keys`.

    With the largest sum of the squared lengths of two vectors, of which rounding is a part.

    Raises InputError for rows that are not finite: nothing would be near them, and nobody told.
    """
    import torch

    ours = torch.from_numpy(queries - centre)
    our_lengths = ours.square().sum(1, keepdim=True)
    for theirs in _blocks(len(keys), block):
        those = torch.from_numpy(keys[theirs] - centre)
        lengths = those.square().sum(1)
        squared = torch.addmm(lengths, ours, those.T, alpha=-2).add_(our_lengths)
        longest = float(our_lengths.max() + lengths.max())
        if not math.isfinite(longest):
            raise InputError("some features are no finite numbers: look at the extractor")
        yield theirs, squared, longest


def _candidates(queries: Rows, keys: Rows, centre: Distances, k: int, block: int) -> Indices:
    """Rows of the `k` nearest keys, in no order."""
    import torch

    best = torch.empty((len(queries), 0), dtype=torch.float64)
    rows = torch.empty((len(queries), 0), dtype=torch.int64)
    for theirs, squared, _ in _squared(queries, keys, centre, block):
        values, columns = squared.topk(min(k, squared.shape[1]), dim=1, largest=False)
        best = torch.cat([best, values], 1)
        rows = torch.cat([rows, columns + theirs.start], 1)
        best, kept = best.topk(min(k, best.shape[1]), dim=1, largest=False)
        rows = rows.gather(1, kept)
    found: Indices = rows.numpy()
    return found


def _exact(queries: Rows, keys: Rows, rows: Indices) -> Distances:
    """Distances by differences, which are exact where two rows are equal."""
    ours = queries.astype(np.float64)
    out = np.empty(rows.shape, np.float64)
    for column in range(rows.shape[1]):
        out[:, column] = np.sqrt(np.square(ours - keys[rows[:, column]]).sum(1))
    return out
