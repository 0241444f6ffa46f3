"""Recall of the classes that a test set holds, for the metrics that look at some of them."""

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.confusion import count
from tasks.predictions import Metric, Predictions, Score


def recalls(predictions: Predictions) -> NDArray[np.float64]:
    """One value a class; NaN for a class without a test image."""
    matrix = count(predictions)
    wholes = matrix.sum(axis=1)
    found = np.full(len(matrix), np.nan)
    np.divide(np.diagonal(matrix), wholes, where=wholes > 0, out=found)
    return found


def by_shots(at_least: int, at_most: float) -> Metric:
    """Average recall over the classes that have so many real training images.

    None where the training images are not known, or there is no such class with a test image.
    Liu et al., "Large-scale long-tailed recognition in an open world" (1904.05160, section 5.1):
    many-shot classes have over 100 training images, few-shot ones under 20, medium-shot ones 20 to
    100; as in their code, classes are averaged, which on a balanced test set is the accuracy.
    """

    def score(predictions: Predictions) -> Score:
        if predictions.training is None:
            return Score(value=None)
        training = np.array(predictions.training)
        found = recalls(predictions)
        chosen = found[(training >= at_least) & (training <= at_most) & ~np.isnan(found)]
        return Score(value=float(np.mean(chosen)) if len(chosen) else None)

    return score
