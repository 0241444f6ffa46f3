"""Made-up results that look like real ones, for the tests of the report."""

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.report.results import (
    CellResult,
    CostLine,
    SetSample,
    StudyResult,
    TrialResult,
)

CLASSES = tuple(str(digit) for digit in range(10))
ACCURACY = {
    "real": (0.9285, 0.9184, 0.9322),
    "synthetic": (0.8482, 0.8607, 0.8382),
    "mixed": (0.9385, 0.9335, 0.9398),
}


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
    curve = tuple((50.0 * i, float(np.exp(-i / 8)) + 0.05) for i in range(1, 25))
    return SetSample(name=name, images=images, losses={"loss": curve} if name != "real" else {})


def digits() -> StudyResult:
    """The quickstart: three kinds of training data, three seeds, all finished."""
    counts = {"real": (900, 0), "synthetic": (0, 900), "mixed": (900, 900)}
    cells = tuple(
        cell(
            {"variant": variant},
            scores,
            None if variant == "real" else 0,
            num_real=counts[variant][0],
            num_synthetic=counts[variant][1],
        )
        for variant, scores in ACCURACY.items()
    )
    return StudyResult(
        name="quickstart",
        question="Do images from a small diffusion model help a digit classifier?",
        axes=("variant",),
        metrics=("top1", "f1"),
        seeds=(0, 1, 2),
        classes=CLASSES,
        cells=cells,
        baseline={"variant": "real"},
        num_validation=100,
        num_test=797,
        match="steps",
        costs=(
            CostLine(what="fit ddpm", steps=1, hours=0.11, device="cpu"),
            CostLine(what="sample ddpm", steps=4, hours=0.03, device="cpu"),
            CostLine(what="train", steps=9, hours=0.104, device="cpu"),
        ),
        sheets=(sheet("real", 10, 6), sheet("ddpm", 10, 6)),
        command="augury report quickstart",
        store="augury-store",
        commit="bac466c",
    )


def with_trial(result: StudyResult, index: int, seed: int, trial: TrialResult) -> StudyResult:
    """Replace one trial of one cell."""
    chosen = result.cells[index]
    trials = tuple(trial if t.seed == seed else t for t in chosen.trials)
    cells = list(result.cells)
    cells[index] = replace(chosen, trials=trials)
    return replace(result, cells=tuple(cells))


def one_seed() -> StudyResult:
    """A single pair of trials, which decides nothing."""
    whole = digits()
    cells = tuple(replace(c, trials=c.trials[:1]) for c in whole.cells)
    return replace(whole, seeds=(0,), cells=cells)


def partly_failed() -> StudyResult:
    """One trial failed in the cell of interest."""
    error = "OutOfMemoryError: 3.1 GiB asked for | at <layer 2>"
    failed = TrialResult(key="f" * 64, seed=1, status="failed", error=error)
    return with_trial(digits(), 2, 1, failed)


def no_baseline() -> StudyResult:
    """Nothing is compared."""
    whole = digits()
    return replace(whole, baseline={}, cells=tuple(replace(c, baseline=None) for c in whole.cells))


def nothing_finished() -> StudyResult:
    """Planned, and that is all."""
    whole = digits()
    trials = tuple(TrialResult(key="e" * 64, seed=s, status="missing") for s in whole.seeds)
    cells = tuple(replace(c, trials=trials) for c in whole.cells)
    return replace(whole, cells=cells, costs=(), sheets=())


def deferred() -> StudyResult:
    """The last cell waits for the winner of another study."""
    whole = digits()
    trials = tuple(TrialResult(key=None, seed=s, status="deferred") for s in whole.seeds)
    last = replace(whole.cells[2], trials=trials)
    return replace(whole, cells=(*whole.cells[:2], last))


def equal_differences(num_seeds: int = 3) -> StudyResult:
    """Every seed gains one point exactly: two runs of the digits quickstart may well do so."""
    base = tuple(0.90 + 0.01 * seed for seed in range(num_seeds))
    cells = (
        cell({"variant": "real"}, base, None),
        cell({"variant": "mixed"}, tuple(score + 0.01 for score in base), 0),
    )
    return replace(digits(), seeds=tuple(range(num_seeds)), cells=cells)


def many_cells() -> StudyResult:
    """Three variants of four models: twelve cells, each model with a baseline of its own."""
    models = {"resnet18": 11_180_000, "resnet50": 23_528_522}
    models |= {"convnext_tiny": 27_827_818, "vit_base_patch16_clip_224.laion2b": 85_806_346}
    cells = []
    for row, (model, parameters) in enumerate(models.items()):
        for column, (variant, scores) in enumerate(ACCURACY.items()):
            cells.append(
                cell(
                    {"train.model": model, "variant": variant},
                    tuple(score + 0.01 * row for score in scores),
                    None if column == 0 else 3 * row,
                    num_parameters=parameters,
                    model=model,
                )
            )
    return replace(digits(), axes=("train.model", "variant"), cells=tuple(cells))


def many_classes() -> StudyResult:
    """A hundred classes, as in CIFAR-100."""
    cells = tuple(
        replace(c, trials=tuple(finished(t.seed, t.scores["top1"], 100) for t in c.trials))
        for c in digits().cells
    )
    return replace(
        digits(),
        classes=tuple(f"class number {index}" for index in range(100)),
        cells=cells,
        sheets=(sheet("real", 100, 4, side=32), sheet("edited", 100, 4, side=32)),
    )


def hostile() -> StudyResult:
    """Texts that would break out of a table or a page."""
    nasty = "<script>alert(1)</script> | $x_1$ & 100 % \\ \"'"
    whole = partly_failed()
    cells = tuple(replace(c, label=f"{c.label} {nasty}") for c in whole.cells)
    return replace(
        whole,
        question=nasty,
        cells=cells,
        classes=tuple(f"{nasty} {index}" for index in range(10)),
        notes=(nasty, "see https://example.org/x.png"),
        command=f"augury report {nasty}",
        sheets=tuple(replace(s, name=nasty) for s in whole.sheets),
    )


EVERY = {
    made.__name__: made
    for made in (
        *(digits, one_seed, partly_failed, no_baseline, nothing_finished),
        *(equal_differences, deferred, many_cells, many_classes, hostile),
    )
}
