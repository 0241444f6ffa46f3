"""Subsets are exact, proportional and nested."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.counting import exact, rounded, share, subset

WEIGHTS = st.lists(st.integers(0, 12), min_size=1, max_size=5)


def dealt_singly(total: int, weights: list[int]) -> tuple[int, ...]:
    """Webster's method as the books write it: one seat at a time."""
    seats = [0] * len(weights)
    for _ in range(total):
        open_classes = [i for i, weight in enumerate(weights) if seats[i] < weight]
        best = max(open_classes, key=lambda i: (Fraction(weights[i], 2 * seats[i] + 1), -i))
        seats[best] += 1
    return tuple(seats)


@settings(max_examples=60, deadline=None)
@given(WEIGHTS)
def test_share_is_webster_and_nested_at_every_total(weights: list[int]) -> None:
    previous = tuple(0 for _ in weights)
    for total in range(sum(weights) + 1):
        seats = share(total, weights)
        assert seats == dealt_singly(total, weights)
        assert sum(seats) == total
        assert all(a <= b <= w for a, b, w in zip(previous, seats, weights, strict=True))
        previous = seats


def test_share_refuses_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="cannot share 5 among classes that hold 4"):
        share(5, [2, 2])


def test_a_fraction_is_the_decimal_that_was_written() -> None:
    assert int(0.29 * 100) == 28
    assert rounded(exact(0.29) * 100) == 29


def test_subset_applies_fraction_then_cap_then_bound() -> None:
    assert subset((100, 50)) == (100, 50)
    assert subset((100, 50), fraction=0.5) == (50, 25)
    assert subset((100, 50), fraction=0.5, per_class=30) == (30, 25)
    assert subset((100, 50), fraction=0.5, per_class=30, max_real=11) == (6, 5)
    assert subset((100, 50), max_real=1000) == (100, 50)


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(1, 20))
def test_smaller_fractions_lie_inside_larger_ones(weights: list[int], steps: int) -> None:
    rows = [subset(weights, fraction=(i + 1) / steps) for i in range(steps)]
    for small, large in itertools.pairwise(rows):
        assert all(a <= b for a, b in zip(small, large, strict=True))
