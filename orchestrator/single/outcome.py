"""Says what a training rests on and how it ended, for people and for programs."""

import statistics
from collections.abc import Sequence
from typing import Any

from orchestrator.report.wording import counted, percent, spread
from orchestrator.single.documents import written_json
from orchestrator.single.places import some
from orchestrator.single.planning import Training
from orchestrator.single.training import Trained

SHOWN_CLASSES = 5


def opening(training: Training) -> str:
    """What is trained on what, before it begins."""
    cell = training.cell
    sources = {"real": cell.num_real, "synthetic": cell.num_synthetic}
    images = " + ".join(f"{number:,} {name}" for name, number in sources.items() if number)
    tested = f", {cell.num_test:,} to test" if training.is_tested else ""
    lines = [
        f"{cell.settings.variant}: {images} images to train on, "
        f"{cell.num_validation:,} real ones to validate{tested}; "
        f"{counted(len(training.classes), 'class', 'classes')}: "
        f"{some(training.classes, SHOWN_CLASSES)}",
        f"{cell.model}: {cell.steps:,} steps of {training.batch_size} images{_epoch(training)}",
        *(
            [f"--batch-size {training.batch_size}, as there are no more images; 64 is usual"]
            if training.is_batch_of_all
            else []
        ),
    ]
    if training.skipped:
        lines.append(
            f"{counted(len(training.skipped), 'image')} cannot be read and "
            f"{'is' if len(training.skipped) == 1 else 'are'} left out: {some(training.skipped)}"
        )
    return "\n".join(lines)


def _epoch(training: Training) -> str:
    """What an epoch is, where it is no pass over the images that are trained on."""
    cell = training.cell
    own = -(-training.num_images // training.batch_size)
    text = f", {cell.eval_every:,} an epoch"
    if cell.eval_every in (own, cell.steps):
        return text
    return f"{text} (of the real images, so that variants compare; --set train.match=epochs: {own})"


def closing(trained: Sequence[Trained], training: Training) -> str:
    """The scores of each seed, and their mean."""
    rows = [["seed", "val top-1", *(["test top-1"] if training.is_tested else []), "epoch", "file"]]
    for each in trained:
        test = [percent(each.test_top1)] if training.is_tested else []
        epoch = f"{each.epoch:.4g}/{training.cell.steps / training.cell.eval_every:.4g}"
        note = "" if each.is_new else " (trained before)"
        rows.append(
            [str(each.seed), percent(each.val_top1), *test, epoch, f"{each.path}{note}"],
        )
    lines = _aligned(rows)
    for name, scores in _scores(trained).items():
        std = statistics.stdev(scores) if len(scores) > 1 else None
        mean = spread(statistics.fmean(scores), std)
        what = "mean ± std over seeds, " if std is not None else ""
        lines.append(f"{name.replace('_top1', ' top-1')}: {mean} % ({what}n = {len(scores)})")
    if not training.is_tested:
        lines.append(
            "validation chose the epoch, which flatters it: score new images with --test-dir"
        )
    return "\n".join(lines)


def as_json(trained: Sequence[Trained], training: Training) -> str:
    """The same, with scores as fractions."""
    cell = training.cell
    document: dict[str, Any] = {
        "variant": cell.settings.variant,
        "model": cell.model,
        "classes": list(training.classes),
        "images": {
            "real": cell.num_real,
            "synthetic": cell.num_synthetic,
            "validation": cell.num_validation,
            "test": cell.num_test,
            "skipped": list(training.skipped),
        },
        "steps": cell.steps,
        "batch_size": training.batch_size,
        "seeds": [
            {
                "seed": each.seed,
                "val_top1": each.val_top1,
                "test_top1": each.test_top1,
                "epoch": each.epoch,
                "file": str(each.path),
            }
            for each in trained
        ],
        "scores": {
            name: {
                "mean": statistics.fmean(scores),
                "std": statistics.stdev(scores) if len(scores) > 1 else None,
                "n": len(scores),
            }
            for name, scores in _scores(trained).items()
        },
    }
    return written_json(document, indent=1)


def _scores(trained: Sequence[Trained]) -> dict[str, list[float]]:
    tests = [each.test_top1 for each in trained if each.test_top1 is not None]
    found = {"val_top1": [each.val_top1 for each in trained], "test_top1": tests}
    return {name: scores for name, scores in found.items() if scores}


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Numbers to the right, the last column to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([*(t.rjust(w) for t, w in zip(row[:-1], widths, strict=False)), row[-1]])
        for row in rows
    ]
