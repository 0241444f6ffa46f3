"""What a step draws is a function of the step and the seed, and every pass has every image once."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.drawing import Draw, batch_rows
from tasks.specs import Stage

NUM_REAL, NUM_ALL = 10, 16
LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, *(0, 2, 0, 2, 2, 0)], np.int64)
"""Ten real images, then six synthetic ones; none of class 1."""


def draw(*stages: Stage, **changes: Any) -> Draw:
    plain = Draw(
        seed=0,
        batch_size=4,
        stages=stages or (Stage(steps=3000, real=True, synthetic=True),),
        num_real=NUM_REAL,
        labels=LABELS,
    )
    return replace(plain, **changes)


def drawn(source: Draw, start: int, stop: int) -> list[int]:
    return [int(row) for step in range(start, stop) for row in source.rows(step)]


# Passes


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 5))
def test_every_pass_has_every_image_once(num_images: int, batch_size: int, seed: int) -> None:
    steps = -(-3 * num_images // batch_size)
    rows = np.concatenate([batch_rows(num_images, batch_size, s, (seed,)) for s in range(steps)])
    for number in range(3):
        one = rows[number * num_images : (number + 1) * num_images]
        assert sorted(one.tolist()) == list(range(num_images))


def test_passes_and_seeds_are_shuffled_anew() -> None:
    passes = {tuple(batch_rows(12, 12, step, (seed,))) for step in range(3) for seed in range(3)}
    assert len(passes) == 9


def test_batches_have_their_size_whatever_there_is() -> None:
    assert [len(batch_rows(3, 8, step, (0,))) for step in range(4)] == [8] * 4


def test_a_resumed_training_draws_the_same() -> None:
    for probability in (0.0, 0.5):
        whole = drawn(draw(synthetic_probability=probability), 0, 20)
        again = draw(synthetic_probability=probability)
        assert drawn(again, 13, 20) == whole[13 * 4 :]
        assert drawn(again, 0, 13) == whole[: 13 * 4]


# Stages

STAGES = (
    Stage(steps=5, real=False, synthetic=True),
    Stage(steps=6, real=True, synthetic=True),
    Stage(steps=7, real=True, synthetic=False),
)


def test_a_stage_draws_its_own_images_alone() -> None:
    source = draw(*STAGES)
    assert set(drawn(source, 0, 5)) == set(range(NUM_REAL, NUM_ALL))
    assert set(drawn(source, 5, 11)) == set(range(NUM_ALL))
    assert set(drawn(source, 11, 18)) == set(range(NUM_REAL))


def test_each_stage_begins_a_pass() -> None:
    source = draw(*STAGES)
    assert sorted(drawn(source, 5, 9)) == list(range(NUM_ALL))
    first = Counter(drawn(source, 11, 16))
    assert first == dict.fromkeys(range(NUM_REAL), 2)


def test_equal_stages_draw_in_other_orders() -> None:
    twice = draw(*[Stage(steps=4, real=True, synthetic=True)] * 2)
    assert drawn(twice, 0, 4) != drawn(twice, 4, 8)


def test_behind_the_last_stage_there_is_nothing() -> None:
    with pytest.raises(AssertionError, match="step 18 is behind the last of 18"):
        draw(*STAGES).rows(18)


# Swapping


def test_nothing_is_swapped_at_probability_0() -> None:
    mixed = draw(synthetic_probability=0.0)
    assert sorted(drawn(mixed, 0, 4)) == list(range(NUM_ALL))


def test_all_that_can_be_is_swapped_at_probability_1() -> None:
    rows = drawn(draw(synthetic_probability=1.0), 0, 50)
    assert {int(LABELS[row]) for row in rows if row < NUM_REAL} == {1}
    assert {row for row in rows if row >= NUM_REAL} == set(range(NUM_REAL, NUM_ALL))


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_a_swap_stays_in_the_class(probability: float) -> None:
    plain = drawn(draw(Stage(steps=50, real=True, synthetic=False)), 0, 50)
    swapped = drawn(draw(synthetic_probability=probability), 0, 50)
    assert [LABELS[row] for row in plain] == [LABELS[row] for row in swapped]
    assert all(a == b or b >= NUM_REAL for a, b in zip(plain, swapped, strict=True))


def test_as_many_are_swapped_as_the_probability_says() -> None:
    rows = [row for row in drawn(draw(synthetic_probability=0.3), 0, 3000) if LABELS[row] != 1]
    share = np.mean([row >= NUM_REAL for row in rows])
    # Four standard deviations of a mean over 8,400 draws.
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / len(rows)) ** 0.5


def test_a_stage_of_one_kind_swaps_nothing() -> None:
    source = draw(*STAGES, synthetic_probability=1.0)
    assert set(drawn(source, 0, 5)) == set(range(NUM_REAL, NUM_ALL))
    assert max(drawn(source, 11, 18)) < NUM_REAL
    # In between, a pass goes through the real images only.
    assert len(drawn(source, 5, 11)) == 24
    assert min(drawn(replace(source, synthetic_probability=0.5), 5, 11)) < NUM_REAL


def test_a_swap_moves_no_other_draw() -> None:
    """At a higher probability the same images are swapped, and some more."""
    few, many = (drawn(draw(synthetic_probability=p), 0, 60) for p in (0.2, 0.6))
    assert all(a == b for a, b in zip(few, many, strict=True) if a >= NUM_REAL)
    assert sum(row >= NUM_REAL for row in few) < sum(row >= NUM_REAL for row in many)
