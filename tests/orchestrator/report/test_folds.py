"""Cross-validation: what is paired, how wide the intervals are, and what is said of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from orchestrator.report import reading, table
from orchestrator.report.documents import latex, markdown, text
from orchestrator.report.html import html
from orchestrator.report.layout import score_grid, verdict
from orchestrator.report.remarks import remarks
from orchestrator.report.results import StudyResult
from orchestrator.report.rows import rows, scores
from orchestrator.report.statistics import (
    Place,
    corrected_t_p,
    independent,
    paired,
    sign_flip_p,
    standard_error,
    t_interval,
)
from tests.orchestrator.report import samples

FIVE = [0.010, 0.022, 0.013, -0.004, 0.019]


def said_of(result: StudyResult) -> str:
    return " ".join(f"{remark.title}: {remark.text}" for remark in remarks(result))


def test_the_corrected_interval_by_hand() -> None:
    """Nadeau & Bengio: the variance times 1/n + n_test/n_train, here 1/5 + 1/4."""
    half = stats.t.ppf(0.975, 4) * np.std(FIVE, ddof=1) * math.sqrt(1 / 5 + 1 / 4)
    assert t_interval(FIVE, folds=5) == pytest.approx((0.012 - half, 0.012 + half))
    plain = t_interval(FIVE)
    assert plain is not None
    assert half > 1.49 * (plain[1] - 0.012)  # sqrt(1 + 5/4)


def test_the_corrected_p_agrees_with_the_corrected_interval() -> None:
    low, high = t_interval(FIVE, folds=5) or (0.0, 0.0)
    touching = [value - low for value in FIVE]  # whose interval just holds zero
    assert corrected_t_p(touching, 5) == pytest.approx(0.05)
    assert corrected_t_p([value - high for value in FIVE], 5) == pytest.approx(0.05)
    error = standard_error(FIVE, 5)
    assert error is not None
    assert corrected_t_p(FIVE, 5) == pytest.approx(2 * stats.t.sf(0.012 / error, 4))


def test_equal_folds_have_no_scale_and_fall_back_on_signs() -> None:
    assert corrected_t_p([0.1 + 0.2, 0.3, 0.3], 3) == sign_flip_p([0.3] * 3) == 0.25
    assert corrected_t_p([0.0, 0.0], 2) == 1.0
    assert corrected_t_p([0.4], 2) == 1.0


def test_another_seed_on_the_same_folds_is_no_new_fold() -> None:
    """Copies of each score under a second seed must not narrow anything."""
    once: dict[Place, float] = {(0, fold): value for fold, value in enumerate(FIVE)}
    twice = once | {(1, fold): value for fold, value in enumerate(FIVE)}
    assert independent(twice, 5) == pytest.approx(FIVE)
    assert len(independent(twice, None)) == 10
    nought = dict.fromkeys(twice, 0.0)
    few, many = paired(once, nought, 5), paired(twice, nought, 5)
    assert few is not None
    assert many is not None
    assert (few.num_pairs, many.num_pairs, many.num_counted) == (5, 10, 5)
    assert (many.ci_low, many.ci_high, many.p) == pytest.approx((few.ci_low, few.ci_high, few.p))


def test_trials_are_paired_by_seed_and_fold() -> None:
    result = samples.cross_validated()
    mixed = next(row for row in rows(result) if (row.label, row.metric) == ("mixed", "top1"))
    assert (mixed.n, mixed.expected) == (9, 10)
    assert mixed.comparison is not None
    assert (mixed.comparison.num_pairs, mixed.comparison.num_counted) == (9, 5)
    ours, theirs = (scores(result.cells[index], "top1") for index in (2, 0))
    by_fold = [
        np.mean([ours[seed, fold] - theirs[seed, fold] for seed in (0, 1) if (seed, fold) in ours])
        for fold in range(5)
    ]
    assert mixed.diff == pytest.approx(np.mean(by_fold))
    # Folds differ by ten times what the cells do: unpaired, this would be lost.
    assert mixed.comparison.error == pytest.approx(np.std(by_fold, ddof=1) * math.sqrt(0.45))
    assert verdict(mixed) == "undecided"


def test_every_trial_of_a_cell_counts_in_its_mean_and_spread() -> None:
    result = samples.cross_validated()
    real = rows(result)[0]
    every = [trial.scores["top1"] for trial in result.cells[0].trials]
    assert (real.mean, real.std) == pytest.approx((np.mean(every), np.std(every, ddof=1)))
    grid = score_grid(result)
    n = grid.headings.index("n")
    assert [line.texts[n] for line in grid.lines] == ["10", "10", "9 of 10"]


def test_what_is_said_of_folds() -> None:
    said = said_of(samples.cross_validated())
    assert "over 10 trials: 2 training seeds (0, 1) by 5 folds" in said
    assert "the variance of the training seed and of the split" in said
    assert "two folds have 75 % in common" in said
    assert "1/n + 1/4 times" in said
    assert "scores are averaged over seeds first, and this n is 5" in said
    assert "No sign-flip test is made" in said
    assert "200 test images held out in each fold" in said
    for wrong in ("training seed only", "exact", "smallest two-sided", "the test set selected"):
        assert wrong not in said
    assert "averaged over seeds" not in said_of(samples.cross_validated(num_seeds=1))
    assert "exact" not in reading.answer(samples.cross_validated())


def test_a_doubt_among_folds_names_the_t_test() -> None:
    """A difference that its interval gives a direction, and Holm over two takes back."""
    whole = samples.cross_validated(num_seeds=1)
    shift = (0.007, 0.023, 0.013, 0.010, 0.020)
    real = whole.cells[0]
    better = replace(
        real,
        label="better",
        baseline=0,
        trials=tuple(
            replace(trial, scores={"top1": trial.scores["top1"] + by})
            for trial, by in zip(real.trials, shift, strict=True)
        ),
    )
    same = replace(real, label="same", baseline=0)
    said = reading.answer(replace(whole, cells=(real, better, same), metrics=("top1",)))
    assert "better is 1.46 points higher than real" in said
    assert said.endswith("though the corrected t test does not confirm this.")


def test_formats_name_the_fold() -> None:
    result = samples.cross_validated()
    assert "mixed, seed 1, fold 4: failed: lost" in markdown(result)
    assert "paired by seed and fold" in latex(result)
    assert "9 of 10" in text(result)
    page = html(result)
    for phrase in ("Each dot is one seed and fold", ">seed 1, fold 4<", "corrected 95", "failed"):
        assert phrase in page
    lines = table.csv_text(result).splitlines()
    assert lines[0] == "variant,metric,mean,std,n,expected,diff,ci_low,ci_high,p,p_holm"
    assert ",9,10," in lines[9]
    assert '"fold": 4' in table.json_text(result)
    assert '"fold": null' in table.json_text(samples.digits())
