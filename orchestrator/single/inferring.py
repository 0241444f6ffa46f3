"""What a saved model says of the images in a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.inspection import Watch
from orchestrator.single.checkpoint import Checkpoint
from orchestrator.single.places import some
from tasks.datasets._decode import decode
from tasks.errors import InputError
from tasks.inference import EVAL_BATCH, SMALL_SIDE
from tasks.packs import Pixels

LEAST_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """Probabilities of all classes, image by image."""

    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    """Images × classes, in the order of `names` and of the checkpoint's classes."""
    skipped: tuple[str, ...]
    """Images that cannot be read."""


def usual_batch(checkpoint: Checkpoint) -> int:
    """As large as a training's validation has them."""
    side = checkpoint.classifier.input_size
    return (
        EVAL_BATCH
        if side <= SMALL_SIDE
        else max(LEAST_BATCH, EVAL_BATCH * SMALL_SIDE**2 // side**2)
    )


def infer(
    checkpoint: Checkpoint,
    images: Mapping[str, Path],
    *,
    batch_size: int,
    skip_bad: bool,
    device: str,
    watch: Watch,
) -> Inferred:
    """Predict images one batch after the other; only one batch is in memory.

    Args:
        images: name and file of each.

    Raises InputError naming the first images that cannot be read, unless they may be skipped.
    """
    names: list[str] = []
    bad: list[str] = []
    parts = [np.zeros((0, len(checkpoint.classes)), np.float32)]
    batch: list[Pixels] = []
    for number, (name, path) in enumerate(images.items(), 1):
        try:
            pixels = decode(path.read_bytes(), name)
        except (InputError, OSError):
            bad.append(name)
        else:
            names.append(name)
            if skip_bad or not bad:
                batch.append(checkpoint.prepared(pixels))
        if batch and (len(batch) == batch_size or number == len(images)):
            parts.append(checkpoint.logits(batch, device).softmax(1).numpy())
            batch = []
        watch(number, len(images))
    if bad and not (skip_bad and names):
        them = "it" if len(bad) == 1 else "them"
        raise InputError(
            f"{len(bad)} of {len(images)} images cannot be read: {some(bad)}; mend or remove "
            f"{them}, or say --skip-bad"
        )
    probabilities = np.concatenate(parts)
    if not np.isfinite(probabilities).all():
        raise InputError(f"--checkpoint {checkpoint.path}: its weights give no numbers (NaN)")
    return Inferred(names=tuple(names), probabilities=probabilities, skipped=tuple(bad))
