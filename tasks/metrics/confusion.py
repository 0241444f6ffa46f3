"""The confusion matrix: how many images of each class were taken for which."""

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from tasks.predictions import Metric, Predictions, Score
from tasks.specs import STRICT

VERSION = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """There is nothing to choose."""


def count(predictions: Predictions) -> NDArray[np.int64]:
    """Count images by true class (rows) and most probable class (columns).

    Of equally probable classes the one with the lower index is predicted.
    """
    num_classes = len(predictions.classes)
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    if len(predictions.labels):
        np.add.at(matrix, (predictions.labels, predictions.probabilities.argmax(axis=1)), 1)
    return matrix


def build(config: Config) -> Metric:
    """A matrix and no single number."""
    return lambda predictions: Score(
        value=None, matrix=tuple(tuple(row) for row in count(predictions).tolist())
    )
