"""Accuracy on few-shot classes: those with fewer than 20 real training images."""

from pydantic.dataclasses import dataclass

from tasks.metrics._recall_by_class import by_shots
from tasks.predictions import Metric
from tasks.specs import STRICT

VERSION = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """There is nothing to choose."""


def build(config: Config) -> Metric:
    """Average recall over these classes (Liu et al., 1904.05160); None where there are none."""
    return by_shots(at_least=0, at_most=19)
