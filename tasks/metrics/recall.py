"""Recall: of the images of a class, the share that was taken for it."""

import numpy as np
from pydantic.dataclasses import dataclass

from tasks.metrics._per_class import macro
from tasks.predictions import Metric
from tasks.specs import STRICT

VERSION = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """There is nothing to choose."""


def build(config: Config) -> Metric:
    """Macro average over every class of the dataset; 0 for a class without a test image."""
    return macro(lambda matrix: (np.diagonal(matrix), matrix.sum(axis=1)))
