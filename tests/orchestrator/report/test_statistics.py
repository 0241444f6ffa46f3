"""The statistics against scipy, statsmodels and numbers worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from orchestrator.report.statistics import (
    holm,
    mean,
    minimum_detectable_effect,
    paired,
    sample_std,
    sign_flip_p,
    smallest_p,
    t_interval,
)

DRAWN = [np.random.default_rng(n).normal(0.4, 1.0, n).tolist() for n in (2, 3, 5, 8, 12)]


def by_seed(values: list[float]) -> dict[tuple[int, int], float]:
    return {(seed, 0): value for seed, value in enumerate(values)}


def test_mean_and_std_by_hand() -> None:
    assert mean([1.0, 2.0, 6.0]) == 3.0
    assert sample_std([1.0, 2.0, 6.0]) == pytest.approx(math.sqrt(7))  # (4 + 1 + 9) / 2
    assert sample_std([0.5]) is None
    assert sample_std([0.5, 0.5]) == 0.0


def test_a_t_interval_by_hand() -> None:
    half = 4.30265 / math.sqrt(3)  # the 97.5 % quantile with 2 degrees of freedom; std 1
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - half, 2 + half), rel=1e-5)
    assert t_interval([1.0]) is None


@pytest.mark.parametrize("differences", DRAWN, ids=len)
def test_paired_differences_are_those_of_a_paired_t_test(differences: list[float]) -> None:
    baseline = np.random.default_rng(1).normal(0, 1, len(differences)).tolist()
    ours = [base + difference for base, difference in zip(baseline, differences, strict=True)]
    found = paired(by_seed(ours), by_seed(baseline))
    expected = stats.ttest_rel(ours, baseline).confidence_interval(0.95)
    assert found is not None
    assert found.num_pairs == len(differences)
    assert found.difference == pytest.approx(np.mean(differences))
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("differences", DRAWN, ids=len)
def test_sign_flips_are_those_of_scipy(differences: list[float]) -> None:
    expected = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_sign_flips_by_hand() -> None:
    assert sign_flip_p([1.0, 2.0, 3.0]) == 0.25  # only +++ and --- reach 6
    assert sign_flip_p([3.0, -1.0, 2.0]) == 0.5  # 6, 4, -4, -6 of eight sums reach 4
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert sign_flip_p([0.7]) == 1.0


def test_equal_sums_count_as_equal_whatever_the_rounding() -> None:
    assert sign_flip_p([0.1, 0.2, 0.3, -0.3]) == sign_flip_p([1.0, 2.0, 3.0, -3.0])


@pytest.mark.parametrize(
    ("num_pairs", "least"), [(1, 1.0), (3, 0.25), (5, 0.0625), (6, 0.03125), (8, 0.0078125)]
)
def test_the_smallest_p_is_reached_and_never_passed(num_pairs: int, least: float) -> None:
    assert smallest_p(num_pairs) == least
    assert sign_flip_p([1.0] * num_pairs) == least


def test_many_pairs_are_drawn_the_same_every_time() -> None:
    differences = np.random.default_rng(3).normal(0.3, 1, 30).tolist()
    first = sign_flip_p(differences)
    assert first == sign_flip_p(differences)
    # The t test is close to the sign-flip test for that many normal numbers.
    assert first == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)


def test_only_seeds_finished_in_both_are_paired() -> None:
    ours = {(0, 0): 0.9, (1, 0): 0.8, (2, 0): 0.7}
    found = paired(ours, {(1, 0): 0.7, (2, 0): 0.5, (9, 0): 0.1})
    assert found is not None
    assert found.num_pairs == 2
    assert found.difference == pytest.approx(0.15)
    assert paired({(0, 0): 0.9}, {(1, 0): 0.9}) is None


def test_one_pair_has_no_interval() -> None:
    found = paired({(0, 0): 0.9}, {(0, 0): 0.8})
    assert found is not None
    assert (found.error, found.ci_low, found.ci_high, found.p) == (None, None, None, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    p_values = np.round(np.random.default_rng(seed).uniform(0, 0.3, 9), 2).tolist()  # with ties
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))
    assert holm([0.25, 0.5]) == (0.5, 0.5)
    assert holm([]) == ()


@pytest.mark.parametrize("num_pairs", [2, 3, 5, 10, 40])
def test_the_detectable_effect_is_that_of_statsmodels(num_pairs: int) -> None:
    expected = 0.02 * TTestPower().solve_power(nobs=num_pairs, alpha=0.05, power=0.8)
    error = 0.02 / math.sqrt(num_pairs)
    assert minimum_detectable_effect(error, num_pairs) == pytest.approx(expected, rel=1e-5)


def test_one_pair_detects_nothing() -> None:
    assert minimum_detectable_effect(0.02, 1) is None
