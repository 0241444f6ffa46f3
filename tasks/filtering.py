"""What a filter must do: say which images of a synthetic set are kept.

A file of `tasks/filters/` holds

- `VERSION`, an integer that is raised when results change;
- `Config`, frozen and strict;
- `needs(config)`: which of `features` and `probabilities` of an extractor it looks at;
- `build(config, classes, device)`, which returns a Filter.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tasks.errors import InputError
from tasks.extraction import Features
from tasks.packs import Pixels

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Images that a filter is asked about, or the real ones that it may compare them with."""

    pixels: Pixels
    """N × H × W × C."""
    labels: npt.NDArray[np.int64]
    features: Features | None = None
    probabilities: Features | None = None
    """N × classes, in label order."""

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, mask: Mask) -> "Candidates":
        """Those of them that `mask` names."""
        return Candidates(
            pixels=self.pixels[mask],
            labels=self.labels[mask],
            features=None if self.features is None else self.features[mask],
            probabilities=None if self.probabilities is None else self.probabilities[mask],
        )


def probabilities_of(candidates: Candidates, name: str) -> Features:
    """What an extractor gives each class.

    Raises InputError, naming the filter, where the extractor does not know the classes.
    """
    if candidates.probabilities is None:
        raise InputError(
            f"filter {name} looks at class probabilities, which this extractor does not give: use "
            "extractor: classifier"
        )
    return candidates.probabilities


def features_of(candidates: Candidates, name: str) -> Features:
    """What an extractor says of each image; `name` is the filter that asks."""
    assert candidates.features is not None, f"{name} says that it needs features"
    return candidates.features


class Filter(Protocol):
    """Keeps or drops images; thresholds are learnt once, so that refills meet the same ones."""

    def learn(self, drawn: Candidates, real: Candidates) -> None:
        """Take thresholds from all images that were drawn first, before any filter, and from the
        real training images that the generator was fitted on."""
        ...

    def keep(self, candidates: Candidates) -> Mask:
        """Which of them are kept. Each image is asked about once, in the order of the set, and one
        that this keeps may still be dropped by a later filter."""
        ...
