"""What a few numbers by seed can say, and what they cannot. Plain floats in, plain floats out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EXACT_UP_TO = 20
"""Pairs up to which every sign pattern is tried; beyond, `DRAWS` of them, from a fixed seed."""
DRAWS = 200_000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A cell against its baseline, over the seeds that both finished."""

    num_pairs: int
    difference: float
    """Mean over the pairs: the cell minus its baseline."""
    std: float | None
    """Of the differences, n-1; None for one pair."""
    ci_low: float | None
    ci_high: float | None
    """The 95 % t interval of the mean difference; None for one pair."""
    p: float
    """Two-sided, exact sign-flip."""


def mean(values: Sequence[float]) -> float:
    """The mean of at least one number."""
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float | None:
    """The standard deviation with n-1; None for a single number, which shows no spread."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """The t interval of the mean; None for a single number."""
    from scipy.special import stdtrit

    std = sample_std(values)
    if std is None:
        return None
    quantile = float(stdtrit(len(values) - 1, (1 + level) / 2))
    half = quantile * std / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def sign_flip_p(differences: Sequence[float]) -> float:
    """The two-sided sign-flip p of the hypothesis that differences are symmetric around zero.

    Exact up to 20 pairs: the share of the 2^n sign patterns whose sum is as far from zero as the
    one seen. Beyond that, the same share among randomly drawn patterns and the one seen.
    """
    import numpy as np

    count = len(differences)
    # Sums that are equal on paper differ in the last bits, by the order of their terms.
    least = abs(math.fsum(differences)) - 1e-9 * math.fsum(map(abs, differences))
    if count > EXACT_UP_TO:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(DRAWS, count))
        extreme = int((np.abs(signs @ np.asarray(differences)) >= least).sum())
        return (extreme + 1) / (DRAWS + 1)
    sums = np.array([differences[0]])  # the other half of the patterns mirrors this one
    for difference in differences[1:]:
        sums = np.concatenate([sums + difference, sums - difference])
    return float(np.mean(np.abs(sums) >= least))


def smallest_p(num_pairs: int) -> float:
    """The least two-sided p that a sign-flip test of so many pairs can give: 2 of 2^n patterns."""
    return 1.0 if num_pairs < 1 else 2.0 / 2.0**num_pairs


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Paired | None:
    """Compare scores by seed; only seeds in both count. None where there is no such seed."""
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    differences = [ours[seed] - theirs[seed] for seed in seeds]
    low, high = t_interval(differences) or (None, None)
    return Paired(
        num_pairs=len(seeds),
        difference=mean(differences),
        std=sample_std(differences),
        ci_low=low,
        ci_high=high,
        p=sign_flip_p(differences),
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct a family of p-values for their number (Holm, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, running)
    return tuple(corrected)


def minimum_detectable_effect(
    std: float, num_pairs: int, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The true mean difference that a paired t test would find with probability `power`.

    `std` is that of the differences. None for a single pair.
    """
    from scipy.optimize import brentq
    from scipy.special import nctdtr, stdtrit

    if num_pairs < 2:
        return None
    freedom = num_pairs - 1
    critical = float(stdtrit(freedom, 1 - alpha / 2))

    # Finding it with the wrong sign is left out: it adds less than 1e-5 to the power, and scipy
    # has no number for that tail where there are few pairs.
    def lacking(shift: float) -> float:
        return float(1 - nctdtr(freedom, shift, critical)) - power

    # At a shift of 1.4 critical values + 4 any number of pairs is past a power of 0.8.
    shift = float(brentq(lacking, 0.0, 1.4 * critical + 4, xtol=1e-10))
    return shift * std / math.sqrt(num_pairs)
