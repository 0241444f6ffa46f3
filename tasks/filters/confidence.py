"""Drops images that a classifier finds too easy, or takes for another class.

Dunlap et al., "Diversify your vision datasets with automatic diffusion-based augmentation" (ALIA,
arXiv 2305.16289, lisadunlap/ALIA): an image is dropped whose predicted class is the asked one with
a confidence above t (it adds nothing), or another one with a confidence above t (its label is
wrong), where t is the mean probability that real images of the predicted class get for their class
(cleanlab's `get_confident_thresholds`, which ALIA calls).

The classifier is fitted on the generator's own training images, which are those that t is taken on;
a threshold can be said instead.
"""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.extraction import Features
from tasks.filtering import Candidates, Filter, Mask, probabilities_of
from tasks.specs import STRICT

VERSION = 1
NAME = "confidence"


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is dropped."""

    too_easy: bool = True
    """Images of which the classifier is surer than it usually is of real ones."""
    mislabelled: bool = True
    """Images that the classifier surely takes for another class."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """t for all classes; None is each class's own, of real images."""

    def __post_init__(self) -> None:
        if not (self.too_easy or self.mislabelled):
            raise ValueError("too_easy and mislabelled are both false: nothing is left to drop")


class _Confidence:
    """A `tasks.filtering.Filter`."""

    def __init__(self, config: Config, num_classes: int) -> None:
        self._config = config
        self._thresholds = np.full(num_classes, config.threshold or 1.0)

    def learn(self, drawn: Candidates, real: Candidates) -> None:
        if self._config.threshold is None:
            probabilities = probabilities_of(real, NAME)
            self._thresholds = _self_confidence(probabilities, real.labels)

    def keep(self, candidates: Candidates) -> Mask:
        probabilities = probabilities_of(candidates, NAME)
        predicted = probabilities.argmax(1)
        sure = probabilities.max(1) > self._thresholds[predicted]
        right = predicted == candidates.labels
        dropped: Mask = sure & (
            (right & self._config.too_easy) | (~right & self._config.mislabelled)
        )
        return ~dropped


def _self_confidence(
    probabilities: Features, labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Mean probability of their own class, for each class; 1 for a class of no image."""
    num_classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, own, minlength=num_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), 1.0)


def needs(config: Config) -> tuple[str, ...]:
    """What a classifier gives each class."""
    return ("probabilities",)


def build(config: Config, classes: tuple[str, ...], device: str) -> Filter:
    """With a threshold for each class."""
    return _Confidence(config, len(classes))
