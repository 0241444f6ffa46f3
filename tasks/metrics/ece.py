"""Expected calibration error: how far confidence lies from accuracy. Lower is better."""

from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.predictions import Metric, Predictions, Score
from tasks.specs import STRICT

VERSION = 1
HIGHER_IS_BETTER = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How finely confidence is divided."""

    bins: Annotated[int, Field(ge=1, le=1000)] = 15
    """Of equal width over 0..1."""


def build(config: Config) -> Metric:
    """Guo et al., "On calibration of modern neural networks" (1706.04599, eq. 3).

    Images are binned by the probability of their most probable class, bin m of M holding those in
    ((m - 1) / M, m / M]; the distances between a bin's accuracy and its mean confidence are
    averaged, each weighted by its images.
    """

    def score(predictions: Predictions) -> Score:
        num_images = len(predictions.labels)
        if not num_images:
            return Score(value=None)
        confidence = predictions.probabilities.max(axis=1).astype(np.float64)
        hits = predictions.probabilities.argmax(axis=1) == predictions.labels
        edges = np.linspace(0, 1, config.bins + 1)[1:-1]
        # Right-closed bins; float32 softmax may end a little above 1, in the last bin.
        places = np.digitize(confidence, edges, right=True)
        gaps = np.bincount(places, hits - confidence, minlength=config.bins)
        return Score(value=float(np.abs(gaps).sum() / num_images))

    return score
