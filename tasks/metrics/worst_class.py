"""Worst-class accuracy: the recall of the class that is recognised least."""

import numpy as np
from pydantic.dataclasses import dataclass

from tasks.metrics._recall_by_class import recalls
from tasks.predictions import Metric, Predictions, Score
from tasks.specs import STRICT

VERSION = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """There is nothing to choose."""


def build(config: Config) -> Metric:
    """The lowest recall of a class that has a test image."""
    return _score


def _score(predictions: Predictions) -> Score:
    if not len(predictions.labels):
        return Score(value=None)
    return Score(value=float(np.nanmin(recalls(predictions))))
