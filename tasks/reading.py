"""What a dataset's file must offer, and the rules that all of them share."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from tasks.counting import share
from tasks.errors import InputError
from tasks.packs import Example
from tasks.specs import DatasetInfo

FileFacts = Callable[[Path, str, Callable[[Path], str]], str]
"""`facts(path, what, compute)`: what `compute(path)` says, remembered while the file stays."""

Row = tuple[int, str, str]
"""Label, source and sha256 of one image."""


class DataMissing(InputError):
    """The data is not where the study says; planning goes on with invented counts."""


class Reader(Protocol):
    """What `build` of a file in `tasks/datasets` returns."""

    def identify(self, facts: FileFacts) -> DatasetInfo:
        """Look at the data without decoding more than needed.

        Raises DataMissing where there is none, InputError where it cannot be used.
        """
        ...

    def read(self, split: str) -> Iterable[Example]:
        """Decode a split, in a fixed order."""
        ...

    def fetch(self) -> None:
        """Download what is missing, where the dataset is published for that; else do nothing."""
        ...


def unremembered(path: Path, what: str, compute: Callable[[Path], str]) -> str:
    """Facts of files where nothing is remembered."""
    return compute(path)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered(
    facts: FileFacts, files: Sequence[Path], what: str, compute: Callable[[], str]
) -> str:
    """What `compute()` says, remembered while `files` are the same and hold the same bytes."""
    sums = " ".join(f"{file} {facts(file, 'sha256', file_sha256)}" for file in files)
    stamp = hashlib.sha256(sums.encode()).hexdigest()
    return facts(files[0], f"{what} {stamp}", lambda _: compute())


def fixed_test(rows: Sequence[Row], num_classes: int, num_test: int) -> set[str]:
    """Choose the test images of a dataset that comes undivided: stratified, and the same for ever.

    Args:
        num_test: images in all, shared out in proportion to the classes.

    Returns the sources of the test images.
    """
    by_class: list[list[tuple[str, str]]] = [[] for _ in range(num_classes)]
    for label, source, sha in rows:
        by_class[label].append((hashlib.sha256(f"test, {sha}".encode()).hexdigest(), source))
    counts = share(num_test, [len(members) for members in by_class])
    return {
        source
        for members, count in zip(by_class, counts, strict=True)
        for _, source in sorted(members)[:count]
    }
