"""Scores by class from the confusion matrix, and their macro average."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.confusion import count
from tasks.predictions import Metric, Predictions, Score

Counts = NDArray[np.int64]


def macro(parts_and_wholes: Callable[[Counts], tuple[Counts, Counts]]) -> Metric:
    """Average part / whole over every class of the dataset; 0 for a class whose whole is 0.

    Args:
        parts_and_wholes: takes the confusion matrix (rows true, columns predicted) and returns
            both, one number a class.
    """

    def score(predictions: Predictions) -> Score:
        if not len(predictions.labels):
            return Score(value=None)
        parts, wholes = parts_and_wholes(count(predictions))
        zeros = np.zeros(len(parts), dtype=np.float64)
        per_class = np.divide(parts, wholes, where=wholes > 0, out=zeros)
        return Score(value=float(np.mean(per_class)), per_class=tuple(per_class.tolist()))

    return score
