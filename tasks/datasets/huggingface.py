"""Any dataset of images that the `datasets` library reads: from the Hub, or from a local folder.

Source: Q. Lhoest et al., Datasets: A Community Library for Natural Language Processing,
arXiv:2109.02846, 2021. Splits called train, validation and test are taken, others are passed over;
a dataset of one split is a training split, and a fixed stratified part of it the test split. What
comes from the Hub is kept in this machine's cache when it is fetched, and read from there.
"""

import contextlib
import functools
import hashlib
import importlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.caches import cache_dir
from tasks.datasets._columns import find_columns
from tasks.datasets._splits import SPLIT_NAMES, SplitReader
from tasks.datasets._tables import BATCH_ROWS, Batches, TableStore
from tasks.errors import InputError
from tasks.reading import DataMissing
from tasks.specs import STRICT, Locator, NotHashed

VERSION = 1
MAY_HOLD_EDITS = True
"""What users put there may be made from other images, which is looked for."""
SAVED = ("dataset_dict.json", "state.json")
"""Written by `save_to_disk`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which dataset, and what its columns mean. The digests say what was found, so keys do too."""

    path: Locator[str]
    """Name on the Hub (`user/name`), or a local folder that `load_dataset` or `load_from_disk`
    reads."""
    config: Annotated[str | None, NotHashed()] = None
    """Configuration, where the dataset has several."""
    revision: Annotated[str | None, NotHashed()] = None
    """Branch, tag or commit on the Hub; None is what was its main branch when it was fetched."""
    image: Annotated[str | None, NotHashed()] = None
    """Column of images; None finds it by its feature."""
    label: Annotated[str | None, NotHashed()] = None
    """Column of labels; None finds it by its feature."""
    test_fraction: Annotated[float, Field(gt=0, lt=1), NotHashed()] = 0.2
    """Of the training images, where there is no test split; the digests say which it chose."""
    skip_bad: Annotated[bool, NotHashed()] = False
    """Leave out images that cannot be read, and say so; the digest counts what is left."""


def build(config: Config) -> SplitReader:
    """Return the reader."""
    settings = (config.image, config.label, config.test_fraction, config.skip_bad)
    return SplitReader(
        name="huggingface",
        version=VERSION,
        settings=settings,
        opened=lambda: _store(config),
        test_fraction=config.test_fraction,
        fetched=lambda: _fetch(config),
    )


def _store(config: Config) -> TableStore:
    found = _by_split(config, _load(config))
    train = found["train"]
    where = f"huggingface: {config.path!r}"
    columns = find_columns(
        where,
        train.data.schema,
        train.features.to_dict(),
        image=config.image,
        label=config.label,
        split=None,
    )
    files = [Path(each["filename"]) for part in found.values() for each in part.cache_files]
    tables = {
        split: functools.partial(_batches, f"{config.path!r} {split}", part)
        for split, part in found.items()
    }
    return TableStore(
        "huggingface", columns, tables, files=files, root=None, skip_bad=config.skip_bad
    )


def _batches(name: str, part: Any, columns: Sequence[str]) -> Batches:
    rows = part.select_columns(list(columns)).with_format("arrow")
    for number, table in enumerate(rows.iter(BATCH_ROWS)):
        yield name, number * BATCH_ROWS, table


def _by_split(config: Config, loaded: Any) -> dict[str, Any]:
    if not isinstance(loaded, Mapping):
        return {"train": loaded}
    if len(loaded) == 1:
        return {"train": next(iter(loaded.values()))}
    found = {}
    for name, part in loaded.items():
        if name in SPLIT_NAMES:
            found[SPLIT_NAMES[name]] = part
    if "train" not in found:
        raise InputError(
            f"huggingface: {config.path!r} has the splits {', '.join(loaded)}; one called train is "
            f"needed"
        )
    return found


def _load(config: Config) -> Any:
    """A Dataset or DatasetDict, from this machine alone."""
    library = _library()
    local = Path(config.path)
    folder = local if local.is_dir() else _cached(config)
    if not folder.is_dir():
        raise DataMissing(
            f"huggingface: there is no folder {config.path!r}, and no dataset of that name was "
            f"fetched from huggingface.co/datasets"
        )
    with _quiet(library), _one_line(config, InputError, "cannot be loaded"):
        if any((folder / name).is_file() for name in SAVED):
            return library.load_from_disk(str(folder))
        return library.load_dataset(
            str(folder.absolute()), config.config, cache_dir=str(cache_dir() / "huggingface")
        )


def _fetch(config: Config) -> None:
    """Load from the Hub and save beside, then rename: what is half fetched is nowhere."""
    target = _cached(config)
    if Path(config.path).is_dir() or target.is_dir():
        return
    library = _library()
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", config.path) or config.path.startswith("."):
        raise DataMissing(f"huggingface: there is no folder {config.path!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch.") as aside:
        with _one_line(config, DataMissing, "cannot be fetched"):
            loaded = library.load_dataset(
                config.path, config.config, revision=config.revision, cache_dir=f"{aside}/hub"
            )
            loaded.save_to_disk(f"{aside}/saved")
        Path(aside, "saved").rename(target)


def _cached(config: Config) -> Path:
    name = f"{config.path}\n{config.config}\n{config.revision}"
    return cache_dir() / "huggingface" / hashlib.sha256(name.encode()).hexdigest()[:32]


def _library() -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise InputError(
            "huggingface: needs the `datasets` library: pip install augury[huggingface]"
        ) from error


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without progress bars for what takes a moment."""
    shown = library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if not shown:
            library.enable_progress_bars()


@contextlib.contextmanager
def _one_line(config: Config, kind: type[InputError], what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # The library, and those below it, raise dozens of kinds, and long texts.
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise kind(f"huggingface: {config.path!r} {what} ({first})") from error
