"""F1: the harmonic mean of precision and recall."""

import numpy as np
from pydantic.dataclasses import dataclass

from tasks.metrics.confusion import count
from tasks.predictions import Metric, Predictions, Score
from tasks.specs import STRICT

VERSION = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """There is nothing to choose."""


def build(config: Config) -> Metric:
    """Macro average over every class of the dataset; 0 for one neither present nor predicted."""
    return _score


def _score(predictions: Predictions) -> Score:
    if not len(predictions.labels):
        return Score(value=None)
    matrix = count(predictions)
    hits = np.diagonal(matrix).astype(np.float64)
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    per_class = np.divide(2 * hits, both, where=both > 0, out=np.zeros_like(hits))
    return Score(value=float(np.mean(per_class)), per_class=tuple(per_class.tolist()))
