"""The file of predictions, `{"checkpoint": {...}, "predictions": {"cat/1.png": {...}}}`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.single.checkpoint import Checkpoint
from orchestrator.single.documents import read_json, written_json
from orchestrator.single.inferring import Inferred
from orchestrator.single.places import aside, unwritten
from tasks.errors import InputError

FLAG = "--predictions"
TOP = 5


def write_predictions(
    path: Path, inferred: Inferred, checkpoint: Checkpoint, every_class: bool
) -> None:
    """Write a label and the five most probable classes for each image, aside and then in place.

    Args:
        every_class: write all probabilities too, in the order of the classes.

    Raises InputError where the file cannot be written.
    """
    document = {
        "checkpoint": {
            "file": checkpoint.path.name,
            "model": checkpoint.classifier.resolved,
            "classes": list(checkpoint.classes),
        },
        "skipped": list(inferred.skipped),
        "predictions": {
            name: _entry(row, checkpoint.classes, every_class)
            for name, row in zip(inferred.names, inferred.probabilities, strict=True)
        },
    }
    beside = aside(path)
    try:
        beside.write_text(_lines(document), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise unwritten("--out", path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def _lines(document: dict[str, Any]) -> str:
    """JSON with a line for each image."""
    rest = [
        f"{written_json(key)}: {written_json(document[key])}" for key in ("checkpoint", "skipped")
    ]
    images = [
        f"{written_json(name)}: {written_json(entry)}"
        for name, entry in document["predictions"].items()
    ]
    return "\n".join(
        ["{", *(f"{line}," for line in rest), '"predictions": {', ",\n".join(images), "}", "}", ""]
    )


def _entry(row: NDArray[np.float32], classes: Sequence[str], every_class: bool) -> dict[str, Any]:
    # A stable sort of the negated values puts the first of equals first, as the metrics do.
    best = np.argsort(-row, kind="stable")[:TOP]
    entry: dict[str, Any] = {
        "label": classes[best[0]],
        "top5": [[classes[index], _shortest(row[index])] for index in best],
    }
    if every_class:
        entry["probabilities"] = [_shortest(value) for value in row]
    return entry


def _shortest(value: np.float32) -> float:
    """The shortest decimal that float32 reads back as the same number."""
    return float(str(value))


def read_predictions(path: Path) -> tuple[Inferred, tuple[str, ...]]:
    """Read such a file back.

    Where it holds five classes an image the others get 0, which every ranking metric can bear.

    Returns the predictions, and the classes in label order.
    Raises InputError naming the entry that cannot be.
    """
    document = read_json(FLAG, path)
    where = f"{FLAG} {path}"
    if not isinstance(document, dict) or not isinstance(document.get("predictions"), dict):
        raise InputError(f"{where}: was not written by `augury infer` (no mapping of predictions)")
    about = document.get("checkpoint")
    classes: Any = about.get("classes") if isinstance(about, dict) else None
    if not classes or not _are_names(classes) or len(set(classes)) < len(classes):
        raise InputError(f"{where}: checkpoint.classes must be a list of different names")
    skipped = document.get("skipped", [])
    if not _are_names(skipped):
        raise InputError(f"{where}: skipped must be a list of names")
    entries = document["predictions"]
    if not entries:
        raise InputError(f"{where}: holds no prediction")
    probabilities = np.zeros((len(entries), len(classes)), np.float32)
    place = {name: index for index, name in enumerate(classes)}
    for row, (name, entry) in zip(probabilities, entries.items(), strict=True):
        wrong = _fill(row, entry, place)
        if wrong:
            raise InputError(f"{where}: {name!r}: {wrong}")
    inferred = Inferred(names=tuple(entries), probabilities=probabilities, skipped=tuple(skipped))
    return inferred, tuple(classes)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _fill(row: NDArray[np.float32], entry: Any, place: dict[str, int]) -> str:
    """Put the probabilities of one image in their places; what is wrong with them, if anything."""
    if not isinstance(entry, dict) or "label" not in entry or "top5" not in entry:
        return "label and top5 were expected"
    top, every = entry["top5"], entry.get("probabilities")
    if not isinstance(top, list) or len(top) != min(TOP, len(place)):
        return f"top5 must hold {min(TOP, len(place))} classes"
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in top):
        return "top5 must hold pairs of class and probability"
    names, values = [pair[0] for pair in top], [pair[1] for pair in top]
    unknown = [n for n in [entry["label"], *names] if not isinstance(n, str) or n not in place]
    if unknown:
        return f"{unknown[0]!r} is none of the classes"
    if len(set(names)) < len(names) or names[0] != entry["label"]:
        return "top5 must hold different classes, the label first"
    if not _are_probabilities(values) or values != sorted(values, reverse=True):
        return "top5 must hold probabilities from 0 to 1, the largest first"
    if every is not None:
        if not _are_probabilities(every) or len(every) != len(place):
            return f"probabilities must be {len(place)} numbers from 0 to 1"
        row[:] = every
    else:
        row[[place[name] for name in names]] = values
    if row.argmax() != place[entry["label"]]:
        return f"the label is {entry['label']!r}, and another class is more probable"
    return ""


def _are_probabilities(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        # float32 sums that make a softmax may end a little above 1.
        and 0 <= value <= 1 + 1e-6
        for value in values
    )
