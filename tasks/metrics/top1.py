"""Top-1 accuracy: the share of images whose most probable class is the true one."""

import numpy as np
from pydantic.dataclasses import dataclass

from tasks.predictions import Metric, Predictions, Score
from tasks.specs import STRICT

VERSION = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """There is nothing to choose."""


def build(config: Config) -> Metric:
    """Of equally probable classes the one with the lower index is predicted."""
    return _score


def _score(predictions: Predictions) -> Score:
    if not len(predictions.labels):
        return Score(value=None)
    hits = predictions.probabilities.argmax(axis=1) == predictions.labels
    return Score(value=float(np.mean(hits)))
