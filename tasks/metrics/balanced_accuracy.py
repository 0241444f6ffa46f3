"""Balanced accuracy: the average over classes of the share of their images taken for them."""

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
    """Average recall over the classes that have a test image, as scikit-learn has it."""
    return _score


def _score(predictions: Predictions) -> Score:
    if not len(predictions.labels):
        return Score(value=None)
    return Score(value=float(np.nanmean(recalls(predictions))))
