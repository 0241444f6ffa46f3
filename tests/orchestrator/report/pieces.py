"""Trials, cells and images made up, to build results from."""

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.report.results import CellResult, SetSample, StudyResult, TrialResult


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """Encode a grey image with nothing but the standard library."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    height, width = pixels.shape
    raw = io.BytesIO()
    for line in pixels:
        raw.write(b"\0" + line.tobytes())
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw.getvalue(), 9))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def history(rng: np.random.Generator, top1: float, points: int = 12) -> list[dict[str, float]]:
    """Curves that fall and rise as curves do."""
    rows = []
    for index in range(1, points + 1):
        share = 1 - np.exp(-4 * index / points)
        noise = rng.normal(0, 0.012, 4)
        rows.append(
            {
                "step": 40.0 * index,
                "epoch": float(index),
                "train_loss": float(2.3 - 2.2 * share + noise[0]),
                "train_accuracy": float(min(1.0, 0.1 + 0.9 * share + noise[1])),
                "val_loss": float(2.3 - 2.0 * share + noise[2]),
                "val_accuracy": float(min(1.0, 0.1 + (top1 - 0.08) * share + noise[3])),
            }
        )
    return rows


def confusion(rng: np.random.Generator, top1: float, num_classes: int) -> np.ndarray[Any, Any]:
    """About 80 images a class, most on the diagonal."""
    shares = np.full((num_classes, num_classes), (1 - top1) / max(1, num_classes - 1))
    np.fill_diagonal(shares, top1)
    return np.stack([rng.multinomial(80, row / row.sum()) for row in shares])


def finished(seed: int, top1: float, num_classes: int = 10) -> TrialResult:
    """A trial with everything that a trial can have."""
    rng = np.random.default_rng(seed + int(1e6 * top1))
    matrix = confusion(rng, top1, num_classes)
    recall = tuple((np.diagonal(matrix) / matrix.sum(axis=1)).tolist())
    return TrialResult(
        key=f"{seed:02d}{int(1e4 * top1):06d}".ljust(64, "a"),
        seed=seed,
        status="finished",
        scores={
            "top1": top1,
            "f1": top1 - 0.003,
            "top1_last": top1 - 0.004,
            "val_top1": top1 + 0.01,
        },
        history=tuple(history(rng, top1)),
        per_class={"f1": recall, "recall": recall},
        confusion=tuple(tuple(row) for row in matrix.tolist()),
        seconds=41.5,
        device="cpu",
        threads=1,
        versions={"torch": "2.13.0", "timm": "1.0.22", "augury": "0.1.0"},
    )


def cell(
    coordinates: Mapping[str, Any], scores: tuple[float, ...], baseline: int | None, **changes: Any
) -> CellResult:
    """A cell with one finished trial a score."""
    made = CellResult(
        coordinates=coordinates,
        label=", ".join(str(value) for value in coordinates.values()),
        trials=tuple(finished(seed, score) for seed, score in enumerate(scores)),
        baseline=baseline,
        steps=480,
        num_real=900,
        num_synthetic=0,
        num_parameters=34_826,
        model="small_cnn",
    )
    return replace(made, **changes)


def sheet(name: str, num_classes: int, num_images: int, *, side: int = 8) -> SetSample:
    """Noise in place of digits."""
    rng = np.random.default_rng(len(name))
    images = tuple(
        tuple(png(rng.integers(0, 256, (side, side), dtype=np.uint8)) for _ in range(num_images))
        for _ in range(num_classes)
    )
    return SetSample(name=name, images=images)


def with_trial(result: StudyResult, index: int, seed: int, trial: TrialResult) -> StudyResult:
    """Replace one trial of one cell."""
    chosen = result.cells[index]
    trials = tuple(trial if t.seed == seed else t for t in chosen.trials)
    cells = list(result.cells)
    cells[index] = replace(chosen, trials=trials)
    return replace(result, cells=tuple(cells))
