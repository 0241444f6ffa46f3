"""The parts of the page that are neither tables of scores nor figures, as values to lay out."""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report import wording
from orchestrator.report.results import SetSample, StudyResult, TrialResult
from orchestrator.report.statistics import mean

MOST_SHEET_CLASSES = 20
MOST_SHEET_IMAGES = 8
"""A set."""
MOST_CONFUSION_CLASSES = 30
SMALL_SIDE = 64
"""Images up to this many pixels wide are shown enlarged, pixel by pixel."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image inside the page."""

    address: str
    """A `data:` address."""
    small: bool


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """One class of a sample sheet: a strip of pictures from each set."""

    label: str
    strips: tuple[tuple[Picture, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """The summed confusion of one cell."""

    label: str
    num_trials: int
    rows: tuple[tuple[tuple[int, float], ...], ...]
    """A count and its share of the row, by true and predicted class."""


@dataclass(frozen=True, kw_only=True)
class PerClass:
    """One metric by class: a mean over seeds for each cell, None where there is none."""

    metric: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def sheet_rows(sheets: Sequence[SetSample], classes: Sequence[str]) -> tuple[SheetRow, ...]:
    """Real images beside synthetic ones, for the first classes."""
    return tuple(
        SheetRow(
            label=classes[index],
            strips=tuple(
                tuple(_picture(png) for png in _images(sheet, index)[:MOST_SHEET_IMAGES])
                for sheet in sheets
            ),
        )
        for index in range(min(len(classes), MOST_SHEET_CLASSES))
        if any(_images(sheet, index) for sheet in sheets)
    )


def _images(sheet: SetSample, index: int) -> tuple[bytes, ...]:
    return sheet.images[index] if index < len(sheet.images) else ()


def _picture(png: bytes) -> Picture:
    # The width stands in the header, at a fixed place.
    width = struct.unpack(">I", png[16:20])[0] if len(png) >= 24 else 0
    address = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return Picture(address=address, small=width <= SMALL_SIDE)


def confusions(result: StudyResult) -> tuple[Confusion, ...]:
    """One matrix a cell, summed over its finished trials; none where classes are too many."""
    if len(result.classes) > MOST_CONFUSION_CLASSES:
        return ()
    found = []
    for cell in result.cells:
        matrices = [t.confusion for t in cell.trials if t.status == "finished" and t.confusion]
        if matrices:
            summed = [
                [sum(values) for values in zip(*lines, strict=True)]
                for lines in zip(*matrices, strict=True)
            ]
            shaded = tuple(tuple((n, n / max(1, sum(row))) for n in row) for row in summed)
            found.append(Confusion(label=cell.label, num_trials=len(matrices), rows=shaded))
    return tuple(found)


def per_class(result: StudyResult) -> tuple[PerClass, ...]:
    """One table for each metric that has values by class, the study's metrics first."""
    finished = [t for cell in result.cells for t in cell.trials if t.status == "finished"]
    known = {name for trial in finished for name in trial.per_class}
    order = [*(name for name in result.metrics if name in known)]
    order += sorted(known - set(order))
    return tuple(
        PerClass(
            metric=name,
            rows=tuple(
                (label, tuple(_class_mean(cell.trials, name, index) for cell in result.cells))
                for index, label in enumerate(result.classes)
            ),
        )
        for name in order
    )


def _class_mean(trials: Sequence[TrialResult], metric: str, index: int) -> str:
    values = [
        trial.per_class[metric][index]
        for trial in trials
        if trial.status == "finished" and index < len(trial.per_class.get(metric, ()))
    ]
    return wording.percent(mean(values) if values else None)


def provenance(result: StudyResult) -> dict[str, str]:
    """What made the numbers: data, seeds, code, libraries, machines."""
    trials = [t for cell in result.cells for t in cell.trials if t.status == "finished"]
    facts = {
        "study": result.name,
        "baseline": ", ".join(f"{axis} = {value}" for axis, value in result.baseline.items()),
        "seeds": ", ".join(map(str, result.seeds)),
        "classes": str(len(result.classes)),
        "commit": result.commit,
        "store": result.store,
        "devices": ", ".join(sorted({t.device for t in trials if t.device})),
        "threads": ", ".join(map(str, sorted({t.threads for t in trials if t.threads}))),
        "versions": _versions([t.versions for t in trials]),
        "command": result.command,
    }
    return {name: text for name, text in facts.items() if text}


def _versions(recorded: Sequence[Mapping[str, str]]) -> str:
    found: dict[str, set[str]] = {}
    for versions in recorded:
        for name, version in versions.items():
            found.setdefault(name, set()).add(version)
    return ", ".join(f"{name} {' and '.join(sorted(found[name]))}" for name in sorted(found))
