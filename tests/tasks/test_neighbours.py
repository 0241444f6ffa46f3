"""Neighbours and balls found block by block are those of the whole distance matrix."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.errors import InputError
from tasks.neighbours import Balls, held, nearest, radii

Rows = NDArray[np.float32]


def some_rows(num: int, dims: int = 7, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).standard_normal((num, dims)).astype(np.float32)


def all_distances(queries: Rows, keys: Rows) -> NDArray[np.float64]:
    differences = queries[:, None].astype(np.float64) - keys[None]
    matrix: NDArray[np.float64] = np.sqrt(np.square(differences).sum(2))
    return matrix


@pytest.mark.parametrize("block", [1, 3, 16, 1000])
@pytest.mark.parametrize("k", [1, 4, 23])
def test_nearest_is_that_of_the_whole_matrix(block: int, k: int) -> None:
    queries, keys = some_rows(31, seed=1), some_rows(23, seed=2)
    matrix = all_distances(queries, keys)
    distances, indices = nearest(queries, keys, k, block)
    assert distances.dtype == np.float64
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(indices, matrix.argsort(1)[:, :k])
    np.testing.assert_allclose(distances, np.sort(matrix, 1)[:, :k], rtol=1e-12)


def test_result_does_not_hang_on_the_block() -> None:
    queries, keys = some_rows(40, seed=1), some_rows(50, seed=2)
    one, other = nearest(queries, keys, 5, 7), nearest(queries, keys, 5, 64)
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_an_equal_row_is_at_distance_zero_far_from_the_origin() -> None:
    keys = some_rows(30) * np.float32(1e-3) + np.float32(1000)
    distances, indices = nearest(keys[::-1], keys, 1)
    assert not distances.any()
    np.testing.assert_array_equal(keys[indices[:, 0]], keys[::-1])


def test_tight_clusters_far_apart_are_told_apart() -> None:
    """In float32 the distances within a cluster would be rounding alone."""
    clusters = np.repeat(some_rows(2, 16) * 1000, 20, 0)
    points = (clusters + some_rows(40, 16, seed=3) * np.float32(1e-3)).astype(np.float32)
    matrix = all_distances(points, points)
    np.testing.assert_array_equal(
        np.sort(nearest(points, points, 4, 8)[1], 1), np.sort(matrix.argsort(1)[:, :4], 1)
    )


def test_of_equals_the_lower_row_comes_first() -> None:
    keys = np.repeat(some_rows(4), 3, 0)
    indices = nearest(keys[:1], keys, 3, 2)[1]
    assert indices.tolist() == [[0, 1, 2]]


def test_mapped_features_are_read_where_they_lie(tmp_path: Any) -> None:
    keys = some_rows(50)
    np.save(tmp_path / "f.npy", keys)
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    np.testing.assert_array_equal(nearest(mapped, mapped, 3, 16)[1], nearest(keys, keys, 3)[1])


@pytest.mark.parametrize("k", [1, 3])
def test_radii_leave_the_point_itself_out(k: int) -> None:
    points = some_rows(25)
    points[7] = points[3]
    matrix = all_distances(points, points)
    np.fill_diagonal(matrix, np.inf)
    found = radii(points, k, 10)
    np.testing.assert_allclose(found, np.sort(matrix, 1)[:, k - 1], rtol=1e-12)
    assert (found[[3, 7]] == 0).all() == (k == 1)


@pytest.mark.parametrize("block", [1, 9, 1000])
@pytest.mark.parametrize("closed", [True, False])
def test_balls_are_counted_as_in_the_whole_matrix(closed: bool, block: int) -> None:
    points, centres = some_rows(33, seed=1), some_rows(21, seed=2)
    radius = radii(centres, 3)
    matrix = all_distances(points, centres)
    inside = matrix <= radius if closed else matrix < radius
    assert 0 < inside.mean() < 1
    balls = Balls(radius=radius, closed=closed)
    (found,), none = held(points, centres, around_columns=[balls], block=block)
    assert none == []
    np.testing.assert_array_equal(found.balls, inside.sum(1))
    np.testing.assert_array_equal(found.occupied, inside.any(0))
    _, (turned,) = held(centres, points, around_rows=[balls], block=block)
    np.testing.assert_array_equal(turned.balls, found.balls)
    np.testing.assert_array_equal(turned.occupied, found.occupied)


def test_a_point_on_the_surface_is_in_a_closed_ball_alone() -> None:
    """A ball reaches to its k-th neighbour, so that copies of that one lie on its surface."""
    centres = some_rows(40, 64) + np.float32(100)
    distances, indices = nearest(centres, centres, 4)
    surface = centres[indices[:, 3]]
    for row in range(len(centres)):
        ball, radius = centres[row : row + 1], distances[row, 3:]
        point = surface[row : row + 1]
        both = [Balls(radius=radius, closed=closed) for closed in (True, False)]
        closed, opened = held(point, ball, around_columns=both)[0]
        assert (closed.balls.tolist(), opened.balls.tolist()) == ([1], [0])


def test_wrong_arguments_are_refused() -> None:
    points = some_rows(5)
    with pytest.raises(ValueError, match="k=6: choose from 1 to 5"):
        nearest(points, points, 6)
    with pytest.raises(ValueError, match="k=5: 5 points have 4 neighbours"):
        radii(points, 5)
    with pytest.raises(ValueError, match="cannot be compared"):
        nearest(points, some_rows(5, 3), 1)
    with pytest.raises(ValueError, match="4 radii for 5 balls"):
        held(points, points, [Balls(radius=radii(points, 1)[:4], closed=True)])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_finite_number_is_refused_on_either_side(value: float) -> None:
    points = some_rows(30)
    broken = points.copy()
    broken[21, 3] = value
    for queries, keys in ((points, broken), (broken, points)):
        with pytest.raises(InputError, match="no finite numbers"):
            nearest(queries, keys, 1, 8)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("num", [300, 1200])
def test_memory_is_that_of_blocks_whatever_the_number_of_rows(num: int) -> None:
    points, block = some_rows(num, 16), 64
    with Largest() as largest:  # type: ignore[no-untyped-call]
        balls = [Balls(radius=radii(points, 3, block), closed=True)]
        held(points, points, balls, balls, block)
    assert largest.elements == block * block
