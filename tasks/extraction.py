"""What an extractor must do: describe images by the numbers that measures and filters compare.

A file of `tasks/extractors/` holds

- `VERSION`, an integer that is raised when results change;
- `NEEDS_FIT`: whether `build` is given the folder of an `extractor` step, a small classifier that
  was fitted on the study's own training images;
- `Config`, frozen and strict: the weights by name, or by local folder or file;
- `build(config, fitted, device)`, which returns an Extractor, or raises InputError with one line
  where weights cannot be had.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Features = npt.NDArray[np.float32]
"""Images × numbers of each."""


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What an extractor says of a batch of images."""

    features: Features
    probabilities: Features | None
    """Images × classes in label order, where the extractor knows the classes of the dataset."""


class Extractor(Protocol):
    """Describes images."""

    stamp: dict[str, str]
    """What its numbers depend on, such as `extractor`, `weights`, `resize`, `size`, `dtype`:
    figures with different stamps cannot be compared."""

    def __call__(self, images: "Tensor") -> Extracted:
        """Describe uint8 images, N × C × H × W, grey or colour, of any one size."""
        ...


@dataclass(frozen=True, kw_only=True)
class PackFeatures:
    """What a `features` step wrote: one row an image, in the order of the pack."""

    features: Features
    probabilities: Features | None
    stamp: dict[str, str]


def load_features(folder: Path) -> PackFeatures:
    """Open what a `features` step wrote; arrays stay mapped."""
    from tasks.results import read_result

    probabilities = folder / "probabilities.npy"
    return PackFeatures(
        features=np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False),
        probabilities=np.load(probabilities, mmap_mode="r", allow_pickle=False)
        if probabilities.exists()
        else None,
        stamp=read_result(folder)["stamp"],
    )
