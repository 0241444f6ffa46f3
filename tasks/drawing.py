"""Which images each step of a training draws: a pure function of the step and the seed."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.packs import Indices
from tasks.specs import Stage

SWAPS = 1
"""Keeps the randomness of swaps apart from that of permutations, which has three numbers."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Draws rows of a list that holds the real images first and the synthetic ones behind them.

    Each stage goes through its own images in endless shuffled passes. A resumed training, or a
    process that prepares batches ahead, draws the same rows.
    """

    seed: int
    batch_size: int
    stages: tuple[Stage, ...]
    num_real: int
    labels: npt.NDArray[np.int64]
    """Of all rows."""
    synthetic_probability: float = 0.0
    """Chance that a drawn real image is swapped for a synthetic one of its class."""

    def rows(self, step: int) -> Indices:
        """The rows of step `step` (from 0)."""
        number, first, stage = self._stage(step)
        swaps = self.synthetic_probability > 0 and stage.real and stage.synthetic
        low = 0 if stage.real else self.num_real
        high = len(self.labels) if stage.synthetic and not swaps else self.num_real
        drawn = batch_rows(high - low, self.batch_size, step - first, (self.seed, number)) + low
        return self._swapped(drawn, step) if swaps else drawn

    def _stage(self, step: int) -> tuple[int, int, Stage]:
        """Number, first step, and the stage itself."""
        first = 0
        for number, stage in enumerate(self.stages):
            if step < first + stage.steps:
                return number, first, stage
            first += stage.steps
        raise AssertionError(f"step {step} is behind the last of {first}")

    def _swapped(self, rows: Indices, step: int) -> Indices:
        """DA-Fusion (Trabucco et al., arXiv:2302.07944), with the class for the source image."""
        random = np.random.default_rng(np.random.SeedSequence((self.seed, step, 0, SWAPS)))
        # Both are drawn for every image, so that a swap here moves no draw there.
        swap = random.random(len(rows)) < self.synthetic_probability
        picks = random.random(len(rows))
        starts, rows_by_class = self._synthetic
        out = rows.copy()
        for index in np.flatnonzero(swap):
            label = self.labels[rows[index]]
            low, high = starts[label], starts[label + 1]
            if high > low:
                out[index] = rows_by_class[low + int(picks[index] * (high - low))]
        return out

    @functools.cached_property
    def _synthetic(self) -> tuple[Indices, Indices]:
        """Where each class starts in the list of synthetic rows by class, and that list."""
        labels = self.labels[self.num_real :]
        rows = np.argsort(labels, kind="stable")
        # One more than there are classes, so that the last one ends somewhere.
        starts = np.searchsorted(labels[rows], np.arange(int(self.labels.max()) + 2))
        return starts.astype(np.int64), (rows + self.num_real).astype(np.int64)


def batch_rows(
    num_images: int, batch_size: int, step: int, seed: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Which images step `step` (from 0) draws: consecutive rows of endless shuffled passes."""
    start = step * batch_size
    drawn: list[Indices] = []
    missing = batch_size
    while missing:
        number, offset = divmod(start + batch_size - missing, num_images)
        drawn.append(_permutation(num_images, (*seed, number))[offset : offset + missing])
        missing -= len(drawn[-1])
    return np.concatenate(drawn)


@functools.lru_cache(maxsize=2)
def _permutation(num_images: int, seed: tuple[int, ...]) -> Indices:
    # SeedSequence keeps (seed, stage, pass) apart: (0, 0, 1) is not (1, 0, 0).
    return np.random.default_rng(np.random.SeedSequence(seed)).permutation(num_images)
