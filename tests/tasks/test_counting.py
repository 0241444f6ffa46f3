"""Subsets are exact, proportional and nested, and have the shape that was asked for."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.counting import FACTORS, Imbalance, Profile, exact, rounded, shaped, share, subset
from tasks.specs import Counts

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


# Imbalance

PLENTY = (6000,) * 10
SHAPES = {name: Imbalance(profile=name, factor=factor) for name, factor in FACTORS.items()}
WORKED: dict[tuple[Profile, int], Counts] = {
    ("long_tail", 5000): (2016, 1208, 724, 434, 260, 156, 93, 56, 33, 20),
    ("long_tail", 1000): (404, 242, 145, 87, 52, 31, 18, 11, 6, 4),
    ("semi", 1000): (245, 189, 146, 113, 88, 68, 52, 40, 31, 24),
    ("step", 5000): (909,) * 5 + (90,) * 5,
    ("step", 1000): (182,) * 5 + (18,) * 5,
    ("balanced", 5000): (500,) * 10,
    ("balanced", 1009): (100,) * 10,
}
"""int(n_max * factor^(i / 9)) with factor^(1/9) = .59948 for .01 and .77426 for .1."""
IMBALANCES = st.builds(
    Imbalance,
    profile=st.sampled_from(sorted(FACTORS)),
    factor=st.sampled_from([1.0, 0.5, 0.3, 0.1, 0.05, 0.01, 0.001]),
)
CLASSES = st.lists(st.integers(0, 300), min_size=1, max_size=6)


@pytest.mark.parametrize(("name", "total"), WORKED)
def test_profiles_have_the_sizes_worked_out_by_hand(name: Profile, total: int) -> None:
    found = subset(PLENTY, imbalance=SHAPES[name], max_real=total)
    assert found == WORKED[name, total]


@pytest.mark.parametrize(("name", "total"), WORKED)
def test_the_largest_class_is_the_largest_that_fits(name: Profile, total: int) -> None:
    largest, shape = WORKED[name, total][0], SHAPES[name]
    more = [shape.count(label, 10, largest + 1) for label in range(10)]
    assert sum(WORKED[name, total]) <= total < sum(more)


def test_without_a_total_the_scarcest_class_decides() -> None:
    assert shaped((100, 100, 100), SHAPES["balanced"]) == (100, 100, 100)
    assert shaped((100, 30, 100), SHAPES["balanced"]) == (30, 30, 30)
    assert shaped((100, 31, 8), SHAPES["semi"]) == (89, 28, 8)
    assert shaped((50, 60, 70, 5, 70), SHAPES["step"]) == (50, 50, 50, 5, 5)


def test_whole_numbers_are_not_lost_to_rounding() -> None:
    """1000 * .01^(i / 2) is 1000, 100 and 10, on whichever side a machine's powers fall."""
    shape = Imbalance(profile="long_tail", factor=0.01)
    assert [shape.count(label, 3, 1000) for label in range(3)] == [1000, 100, 10]
    other = Imbalance(profile="long_tail", factor=0.001)
    assert [other.count(label, 4, 27000) for label in range(4)] == [27000, 2700, 270, 27]


def test_one_class_has_no_tail() -> None:
    assert subset((70,), imbalance=SHAPES["long_tail"], max_real=50) == (50,)


@pytest.mark.parametrize(
    ("name", "same"), [("semi", "long_tail"), ("balanced", "long_tail"), ("balanced", "step")]
)
def test_a_profile_is_another_with_its_factor(name: Profile, same: Profile) -> None:
    other = Imbalance(profile=same, factor=FACTORS[name])
    assert shaped(PLENTY, SHAPES[name], 3000) == shaped(PLENTY, other, 3000)


@settings(max_examples=80, deadline=None)
@given(CLASSES, IMBALANCES, st.integers(0, 900), st.integers(1, 60))
def test_a_profile_takes_no_more_than_there_is_and_nests(
    available: list[int], imbalance: Imbalance, total: int, more: int
) -> None:
    small = shaped(available, imbalance, total)
    assert all(taken <= there for taken, there in zip(small, available, strict=True))
    assert sum(small) <= total
    assert list(small) == sorted(small, reverse=True)
    large = shaped(available, imbalance, total + more)
    assert all(a <= b for a, b in zip(small, large, strict=True))
    assert small == tuple(imbalance.count(i, len(small), small[0]) for i in range(len(small)))


@settings(max_examples=80, deadline=None)
@given(CLASSES, st.none() | IMBALANCES, st.integers(1, 20), st.none() | st.integers(1, 400))
def test_fractions_of_a_profile_nest(
    available: list[int], imbalance: Imbalance | None, steps: int, most: int | None
) -> None:
    rows = [
        subset(available, fraction=(i + 1) / steps, imbalance=imbalance, max_real=most)
        for i in range(steps)
    ]
    for small, large in itertools.pairwise(rows):
        assert all(a <= b for a, b in zip(small, large, strict=True))


@settings(max_examples=80, deadline=None)
@given(CLASSES, IMBALANCES, st.integers(1, 300))
def test_a_cap_holds_for_the_largest_class(
    available: list[int], imbalance: Imbalance, per_class: int
) -> None:
    assert max(subset(available, per_class=per_class, imbalance=imbalance)) <= per_class
