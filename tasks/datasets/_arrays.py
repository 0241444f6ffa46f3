"""Datasets that are arrays of equal images with a label each: IDX files, CIFAR's batches."""

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.datasets._splits import Contents
from tasks.errors import InputError
from tasks.packs import Example
from tasks.reading import FileFacts


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """One split."""

    stored: npt.NDArray[np.uint8]
    """N × bytes of an image in the order of the file, which the hashes are of."""
    pixels: npt.NDArray[np.uint8]
    """N × H × W × C."""
    labels: npt.NDArray[np.int64]


class ArrayStore:
    """A `Store` of arrays; an image's source is its index, its sha256 that of its stored bytes."""

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        files: Sequence[Path],
        splits: Mapping[str, Callable[[], Arrays]],
    ) -> None:
        self._name, self._classes, self._files, self._splits = name, classes, files, splits

    def splits(self) -> Container[str]:
        return self._splits

    def files(self) -> Sequence[Path]:
        return self._files

    def contents(self, facts: FileFacts) -> Contents:
        rows = {
            split: [(e.label, e.source, e.sha256) for e in self.examples(split, None)]
            for split in self._splits
        }
        return Contents(classes=self._classes, rows=rows, skipped={})

    def examples(self, split: str, kept: Container[str] | None) -> Iterator[Example]:
        arrays = self._splits[split]()
        if len(arrays.pixels) != len(arrays.labels):
            raise InputError(
                f"{self._name}: {len(arrays.pixels)} {split} images but {len(arrays.labels)} "
                f"labels in {str(self._files[0].parent)!r}"
            )
        wrong = np.flatnonzero((arrays.labels < 0) | (arrays.labels >= len(self._classes)))
        if len(wrong):
            raise InputError(
                f"{self._name}: {split} label {wrong[0]} is {arrays.labels[wrong[0]]}; "
                f"0 to {len(self._classes) - 1} would do"
            )
        for index, label in enumerate(arrays.labels.tolist()):
            source = f"{index:05d}"
            if kept is None or source in kept:
                sha = hashlib.sha256(arrays.stored[index].tobytes()).hexdigest()
                pixels = arrays.pixels[index]
                yield Example(pixels=pixels, label=label, source=source, sha256=sha)
