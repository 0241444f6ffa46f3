"""Made-up results that look like real ones, for the tests of the report."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.report.results import (
    CostLine,
    DuplicateCheck,
    StudyResult,
    TrialResult,
)
from tests.orchestrator.report.pieces import cell, finished, png, sheet, with_trial

CLASSES = tuple(str(digit) for digit in range(10))
ACCURACY = {
    "real": (0.9285, 0.9184, 0.9322),
    "synthetic": (0.8482, 0.8607, 0.8382),
    "mixed": (0.9385, 0.9335, 0.9398),
}


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


def cross_validated(num_seeds: int = 2, num_folds: int = 5) -> StudyResult:
    """Folds that differ more than the cells do; the last trial of the last cell failed."""
    rng = np.random.default_rng(7)
    of_fold = rng.normal(0, 0.02, num_folds)
    places = [(seed, fold) for seed in range(num_seeds) for fold in range(num_folds)]
    cells = []
    for each, level in zip(digits().cells, (0.92, 0.85, 0.93), strict=True):
        trials = tuple(
            replace(
                finished(seed, round(level + of_fold[fold] + rng.normal(0, 0.004), 4)), fold=fold
            )
            for seed, fold in places
        )
        cells.append(replace(each, trials=trials))
    lost = replace(cells[2].trials[-1], status="failed", scores={}, per_class={}, error="lost")
    cells[2] = replace(cells[2], trials=(*cells[2].trials[:-1], lost))
    whole = replace(digits(), seeds=tuple(range(num_seeds)), folds=num_folds, num_test=200)
    return replace(whole, cells=tuple(cells))


def with_trials(
    result: StudyResult, change: Callable[[int, TrialResult], TrialResult]
) -> StudyResult:
    """The result with every trial changed; `change` is given the index of the cell too."""
    cells = tuple(
        replace(each, trials=tuple(change(index, trial) for trial in each.trials))
        for index, each in enumerate(result.cells)
    )
    return replace(result, cells=cells)


def calibrated() -> StudyResult:
    """Answered in ece, where lower is better: mixed is better, synthetic worse."""

    def change(index: int, trial: TrialResult) -> TrialResult:
        ece = (0.060, 0.095, 0.041)[index] + 0.001 * trial.seed + 0.0005 * index * trial.seed
        return replace(trial, scores={"ece": ece, **trial.scores})

    result = with_trials(digits(), change)
    return replace(result, metrics=("ece", "top1"), lower_is_better=frozenset({"ece"}))


def shifted() -> StudyResult:
    """Two other test sets; one trial was not predicted on the second."""

    def change(index: int, trial: TrialResult) -> TrialResult:
        lost = {"sketch": (0.30, 0.18, 0.22)[index], "blurred, severity 3": 0.08}
        found = {
            name: {
                "top1": trial.scores["top1"] - by - 0.004 * trial.seed,
                "ece": trial.scores["ece"] + by / 2,
            }
            for name, by in lost.items()
            if name == "sketch" or (index, trial.seed) != (2, 1)
        }
        return replace(trial, shifted=found)

    result = with_trials(calibrated(), change)
    sets = {"sketch": 1_000, "blurred, severity 3": 797}
    return replace(result, metrics=("top1", "ece"), evaluation_sets=sets)


def companions() -> StudyResult:
    """A second classifier beside each network but one, which has none."""

    def change(index: int, trial: TrialResult) -> TrialResult:
        top1 = trial.scores["top1"]
        found = {"agreement": 0.9, "companion_top1": top1 - 0.05, "combined_top1": top1 + 0.01}
        return replace(trial, companion=found if (index, trial.seed) != (1, 2) else {})

    return with_trials(digits(), change)


def tail(most: int, factor: float, num_classes: int) -> tuple[int, ...]:
    """A long tail as Cui et al. make it."""
    last = num_classes - 1
    return tuple(int(most * factor ** (index / last)) for index in range(num_classes))


def long_tailed(num_classes: int = 10) -> StudyResult:
    """A long tail of real images, filled up by synthetic ones in the last cell."""
    real = tail(2014, 0.01, num_classes) if num_classes == 10 else tail(500, 0.02, num_classes)
    most = max(real)
    filled = tuple(most - count for count in real)
    spread = {0: (real, ()), 1: ((), (most // 2,) * num_classes), 2: (real, filled)}
    cells = []
    for index, each in enumerate(digits().cells):
        ours, made = spread[index]
        trials = []
        for trial in each.trials:
            found = finished(trial.seed, trial.scores["top1"], num_classes)
            sizes = np.asarray(ours or made, dtype=float)
            lost = 0.5 * (1 - sizes / most) ** 4 * (0.4 if index == 2 else 1.0)
            recall = tuple((np.asarray(found.per_class["recall"]) - lost).clip(0, 1).tolist())
            trials.append(replace(found, per_class={"f1": recall, "recall": recall}))
        counts = {"num_real": sum(ours), "num_synthetic": sum(made)}
        per_class = {"real_per_class": ours, "synthetic_per_class": made}
        changes: dict[str, Any] = {**counts, **per_class}
        cells.append(replace(each, trials=tuple(trials), **changes))
    names = CLASSES if num_classes == 10 else tuple(f"species {i}" for i in range(num_classes))
    return replace(digits(), classes=names, cells=tuple(cells), sheets=())


def two_hundred_classes() -> StudyResult:
    """As in CUB-200, with a long tail."""
    return long_tailed(200)


def duplicated() -> StudyResult:
    """Test images that stand in the train split too, dropped in one set and left in another."""
    rng = np.random.default_rng(3)
    images = [png(rng.integers(0, 256, (8, 8), dtype=np.uint8)) for _ in range(10)]
    pairs = tuple(zip(images[:5], images[5:], strict=True))
    checks = (
        DuplicateCheck(
            where="test", num_test=797, num_exact=10, num_near=2, dropped=False, pairs=pairs
        ),
        DuplicateCheck(where="sketch", num_test=1_000, num_exact=1, num_near=0, dropped=True),
        DuplicateCheck(where="blurred", num_test=797, num_exact=0, num_near=0, dropped=False),
    )
    return replace(digits(), duplicates=checks, notes=("trials ran on different devices: a, b",))


def sparse_metric() -> StudyResult:
    """`many_shot` has no value in one trial of a cell, and none at all in another cell."""

    def change(index: int, trial: TrialResult) -> TrialResult:
        known = {"many_shot": 0.97} if index == 0 or (index, trial.seed) == (2, 0) else {}
        return replace(trial, scores={**known, **trial.scores})

    result = with_trials(digits(), change)
    return replace(result, metrics=("many_shot", "top1"))


EVERY: dict[str, Callable[[], StudyResult]] = {
    made.__name__: made
    for made in (
        *(digits, one_seed, partly_failed, no_baseline, nothing_finished),
        *(equal_differences, deferred, many_cells, many_classes, hostile, cross_validated),
        *(calibrated, shifted, companions, long_tailed, two_hundred_classes, duplicated),
        sparse_metric,
    )
}
