"""What a classifier said about a test set, the file of it, and what a metric makes of it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

Weights = Literal["selected", "last"]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One probability for each image and class, beside the true classes."""

    probabilities: NDArray[np.float32]
    """Images × classes. Only their order within a row is used by most metrics."""
    labels: NDArray[np.int64]
    """One an image, as an index into `classes`."""
    classes: tuple[str, ...]
    """Class names in label order."""
    training: tuple[int, ...] | None = None
    """Real training images of each class, where known; what makes a class many- or few-shot."""

    def __post_init__(self) -> None:
        expected = (len(self.labels), len(self.classes))
        if self.probabilities.shape != expected:
            raise ValueError(
                f"probabilities of shape {self.probabilities.shape} for {expected[0]} labels "
                f"and {expected[1]} classes: give one row an image and one column a class"
            )
        if not np.isfinite(self.probabilities).all():
            raise ValueError("probabilities hold NaN or infinity: the classifier diverged")
        if np.any((self.labels < 0) | (self.labels >= len(self.classes))):
            raise ValueError(
                f"labels run from {self.labels.min()} to {self.labels.max()}: "
                f"use 0 to {len(self.classes) - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a metric says of one test set. Scores are fractions, never percentages."""

    value: float | None
    """None where the metric has no single number, or the test set no image."""
    per_class: tuple[float, ...] | None = None
    """One value per class, in label order."""
    matrix: tuple[tuple[int, ...], ...] | None = None
    """Counts, rows true and columns predicted."""


Metric = Callable[[Predictions], Score]
"""What `build` of a file in `tasks/metrics/` returns."""


@dataclass(frozen=True, kw_only=True)
class StoredPredictions:
    """A prediction file: the labels once, and the probabilities of one or two sets of weights."""

    labels: NDArray[np.int64]
    selected: NDArray[np.float32]
    """By the weights that validation selected."""
    last: NDArray[np.float32] | None = None
    """By the weights of the last step, where they are others."""
    companion: NDArray[np.float32] | None = None
    """By a second classifier, where one was fitted beside the network."""

    def by(self, weights: Weights, classes: tuple[str, ...]) -> Predictions:
        """The predictions of one set of weights; `last` is `selected` where only that is stored."""
        last = self.selected if self.last is None else self.last
        chosen = self.selected if weights == "selected" else last
        return Predictions(probabilities=chosen, labels=self.labels, classes=classes)


def save_predictions(path: Path, predictions: StoredPredictions) -> None:
    """Write `path` (usually `predictions.npz`) aside, then rename it."""
    arrays: dict[str, NDArray[Any]] = {
        "labels": predictions.labels.astype(np.int64),
        "selected": predictions.selected.astype(np.float32),
    }
    if predictions.last is not None:
        arrays["last"] = predictions.last.astype(np.float32)
    if predictions.companion is not None:
        arrays["companion"] = predictions.companion.astype(np.float32)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    aside.replace(path)


def load_predictions(path: Path | BinaryIO) -> StoredPredictions:
    """Read what `save_predictions` wrote. Nothing in the file is executed."""
    with np.load(path, allow_pickle=False) as arrays:

        def optional(name: str) -> NDArray[np.float32] | None:
            return arrays[name].astype(np.float32) if name in arrays else None

        return StoredPredictions(
            labels=arrays["labels"].astype(np.int64),
            selected=arrays["selected"].astype(np.float32),
            last=optional("last"),
            companion=optional("companion"),
        )
