"""Every filter keeps its contract, and each drops what its paper says."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from tasks import plugins
from tasks.errors import InputError
from tasks.filtering import Candidates, Filter, Mask
from tasks.filters import blank, bottom_fraction, confidence, near_duplicate
from tasks.specs import Plugin

FILTERS = plugins.names("filters")
CLASSES = ("a", "b")
Rows = npt.NDArray[np.float32]


def candidates(
    labels: list[int],
    probabilities: list[list[float]] | None = None,
    features: list[list[float]] | Rows | None = None,
    pixels: npt.NDArray[np.uint8] | None = None,
) -> Candidates:
    random = np.random.default_rng(0)
    return Candidates(
        pixels=random.integers(0, 256, (len(labels), 4, 4, 1), np.uint8)
        if pixels is None
        else pixels,
        labels=np.array(labels, np.int64),
        probabilities=None if probabilities is None else np.array(probabilities, np.float32),
        features=None if features is None else np.array(features, np.float32),
    )


def built(name: str, config: Any = None) -> Filter:
    chosen = plugins.plugin("filters", name, config)
    made: Filter = plugins.build("filters", chosen, CLASSES, "cpu")
    return made


def kept(found: Mask) -> list[bool]:
    return [bool(value) for value in found]


@pytest.mark.parametrize("name", FILTERS)
def test_files_state_settings_that_stand_on_their_own(name: str) -> None:
    module = plugins.module("filters", name)
    assert isinstance(module.VERSION, int)
    assert set(module.needs(module.Config())) <= {"features", "probabilities"}
    with pytest.raises(ValidationError, match="thershold"):
        plugins.adapter("filters", name).validate_json('{"thershold": 1}')


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "clip_score"])
def test_a_filter_says_of_each_image_whether_it_is_kept(name: str) -> None:
    labels = [0, 1] * 8
    random = np.random.default_rng(1)
    shown = random.dirichlet((1, 1), 16).tolist()
    some = candidates(labels, shown, random.standard_normal((16, 3)).astype(np.float32))
    answers = []
    for _ in range(2):
        each = built(name)
        each.learn(some, some)
        answers.append(each.keep(some))
    assert answers[0].dtype == np.bool_
    assert answers[0].shape == (16,)
    assert np.array_equal(answers[0], answers[1])


def test_blank_drops_black_and_flat_images() -> None:
    pixels = np.zeros((5, 4, 4, 3), np.uint8)
    pixels[1] = 200
    pixels[2] = (250, 0, 40)  # all of one colour, whose channels differ
    pixels[3, :2, :, 1] = 255
    pixels[4, 0, 0, 0] = 180  # one hot pixel is no picture, but it is not flat
    found = built("blank").keep(candidates([0] * 5, pixels=pixels))
    assert kept(found) == [False, False, False, True, True]
    strict = built("blank", blank.Config(min_std=50.0))
    assert kept(strict.keep(candidates([0] * 5, pixels=pixels))) == [False] * 3 + [True, False]


REAL = candidates([0, 0, 1, 1], [[0.95, 0.05], [0.45, 0.55], [0.4, 0.6], [0.2, 0.8]])
"""Class a has 0.7 in the mean of its images, one of which is taken for b, and class b 0.7."""
DRAWN = [[0.75, 0.25], [0.65, 0.35], [0.2, 0.8], [0.35, 0.65]]
"""Of class a: too easy, right, surely b, perhaps b."""


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (confidence.Config(), [False, True, False, True]),
        (confidence.Config(too_easy=False), [True, True, False, True]),
        (confidence.Config(mislabelled=False), [False, True, True, True]),
        (confidence.Config(threshold=0.6), [False, False, False, False]),
    ],
)
def test_confidence_drops_the_too_easy_and_the_mislabelled(
    config: confidence.Config, wanted: list[bool]
) -> None:
    drawn = candidates([0] * 4, DRAWN)
    each = built("confidence", config)
    each.learn(drawn, REAL)
    assert kept(each.keep(drawn)) == wanted


def test_nothing_is_surely_of_a_class_without_real_images() -> None:
    real = candidates([0, 0], [[0.9, 0.1], [0.7, 0.3]])
    each = built("confidence")
    each.learn(real, real)
    found = each.keep(candidates([0, 1, 0], [[0.0, 1.0], [0.0, 1.0], [0.85, 0.15]]))
    assert kept(found) == [True, True, False]


LINE = candidates([0] * 11, features=[[float(n)] for n in range(10)] + [[9.5]])
"""Real images one apart, but for two: at a quantile of 0.05 near is up to 0.5."""


def test_near_duplicates_of_real_and_of_kept_images_are_dropped() -> None:
    each = built("near_duplicate", near_duplicate.Config(by="features", quantile=0.05))
    drawn = candidates([0] * 6, features=[[0.4], [20.0], [20.3], [30.0], [3.6], [20.7]])
    each.learn(drawn, LINE)
    # The sixth is near the third, which was not kept, and not near the second.
    assert kept(each.keep(drawn)) == [False, True, False, True, False, True]
    # What was kept is remembered when others are drawn in place of the dropped.
    assert kept(each.keep(candidates([0, 0], features=[[30.2], [40.0]]))) == [False, True]


def test_near_duplicates_of_one_sort_may_stay() -> None:
    drawn = candidates([0] * 3, features=[[0.4], [20.0], [20.3]])
    for switched, wanted in (
        ({"of_kept": False}, [False, True, True]),
        ({"of_real": False}, [True, True, False]),
    ):
        config = near_duplicate.Config(by="features", quantile=0.05, **switched)
        each = built("near_duplicate", config)
        each.learn(drawn, LINE)
        assert kept(each.keep(drawn)) == wanted


@pytest.mark.parametrize("of_real", [False, True])
def test_the_first_of_their_kind_are_found_block_by_block(
    of_real: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.filters._repeats.BLOCK", 7)
    random = np.random.default_rng(0)
    real = random.standard_normal((30, 2)).astype(np.float32)
    each = built(
        "near_duplicate", near_duplicate.Config(by="features", of_real=of_real, quantile=0.3)
    )
    each.learn(candidates([0] * 30, features=real), candidates([0] * 30, features=real))
    apart = np.linalg.norm(real[:, None] - real[None], axis=2) + np.diag([np.inf] * 30)
    near = np.quantile(apart.min(1), 0.3)
    before = list(real) if of_real else []
    for num in (25, 0, 20):
        drawn = random.standard_normal((num, 2)).astype(np.float32)
        wanted = []
        for row in drawn:
            new = all(np.linalg.norm(row - other) > near for other in before)
            wanted.append(new)
            before += [row] if new else []
        assert kept(each.keep(candidates([0] * num, features=drawn))) == wanted


def digits(split: str) -> npt.NDArray[np.uint8]:
    reader = plugins.build("datasets", plugins.plugin("datasets", "digits"))
    return np.stack([example.pixels for example in reader.read(split)])


def test_copies_of_real_and_of_drawn_pictures_are_dropped_by_pixels() -> None:
    train, test = digits("train"), digits("test")
    each = built("near_duplicate")
    real = candidates([0] * len(train), pixels=train)
    each.learn(real, real)
    dark = np.rint(test[:30] * 0.8).astype(np.uint8)
    # Copies of training images, honest ones, and a copy of each of these, the last mirrored.
    drawn = np.concatenate([train[:10], train[20:25, :, ::-1], test[:30], test[3:4], dark[:2]])
    wanted = [False] * 15 + [True] * 30 + [False] * 3
    assert kept(each.keep(candidates([0] * len(drawn), pixels=drawn))) == wanted
    # They are remembered when others are drawn in place of the dropped.
    later = np.concatenate([test[29:28:-1, :, ::-1], test[40:45], test[41:42]])
    wanted = [False] + [True] * 5 + [False]
    assert kept(each.keep(candidates([0] * len(later), pixels=later))) == wanted


def test_copies_in_pixels_of_one_sort_may_stay() -> None:
    train, test = digits("train")[:200], digits("test")
    real = candidates([0] * len(train), pixels=train)
    drawn = candidates([0] * 3, pixels=np.stack([train[5], test[0], test[0]]))
    for config, wanted in (
        (near_duplicate.Config(of_kept=False), [False, True, True]),
        (near_duplicate.Config(of_real=False), [True, True, False]),
    ):
        each = built("near_duplicate", config)
        each.learn(drawn, real)
        assert kept(each.keep(drawn)) == wanted


def test_the_lowest_tenth_is_dropped_and_refills_meet_its_threshold() -> None:
    scores = [n / 20 for n in range(20)]
    drawn = candidates([0] * 20, [[score, 1 - score] for score in scores])
    each = built("bottom_fraction")
    each.learn(drawn, drawn)
    assert kept(each.keep(drawn)) == [False, False] + [True] * 18
    later = candidates([0, 0], [[0.09, 0.91], [0.1, 0.9]])
    assert kept(each.keep(later)) == [False, True]


def test_as_many_are_dropped_as_the_fraction_says() -> None:
    """In floating point 0.29 * 100 is less than 29, 0.07 * 100 more than 7."""
    drawn = candidates([0] * 100, [[n / 100, 1 - n / 100] for n in range(100)])
    for fraction, dropped in ((0.29, 29), (0.07, 7), (0.305, 30), (0.001, 0)):
        each = built("bottom_fraction", bottom_fraction.Config(fraction=fraction))
        each.learn(drawn, drawn)
        assert kept(each.keep(drawn)).count(False) == dropped


def test_the_lowest_are_those_of_their_class_or_of_the_set() -> None:
    drawn = candidates([0] * 4 + [1] * 4, [[0.1, 0.9]] + [[0.2, 0.8]] * 3 + [[0.1, 0.9]] * 4)
    of_class = built("bottom_fraction", bottom_fraction.Config(fraction=0.25))
    of_class.learn(drawn, drawn)
    assert kept(of_class.keep(drawn)) == [False] + [True] * 7
    of_set = built("bottom_fraction", bottom_fraction.Config(fraction=0.5, per_class=False))
    of_set.learn(drawn, drawn)
    assert kept(of_set.keep(drawn)) == [False] * 4 + [True] * 4


@pytest.mark.parametrize("name", ["confidence", "bottom_fraction"])
def test_extractors_that_know_no_classes_are_refused(name: str) -> None:
    blind = candidates([0, 1], features=[[0.0], [1.0]])
    with pytest.raises(InputError, match="extractor: classifier"):
        built(name).learn(blind, blind)


@pytest.mark.parametrize(
    "chosen",
    [
        plugins.plugin("filters", "clip_score"),
        plugins.plugin("filters", "bottom_fraction", bottom_fraction.Config(by="clip")),
    ],
    ids=lambda chosen: chosen.name,
)
def test_a_clip_is_not_asked_about_one_class_alone(chosen: Plugin) -> None:
    with pytest.raises(InputError, match="one class alone"):
        plugins.build("filters", chosen, ("a",), "cpu")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: confidence.Config(too_easy=False, mislabelled=False), "nothing is left to drop"),
        (lambda: near_duplicate.Config(of_real=False, of_kept=False), "nothing is left to drop"),
        (lambda: near_duplicate.Config(quantile=0.1), "belongs to `by: features`"),
        (lambda: bottom_fraction.Config(prompt="a {}"), "belong to `by: clip`"),
        (lambda: bottom_fraction.Config(by="clip", prompt="a thing"), "say once where"),
        (lambda: bottom_fraction.Config(by="clip", folder="x"), "filled in by planning"),
    ],
)
def test_impossible_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
