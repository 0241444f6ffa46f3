"""Images that nearly equal others, by features or by pixels, with thresholds from real images."""

import numpy as np

from tasks.copies import CopySearch, InMemory, Selected, everything
from tasks.extraction import Features
from tasks.filtering import Candidates, Mask, features_of
from tasks.neighbours import nearest
from tasks.packs import Pixels

BLOCK = 1024


class RepeatsInFeatures:
    """A `tasks.filtering.Filter`: near is nearer than real images are to the next of their kind."""

    def __init__(self, name: str, of_real: bool, of_kept: bool, quantile: float) -> None:
        self._name, self._of_real, self._of_kept = name, of_real, of_kept
        self._quantile = quantile
        self._threshold = 0.0
        self._real: Features = np.zeros((0, 0), np.float32)
        self._kept: list[Features] = []

    def learn(self, drawn: Candidates, real: Candidates) -> None:
        features = features_of(real, self._name)
        if len(features) > 1:
            # The nearest of an image is itself.
            others = nearest(features, features, 2)[0][:, 1]
            self._threshold = float(np.quantile(others, self._quantile))
        self._real = features

    def keep(self, candidates: Candidates) -> Mask:
        features = features_of(candidates, self._name)
        kept = np.ones(len(features), np.bool_)
        if self._of_real and len(self._real) and len(features):
            kept &= nearest(features, self._real, 1)[0][:, 0] > self._threshold
        if self._of_kept:
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


class RepeatsInPixels:
    """A `tasks.filtering.Filter`: near is what an audit calls a copy, judged by real images."""

    def __init__(self, of_real: bool, of_kept: bool) -> None:
        self._of_real, self._of_kept = of_real, of_kept
        self._real = InMemory(np.zeros((0, 1, 1, 1), np.uint8))
        self._before: list[Pixels] = []

    def learn(self, drawn: Candidates, real: Candidates) -> None:
        self._real = InMemory(real.pixels)

    def keep(self, candidates: Candidates) -> Mask:
        kept = np.ones(len(candidates), np.bool_)
        if not len(candidates) or not len(self._real):
            return kept
        if self._of_real:
            asked, real = everything(InMemory(candidates.pixels)), everything(self._real)
            kept[_copies(CopySearch(asked, real, real, thorough=True))] = False
        if self._of_kept:
            kept &= self._first_of_their_kind(candidates.pixels[kept], kept)
        return kept

    def _first_of_their_kind(self, pixels: Pixels, hopeful: Mask) -> Mask:
        """Which of these copy none before them; an image between two others may make them one."""
        num_before = sum(map(len, self._before))
        self._before.append(pixels)
        seen = everything(InMemory(np.concatenate(self._before)))
        asked = Selected(pack=seen.pack, rows=seen.rows[num_before:])
        usual = everything(self._real)
        copies = _copies(CopySearch(asked, seen, usual, thorough=True, earlier=True))
        kept = hopeful.copy()
        kept[np.flatnonzero(hopeful)[np.array(copies, np.int64) - num_before]] = False
        return kept


def _copies(search: CopySearch) -> list[int]:
    """The rows of those that copy another."""
    for _ in search.look():
        pass
    return sorted(search.found())
