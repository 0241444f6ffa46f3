"""Top-5 accuracy: the share of images whose true class is among the five most probable."""

import numpy as np
from pydantic.dataclasses import dataclass

from tasks.predictions import Metric, Predictions, Score
from tasks.specs import STRICT

VERSION = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """There is nothing to choose."""


def build(config: Config) -> Metric:
    """Equally probable classes rank by index, the lower first; up to five classes give 1."""
    return _score


def _score(predictions: Predictions) -> Score:
    if not len(predictions.labels):
        return Score(value=None)
    # A stable sort of the negated values keeps equal ones in the order of their index.
    ranked = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :5]
    hits = (ranked == predictions.labels[:, None]).any(axis=1)
    return Score(value=float(np.mean(hits)))
