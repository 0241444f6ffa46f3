"""Says what a fit rests on and how it ended, for people and for programs."""

import shlex
from typing import Any

from orchestrator.display import duration
from orchestrator.report.wording import counted
from orchestrator.single.documents import written_json
from orchestrator.single.fitting import Fit, Fitted
from orchestrator.single.places import some

SHOWN_CLASSES = 5


def opening(planned: Fit) -> str:
    """What is fitted on what, before it begins."""
    spec, source = planned.spec, planned.source
    config = spec.generator.config
    training, held = sum(spec.images.training), sum(spec.images.validation)
    classes = source.info.classes
    what = source.named.data_dir or source.named.dataset or "data/real"
    lines = [
        f"{spec.generator.name}: {config.steps:,} steps of {config.batch_size} images on "
        f"{counted(training, 'image')} of {what}{_part(planned)}; "
        f"{counted(len(classes), 'class', 'classes')}: {some(classes, SHOWN_CLASSES)}"
    ]
    if held:
        lines.append(f"{counted(held, 'image')} {_are(held)} held out, to validate classifiers on")
    if planned.skipped:
        number = len(planned.skipped)
        lines.append(
            f"{counted(number, 'image')} cannot be read and {_are(number)} left out: "
            f"{some(planned.skipped)}"
        )
    return "\n".join(lines)


def _part(planned: Fit) -> str:
    """Which part of a dataset it is, where it has several."""
    splits = planned.source.info.splits
    if planned.split == "all" or "test" not in splits:
        return ""
    return f" (its train part; {sum(splits['test'].counts):,} are for tests)"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def closing(fitted: Fitted, planned: Fit) -> str:
    """What the file is, and the next command."""
    note, result = fitted.note, fitted.record["result"]
    losses = ", ".join(
        f"{name} {value:.4g}" for name, value in note.losses.items() if value is not None
    )
    how = f"in {duration(result['seconds'])}" if fitted.is_new else "before"
    colours = "grey" if note.channels == 1 else "colour"
    file = shlex.quote(str(fitted.path))
    return "\n".join(
        [
            f"{fitted.path}: {note.generator} for {colours} images of {note.height} × {note.width} "
            f"pixels, {note.num_parameters:,} parameters, fitted {how}; last losses: {losses}",
            f"next: augury generate --generator {file} --per-class 100 --output-dir data/synthetic",
        ]
    )


def as_json(fitted: Fitted, planned: Fit) -> str:
    """The same, with all losses."""
    note, result = fitted.note, fitted.record["result"]
    pairs = zip(note.classes, note.images.training, strict=True)
    document: dict[str, Any] = {
        "file": str(fitted.path),
        "generator": note.generator,
        "version": note.version,
        "settings": note.settings,
        "seed": note.seed,
        "fit": note.fit,
        "image": {"height": note.height, "width": note.width, "channels": note.channels},
        "images": {
            "train": sum(note.images.training),
            "validation": sum(note.images.validation),
            "per_class": dict(pairs),
            "skipped": list(planned.skipped),
        },
        "steps": note.steps,
        "num_parameters": note.num_parameters,
        "losses": note.losses,
        "history": list(fitted.history),
        "seconds": result["seconds"],
        "peak_memory_bytes": result["peak_memory_bytes"],
        "device": fitted.record["device"],
        "threads": fitted.record["threads"],
        "is_new": fitted.is_new,
    }
    return written_json(document, indent=1)
