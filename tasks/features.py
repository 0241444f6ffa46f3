"""Describes every image of a pack by an extractor, once for all measures, audits and filters."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks import plugins
from tasks.devices import is_out_of_memory
from tasks.errors import InputError
from tasks.extraction import Extracted, Extractor
from tasks.packs import Indices, Pack
from tasks.results import write_result
from tasks.specs import FeaturesSpec, Progress, Work

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 64
"""Images at once. A constant, as the last digits of features hang on it."""


def extract(spec: FeaturesSpec, pack: Path, fitted: Path | None, out: Path, device: str) -> Work:
    """Write what `spec.extractor` says of the images, a row each, in the order of the pack.

    - `features.npy`: float32, N × D.
    - `probabilities.npy`: float32, N × classes, from extractors that know the classes.
    - `result.json`: `stamp`, what the numbers depend on; `images`, `size` (D), `seconds`,
      `images_per_s`.

    Images that differ in shape are cut to the centre squares of the smallest side.

    Args:
        fitted: the folder of the `extractor` step, for extractors that need one.

    Raises InputError where the extractor's weights cannot be had, or there are no images.
    """
    images = Pack(pack)
    total = len(images)
    if not total:
        raise InputError("there are no images to describe: this set is empty")
    extractor: Extractor = plugins.build("extractors", spec.extractor, fitted, device)
    started = time.perf_counter()
    side = None if images.shape is not None else images.side
    features = _Rows(out / "features.npy", total)
    probabilities = _Rows(out / "probabilities.npy", total)
    for rows, found in described(extractor, lambda rows: images.batch(rows, side), total):
        features.write(rows, found.features)
        if found.probabilities is not None:
            probabilities.write(rows, found.probabilities)
        yield Progress(done=int(rows[-1]) + 1, total=total)
    features.close()
    probabilities.close()
    seconds = time.perf_counter() - started
    write_result(
        out,
        {
            "stamp": extractor.stamp,
            "images": total,
            "size": features.width,
            "seconds": seconds,
            "images_per_s": total / seconds,
        },
    )


def described(
    extractor: Extractor, read: "Callable[[Indices], Tensor]", num_images: int
) -> Iterator[tuple[Indices, Extracted]]:
    """Describe images batch by batch; batches are halved for as long as they do not fit the memory.

    Args:
        read: gives the images at some rows, uint8, N × C × H × W.

    Yields the rows of each batch, in order, and what the extractor says of them.
    """
    size, done = BATCH, 0
    while done < num_images:
        rows = np.arange(done, min(done + size, num_images), dtype=np.int64)
        try:
            found = extractor(read(rows))
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size = -(-size // 2)
            continue
        yield rows, found
        done += len(rows)


class _Rows:
    """A file of float32 rows, whose width the first of them say."""

    def __init__(self, path: Path, num_rows: int) -> None:
        self._path, self._num_rows = path, num_rows
        self._array: npt.NDArray[np.float32] | None = None
        self.width = 0

    def write(self, rows: Indices, values: npt.NDArray[np.float32]) -> None:
        if self._array is None:
            self.width = values.shape[1]
            self._array = np.lib.format.open_memmap(
                self._path, "w+", np.float32, (self._num_rows, self.width)
            )
        self._array[rows] = values

    def close(self) -> None:
        """Put everything into the file."""
        if isinstance(self._array, np.memmap):
            self._array.flush()
        self._array = None
