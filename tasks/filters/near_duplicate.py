"""Drops images that nearly equal one that was kept before, or a real training image.

Near is judged by the features of an extractor: nearer than all but a small share of the real
training images are to the next of their kind. Removing near-duplicates is usual for real data (for
text: Lee et al., "Deduplicating training data makes language models better", arXiv 2107.06499); of
a generator it removes what it memorised, and what it makes over and over.
"""

from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.extraction import Features
from tasks.filtering import Candidates, Filter, Mask, features_of
from tasks.neighbours import nearest
from tasks.specs import STRICT

VERSION = 1
NAME = "near_duplicate"
BLOCK = 1024


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What counts as near, and of what."""

    of_real: bool = True
    """Of the training images that the generator saw."""
    of_kept: bool = True
    """Of the images of the set that were kept before."""
    quantile: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share of real images that lie nearer than the threshold to another real image."""

    def __post_init__(self) -> None:
        if not (self.of_real or self.of_kept):
            raise ValueError("of_real and of_kept are both false: nothing is left to drop")


class _NearDuplicate:
    """A `tasks.filtering.Filter`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._threshold = 0.0
        self._real: Features = np.zeros((0, 0), np.float32)
        self._kept: list[Features] = []

    def learn(self, drawn: Candidates, real: Candidates) -> None:
        features = features_of(real, NAME)
        if len(features) > 1:
            # The nearest of an image is itself.
            others = nearest(features, features, 2)[0][:, 1]
            self._threshold = float(np.quantile(others, self._config.quantile))
        self._real = features

    def keep(self, candidates: Candidates) -> Mask:
        features = features_of(candidates, NAME)
        kept = np.ones(len(features), np.bool_)
        if self._config.of_real and len(self._real) and len(features):
            kept &= nearest(features, self._real, 1)[0][:, 0] > self._threshold
        if self._config.of_kept:
            for start in range(0, len(features), BLOCK):
                block = slice(start, start + BLOCK)
                kept[block] = self._first_of_their_kind(features[block], kept[block])
        return kept

    def _first_of_their_kind(self, features: Features, hopeful: Mask) -> Mask:
        """Which of these are near none that was kept before them; those are kept from now on."""
        kept = hopeful.copy()
        for before in self._kept:
            if kept.any():
                near = nearest(features[kept], before, 1)[0][:, 0] <= self._threshold
                kept[np.flatnonzero(kept)[near]] = False
        for row in np.flatnonzero(kept):
            if kept[row]:
                later = np.flatnonzero(kept[row + 1 :]) + row + 1
                distances = np.linalg.norm(
                    features[later].astype(np.float64) - features[row], axis=1
                )
                kept[later[distances <= self._threshold]] = False
        if kept.any():
            self._kept.append(features[kept])
        return kept


def needs(config: Config) -> tuple[str, ...]:
    """What an extractor says of images."""
    return ("features",)


def build(config: Config, classes: tuple[str, ...], device: str) -> Filter:
    """The same for all classes: a copy is one, whatever it is called."""
    return _NearDuplicate(config)
