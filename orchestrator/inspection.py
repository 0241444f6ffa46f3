"""Looks at a dataset as a study would, and says what it holds."""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.inputs import FileCache
from orchestrator.overlay import overlaid
from orchestrator.parsing import parse_dataset
from orchestrator.report.wording import counted
from orchestrator.settings import Dataset
from orchestrator.validating import field_names
from tasks import plugins
from tasks.errors import InputError
from tasks.packs import Pixels, luma, resized
from tasks.specs import Counts, DatasetInfo

SPLITS = ("train", "val", "test")
SHEET_CLASSES, SHEET_CLASSES_FEW, SHEET_IMAGES = 20, 12, 8
"""All classes are drawn up to so many; else so few, evenly chosen; images of each."""
QUIET_S = 1.0
"""Readings shorter than this show no progress."""

Watch = Callable[[int, int], None]
"""Told how many images are read, of how many."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Of heights or widths of images as they are stored, in pixels."""

    min: int
    median: int
    max: int


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found in a dataset."""

    name: str
    settings: Mapping[str, Any]
    """The reader's, where they are not its defaults; they say where it was read from."""
    info: DatasetInfo
    height: Extent
    width: Extent
    modes: Mapping[str, int]
    """`grey` and `colour` -> images."""
    mean: tuple[float, ...]
    """Of each channel over the training split, 0..1: one of grey images, else three."""
    std: tuple[float, ...]
    num_bytes: int
    """Of all decoded images."""

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if split in self.info.splits)

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(name for split in self.splits for name in self.info.splits[split].skipped)

    def empty_classes(self, split: str) -> tuple[str, ...]:
        counts = self.info.splits[split].counts
        return tuple(name for name, n in zip(self.info.classes, counts, strict=True) if not n)


def named(
    name: str, root: str | None, overrides: Sequence[str], *, skip_bad: bool = False
) -> Dataset:
    """The dataset of a command line: a name, or an existing folder of class folders.

    Args:
        overrides: `key=value`, parsed as the study's own `--set` are.
        skip_bad: leave out images that cannot be read.

    Raises InputError for what no study could say.
    """
    document: dict[str, Any] = {"name": name}
    if name not in plugins.names("datasets") and Path(name).is_dir():
        if root is not None:
            raise InputError(f"--root {root}: {name!r} is a folder already: give one of the two")
        document = {"name": "image_folder", "root": name}
    elif root is not None:
        document["root"] = root
    for key in (text.partition("=")[0].strip() for text in overrides):
        if (key == "root" and "root" in document) or (key == "skip_bad" and skip_bad):
            raise InputError(f"--set {key}: is said twice: keep one of the two")
    if skip_bad:
        document["skip_bad"] = True
    try:
        return parse_dataset(overlaid(document, tuple(overrides), False))
    except InputError as error:
        raise _flagged(error, str(document["name"])) from error


def _flagged(error: InputError, name: str) -> InputError:
    """The same complaint, with what to type here."""
    text = str(error)
    if text.startswith("dataset.skip_bad: unknown key"):
        return InputError(f"--skip-bad: {name} has no such setting: leave it out")
    if missing := re.fullmatch(r"dataset\.(\w+): is missing", text):
        key = missing[1]
        flag = "--root DIR" if key == "root" else f"--set {key}={key.upper()}"
        return InputError(f"{name}: say where it is: {flag}")
    return InputError(text.replace("say skip_bad: true", "say --skip-bad"))


def inspect(dataset: Dataset, watch: Watch, sheet: Path | None = None) -> Inspection:
    """Read every image of a dataset once.

    Args:
        sheet: where to write a contact sheet of the training split, if anywhere.

    Raises DataMissing where there is nothing to read, InputError where it cannot be used.
    """
    if sheet is not None:
        _check_sheet(sheet)
    reader = plugins.build("datasets", dataset.reader)
    try:
        with FileCache() as facts:
            info: DatasetInfo = reader.identify(facts)
        seen = _read(reader, info, dataset, watch, drawn=sheet is not None)
    except InputError as error:
        raise _flagged(error, dataset.reader.name) from error
    except (OSError, UnicodeError) as error:
        raise InputError(f"{dataset.reader.name}: {error}") from error
    if sheet is not None:
        _draw(sheet, dataset, info, seen.samples)
    mean, std = seen.channels()
    return Inspection(
        name=dataset.reader.name,
        settings=_chosen(dataset.reader.config),
        info=info,
        height=_extent(seen.heights),
        width=_extent(seen.widths),
        modes={"grey": seen.modes[1], "colour": seen.modes[3]},
        mean=mean,
        std=std,
        num_bytes=seen.num_bytes,
    )


def _chosen(config: Any) -> dict[str, Any]:
    fields = type(config).__dataclass_fields__
    values = {name: getattr(config, name) for name in field_names(type(config))}
    return {name: value for name, value in values.items() if value != fields[name].default}


def _read(
    reader: Any, info: DatasetInfo, dataset: Dataset, watch: Watch, *, drawn: bool
) -> "_Seen":
    seen = _Seen()
    splits = [split for split in SPLITS if split in info.splits]
    total = sum(sum(info.splits[split].counts) for split in splits)
    wanted = _sampled(info.splits["train"].counts) if drawn else {}
    for split in splits:
        places: Counter[int] = Counter()
        for example in reader.read(split):
            seen.add(example.pixels)
            if split == "train":
                pixels = _as_packed(example.pixels, dataset)
                seen.add_channels(pixels)
                if places[example.label] in wanted.get(example.label, ()):
                    seen.keep(example.label, pixels)
                places[example.label] += 1
            watch(seen.num_images, total)
    return seen


def _as_packed(pixels: Pixels, dataset: Dataset) -> Pixels:
    """As a study with these settings would train on it, but for cutting to squares."""
    if dataset.split.grayscale and pixels.shape[2] == 3:
        pixels = luma(pixels)
    return pixels if dataset.split.size is None else resized(pixels, dataset.split.size)


@dataclass(kw_only=True)
class _Seen:
    """Sums over images, of a size that does not grow with them."""

    num_images: int = 0
    num_bytes: int = 0
    heights: Counter[int] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    modes: Counter[int] = field(default_factory=Counter)
    samples: dict[int, list[Pixels]] = field(default_factory=dict)
    is_colour: bool = False
    num_pixels: int = 0
    sums: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    squares: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def add(self, pixels: Pixels) -> None:
        height, width, channels = pixels.shape
        self.num_images += 1
        self.num_bytes += pixels.size
        self.heights[height] += 1
        self.widths[width] += 1
        self.modes[channels] += 1

    def add_channels(self, pixels: Pixels) -> None:
        """Grey images count as colour ones whose channels are equal, as in a mixed pack."""
        values = pixels.reshape(-1, pixels.shape[2]).astype(np.float64)
        self.is_colour |= values.shape[1] == 3
        self.num_pixels += len(values)
        self.sums += values.sum(0)
        self.squares += np.einsum("nc,nc->c", values, values)

    def keep(self, label: int, pixels: Pixels) -> None:
        from tasks.sheets import fitted

        self.samples.setdefault(label, []).append(fitted(pixels))

    def channels(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, 0..1."""
        used = slice(3 if self.is_colour else 1)
        mean = self.sums[used] / max(1, self.num_pixels)
        variance = self.squares[used] / max(1, self.num_pixels) - mean**2
        std = np.sqrt(np.maximum(variance, 0))
        return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _extent(sides: Counter[int]) -> Extent:
    if not sides:
        return Extent(min=0, median=0, max=0)
    below, half = 0, sides.total() / 2
    ordered = sorted(sides)
    for median in ordered:
        below += sides[median]
        if below >= half:
            break
    return Extent(min=ordered[0], median=median, max=ordered[-1])


# The contact sheet


def _check_sheet(path: Path) -> None:
    """Before minutes are spent on reading."""
    if path.suffix.lower() != ".png":
        raise InputError(f"--sheet {path}: a sheet is a PNG file: give a name that ends in .png")
    if path.is_dir() or not path.absolute().parent.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {str(path.parent)!r}"
        raise InputError(f"--sheet {path}: {what}")


def _sampled(counts: Counts) -> dict[int, frozenset[int]]:
    """Label -> which of its images are drawn: evenly chosen in reading order."""
    labels = _evenly(len(counts), SHEET_CLASSES_FEW if len(counts) > SHEET_CLASSES else len(counts))
    return {label: frozenset(_evenly(counts[label], SHEET_IMAGES)) for label in labels}


def _evenly(number: int, wanted: int) -> list[int]:
    """So many of `range(number)`, from its first to its last."""
    return sorted({round(place) for place in np.linspace(0, number - 1, min(number, wanted))})


def _draw(
    path: Path, dataset: Dataset, info: DatasetInfo, samples: Mapping[int, Sequence[Pixels]]
) -> None:
    from tasks.sheets import SheetRow, draw_sheet, write_sheet

    counts = info.splits["train"].counts
    rows = [
        SheetRow(
            label=info.classes[label],
            note=counted(counts[label], "image"),
            images=tuple(samples.get(label, ())),
        )
        for label in _sampled(counts)
    ]
    shown = "" if len(rows) == len(counts) else f", {len(rows)} of {len(counts)} classes"
    title = f"{dataset.reader.name}: train{shown}"
    try:
        write_sheet(path, draw_sheet(title, rows))
    except OSError as error:
        raise InputError(f"--sheet {path}: cannot be written ({error})") from error


# Progress


@contextmanager
def progress() -> Iterator[Watch]:
    """A line on a terminal's standard error once reading takes long; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    started = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading images", total=None, visible=False)

        def watch(done: int, total: int) -> None:
            late = time.monotonic() - started > QUIET_S
            bar.update(task, completed=done, total=total, visible=late)

        yield watch
