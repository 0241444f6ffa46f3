"""Every metric against scikit-learn or by hand, on random and on degenerate predictions."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as oracle

from tasks import plugins
from tasks.predictions import (
    Metric,
    Predictions,
    Score,
    StoredPredictions,
    load_predictions,
    save_predictions,
)

MACRO = {
    "precision": oracle.precision_score,
    "recall": oracle.recall_score,
    "f1": oracle.f1_score,
}
SHOTS = ("many_shot", "medium_shot", "few_shot")
"""What only predictions with counts of training images have a number for."""


def metric(name: str) -> Metric:
    built: Metric = plugins.build("metrics", plugins.plugin("metrics", name))
    return built


def predictions(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Predictions:
    names = tuple(f"class {index}" for index in range(probabilities.shape[1]))
    return Predictions(probabilities=probabilities, labels=labels, classes=names)


def drawn(seed: int, num_images: int, num_classes: int) -> Predictions:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(num_classes), num_images).astype(np.float32)
    return predictions(probabilities, rng.integers(0, num_classes, num_images))


def one_answer() -> Predictions:
    """Six classes, of which one is always predicted and two never occur."""
    probabilities = np.tile(np.array([0.1, 0.5, 0.1, 0.1, 0.1, 0.1], np.float32), (8, 1))
    return predictions(probabilities, np.array([0, 1, 1, 2, 3, 3, 3, 0]))


def perfect() -> Predictions:
    labels = np.arange(12) % 6
    return predictions(np.eye(6, dtype=np.float32)[labels], labels)


CASES = {
    "balanced": drawn(0, 300, 10),
    "binary": drawn(1, 50, 2),
    "more classes than images": drawn(2, 20, 60),
    "one image": drawn(3, 1, 7),
    "one answer": one_answer(),
    "perfect": perfect(),
}


@pytest.mark.parametrize("name", plugins.names("metrics"))
@pytest.mark.parametrize("case", CASES)
def test_every_metric_returns_plain_fractions(name: str, case: str) -> None:
    score = metric(name)(CASES[case])
    num_classes = len(CASES[case].classes)
    assert isinstance(score, Score)
    assert (score.value is None) == (score.matrix is not None or name in SHOTS)
    assert score.value is None or (type(score.value) is float and 0 <= score.value <= 1)
    assert score.per_class is None or (
        len(score.per_class) == num_classes and {type(v) for v in score.per_class} == {float}
    )


@pytest.mark.parametrize("name", plugins.names("metrics"))
def test_no_image_gives_no_number(name: str) -> None:
    nothing = predictions(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert metric(name)(nothing).value is None


@pytest.mark.parametrize("case", CASES)
def test_top1_and_confusion_are_those_of_scikit_learn(case: str) -> None:
    given = CASES[case]
    predicted = given.probabilities.argmax(axis=1)
    labels = np.arange(len(given.classes))
    assert metric("top1")(given).value == pytest.approx(
        oracle.accuracy_score(given.labels, predicted)
    )
    matrix = metric("confusion")(given).matrix
    assert np.array_equal(
        np.array(matrix), oracle.confusion_matrix(given.labels, predicted, labels=labels)
    )


@pytest.mark.parametrize("case", ["balanced", "more classes than images", "one image"])
def test_top5_is_that_of_scikit_learn(case: str) -> None:
    given = CASES[case]
    expected = oracle.top_k_accuracy_score(
        given.labels, given.probabilities, k=5, labels=np.arange(len(given.classes))
    )
    assert metric("top5")(given).value == pytest.approx(expected)


@pytest.mark.parametrize("name", MACRO)
@pytest.mark.parametrize("case", CASES)
def test_macro_scores_are_those_of_scikit_learn(name: str, case: str) -> None:
    given = CASES[case]
    score = metric(name)(given)
    arguments = {"labels": np.arange(len(given.classes)), "zero_division": 0}
    predicted = given.probabilities.argmax(axis=1)
    macro = MACRO[name](given.labels, predicted, average="macro", **arguments)
    each = MACRO[name](given.labels, predicted, average=None, **arguments)
    assert score.value == pytest.approx(macro)
    assert score.per_class == pytest.approx(tuple(each))


@pytest.mark.parametrize("case", CASES)
def test_balanced_accuracy_is_that_of_scikit_learn(case: str) -> None:
    given = CASES[case]
    with warnings.catch_warnings():
        # Of predicted classes that have no test image it says that they are left out.
        warnings.simplefilter("ignore")
        expected = oracle.balanced_accuracy_score(given.labels, given.probabilities.argmax(axis=1))
    assert metric("balanced_accuracy")(given).value == pytest.approx(expected)


@pytest.mark.parametrize("case", CASES)
def test_the_worst_class_is_the_lowest_recall_that_scikit_learn_finds(case: str) -> None:
    given = CASES[case]
    there = np.unique(given.labels)
    each = oracle.recall_score(
        given.labels, given.probabilities.argmax(axis=1), average=None, labels=there
    )
    assert metric("worst_class")(given).value == pytest.approx(min(each))


def long_tailed() -> Predictions:
    """Recalls 1, 1/2, 0, 1 and none, of classes with 101, 100, 20, 19 and 500 training images."""
    labels = np.array([0, 0, 1, 1, 2, 3])
    predicted = np.array([0, 0, 1, 0, 0, 3])
    given = predictions(np.eye(5, dtype=np.float32)[predicted], labels)
    return replace(given, training=(101, 100, 20, 19, 500))


@pytest.mark.parametrize(
    ("name", "expected"), [("many_shot", 1.0), ("medium_shot", 0.25), ("few_shot", 1.0)]
)
def test_shots_average_over_the_classes_with_so_many_training_images(
    name: str, expected: float
) -> None:
    assert metric(name)(long_tailed()).value == expected


@pytest.mark.parametrize("name", SHOTS)
def test_without_such_a_class_there_is_no_number(name: str) -> None:
    given = long_tailed()
    others = {"many_shot": 100, "medium_shot": 19, "few_shot": 20}
    assert metric(name)(replace(given, training=(others[name],) * 5)).value is None
    assert metric(name)(replace(given, training=None)).value is None


def test_ece_by_hand() -> None:
    """Bin (.4, .467]: one hit, confidence .46. Bin (.933, 1]: one hit of two, at .95 and 1."""
    given = np.array([[0.46, 0.3, 0.24], [0.95, 0.05, 0], [0, 0, 1]], np.float32)
    found = metric("ece")(predictions(given, np.array([0, 1, 2]))).value
    assert found == pytest.approx((abs(1 - 0.46) + abs(1 - 0.95 - 1)) / 3, abs=1e-6)


def test_ece_of_two_bins_closes_them_on_the_right() -> None:
    built: Metric = plugins.build(
        "metrics", plugins.plugin("metrics", "ece", plugins.module("metrics", "ece").Config(bins=2))
    )
    given = np.array([[0.5, 0.5], [0.75, 0.25]], np.float32)
    apart = built(predictions(given, np.array([0, 1]))).value
    # .5 is of the lower bin: together they would say |1 - .5 - .75| / 2.
    assert apart == pytest.approx((0.5 + 0.75) / 2)


@pytest.mark.parametrize("bins", [1, 15])
def test_ece_is_zero_where_confidence_is_accuracy(bins: int) -> None:
    config = plugins.module("metrics", "ece").Config(bins=bins)
    built: Metric = plugins.build("metrics", plugins.plugin("metrics", "ece", config))
    given = predictions(np.tile(np.array([0.75, 0.25], np.float32), (4, 1)), np.array([0, 0, 0, 1]))
    assert built(given).value == 0


def test_only_ece_is_better_where_it_is_lower() -> None:
    lower = [
        name
        for name in plugins.names("metrics")
        if not getattr(plugins.module("metrics", name), "HIGHER_IS_BETTER", True)
    ]
    assert lower == ["ece"]


def test_ties_go_to_the_lower_class_index() -> None:
    flat = predictions(np.full((7, 7), 1 / 7, np.float32), np.arange(7))
    assert metric("top1")(flat).value == pytest.approx(1 / 7)
    assert metric("top5")(flat).value == pytest.approx(5 / 7)
    matrix = metric("confusion")(flat).matrix
    assert matrix is not None
    assert [row[0] for row in matrix] == [1] * 7


@pytest.mark.parametrize("num_classes", [2, 4, 5])
def test_top5_of_up_to_five_classes_is_one(num_classes: int) -> None:
    assert metric("top5")(drawn(4, 30, num_classes)).value == 1.0


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.zeros((3, 2), np.float32), [0, 1], "shape"),
        (np.zeros((2, 2), np.float32), [0, 2], "labels run from 0 to 2: use 0 to 1"),
        (np.zeros((2, 2), np.float32), [-1, 0], "labels run from -1"),
        (np.full((2, 2), np.nan, np.float32), [0, 1], "NaN"),
    ],
)
def test_predictions_that_cannot_be_are_refused(
    probabilities: NDArray[np.float32], labels: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        predictions(probabilities, np.array(labels))


def test_a_file_holds_what_was_saved_and_its_bytes_do_not_change(tmp_path: Path) -> None:
    given = CASES["balanced"]
    stored = StoredPredictions(
        labels=given.labels, selected=given.probabilities, last=given.probabilities[::-1]
    )
    first, second = tmp_path / "predictions.npz", tmp_path / "again.npz"
    save_predictions(first, stored)
    save_predictions(second, load_predictions(first))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "predictions.npz"]
    loaded = load_predictions(first)
    assert np.array_equal(loaded.by("selected", given.classes).probabilities, given.probabilities)
    assert np.array_equal(loaded.by("last", given.classes).probabilities, given.probabilities[::-1])


def test_where_only_the_selected_are_stored_they_are_the_last(tmp_path: Path) -> None:
    given = CASES["perfect"]
    path = tmp_path / "predictions.npz"
    save_predictions(path, StoredPredictions(labels=given.labels, selected=given.probabilities))
    loaded = load_predictions(path)
    assert loaded.last is None
    assert np.array_equal(loaded.by("last", given.classes).probabilities, given.probabilities)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    np.savez(path, labels=np.array([{}], dtype=object), selected=np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_predictions(path)
