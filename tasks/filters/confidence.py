"""Drops images that a classifier finds too easy, or takes for another class.

Dunlap et al., "Diversify your vision datasets with automatic diffusion-based augmentation" (ALIA,
arXiv 2305.16289, lisadunlap/ALIA): an image is dropped whose predicted class is the asked one with
a confidence above t (it adds nothing), or another one with a confidence above t (its label is
wrong), where t is the mean confidence of real images of the predicted class.

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
    """t for all classes; None is the mean confidence of each class."""

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
            self._thresholds = _mean_confidence(probabilities, len(self._thresholds))

    def keep(self, candidates: Candidates) -> Mask:
        probabilities = probabilities_of(candidates, NAME)
        predicted = probabilities.argmax(1)
        sure = probabilities.max(1) > self._thresholds[predicted]
        right = predicted == candidates.labels
        dropped: Mask = sure & (
            (right & self._config.too_easy) | (~right & self._config.mislabelled)
        )
        return ~dropped


def _mean_confidence(probabilities: Features, num_classes: int) -> npt.NDArray[np.float64]:
    """Of the images predicted as each class; of all images for a class that none is taken for."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1).astype(np.float64)
    counts = np.bincount(predicted, minlength=num_classes)
    sums = np.bincount(predicted, confidence, minlength=num_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), confidence.mean())


def needs(config: Config) -> tuple[str, ...]:
    """What a classifier gives each class."""
    return ("probabilities",)


def build(config: Config, classes: tuple[str, ...], device: str) -> Filter:
    """With a threshold for each class."""
    return _Confidence(config, len(classes))
