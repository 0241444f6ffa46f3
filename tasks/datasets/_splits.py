"""From what a dataset holds to the splits that a study sees; a missing test split is made here."""

import functools
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter

from tasks.errors import InputError
from tasks.packs import Example, split_digest
from tasks.reading import FileFacts, Row, fixed_test, remembered, unremembered
from tasks.specs import DatasetInfo, SplitInfo

SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
"""How splits are spelt where datasets name them -> what they are called here."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a store holds, without its pixels."""

    classes: tuple[str, ...]
    """In label order."""
    rows: Mapping[str, Sequence[Row]]
    """Of each split that is stored, in reading order: `train`, and perhaps `val` and `test`."""
    skipped: Mapping[str, tuple[str, ...]]
    """Sources of each split that cannot be read and are left out."""
    outside: bool = False
    """Files that `Store.files` does not list take part."""


class Store(Protocol):
    """One physical form of a dataset: image files, tables, arrays."""

    def splits(self) -> Container[str]:
        """The splits that are stored: `train`, and perhaps `val` and `test`."""
        ...

    def files(self) -> Sequence[Path]:
        """The files that decide all contents; none where each image has its own."""
        ...

    def contents(self, facts: FileFacts) -> Contents:
        """List and hash every image, and decode those that must be tried."""
        ...

    def examples(self, split: str, kept: Container[str] | None) -> Iterator[Example]:
        """Decode a stored split in its order, or the sources of it that are `kept`."""
        ...


def nothing_to_fetch() -> None:
    """The data is the user's own."""


@dataclass(frozen=True, kw_only=True)
class SplitReader:
    """A `tasks.reading.Reader` of any store."""

    name: str
    version: int
    settings: tuple[object, ...] = ()
    """What decides the contents beside the files; it is part of what is remembered of them."""
    opened: Callable[[], Store]
    """Raises DataMissing where there is nothing to open."""
    test_fraction: float = 0.2
    """Of a dataset that is stored without a test split."""
    image_bytes: int = 0
    offers_all: bool = False
    """Offer `all` beside a stored test split too, as another name of `train`."""
    fetched: Callable[[], None] = nothing_to_fetch

    def identify(self, facts: FileFacts) -> DatasetInfo:
        store = self.opened()
        if files := store.files():
            what = f"{self.name} {self.version} {self.settings}"
            text = remembered(facts, files, what, lambda: self._text(store.contents(unremembered)))
            if text:
                found: DatasetInfo = _as_json().validate_json(text)
                return found
        return self._info(store.contents(facts))

    def read(self, split: str) -> Iterator[Example]:
        store = self.opened()
        kept: Container[str] | None = None
        if "test" not in store.splits() and split in ("train", "test"):
            contents = store.contents(unremembered)
            kept = {source for _, source, _ in self._divided(contents)[split]}
        stored = "train" if split == "all" or kept is not None else split
        yield from store.examples(stored, kept)

    def fetch(self) -> None:
        self.fetched()

    def _text(self, contents: Contents) -> str:
        """Empty where other files than the store's take part: their facts are their own."""
        return "" if contents.outside else _as_json().dump_json(self._info(contents)).decode()

    def _info(self, contents: Contents) -> DatasetInfo:
        _check_classes(self.name, contents)
        undivided = "test" not in contents.rows
        parts = dict(contents.rows)
        skipped = dict(contents.skipped)
        if undivided:
            parts = {"all": parts["train"], **parts, **self._divided(contents)}
            skipped["all"] = skipped.get("train", ())
        elif self.offers_all:
            parts["all"], skipped["all"] = parts["train"], skipped.get("train", ())
        splits = {
            name: _split_info(rows, contents.classes, skipped.get(name, ()))
            for name, rows in parts.items()
        }
        info = DatasetInfo(classes=contents.classes, splits=splits, undivided=undivided)
        return replace(info, image_bytes=self.image_bytes)

    def _divided(self, contents: Contents) -> dict[str, list[Row]]:
        rows = contents.rows["train"]
        chosen = fixed_test(rows, len(contents.classes), round(self.test_fraction * len(rows)))
        return {
            "train": [row for row in rows if row[1] not in chosen],
            "test": [row for row in rows if row[1] in chosen],
        }


@functools.cache
def _as_json() -> TypeAdapter[DatasetInfo]:
    return TypeAdapter(DatasetInfo)


def _split_info(rows: Sequence[Row], classes: Sequence[str], skipped: tuple[str, ...]) -> SplitInfo:
    counts = Counter(label for label, _, _ in rows)
    return SplitInfo(
        digest=split_digest((classes[label], source, sha) for label, source, sha in rows),
        counts=tuple(counts[label] for label in range(len(classes))),
        skipped=skipped,
    )


def _check_classes(name: str, contents: Contents) -> None:
    """Other splits may lack a class; what nobody can train on is a mistake."""
    found = {label for label, _, _ in contents.rows["train"]}
    for label, each in enumerate(contents.classes):
        if label not in found:
            raise InputError(
                f"{name}: class {each!r} has no training image: add some, or leave the class out"
            )
