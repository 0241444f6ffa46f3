"""What a few numbers by seed and fold can say, and what they cannot. Floats in, floats out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EXACT_UP_TO = 20
"""Pairs up to which every sign pattern is tried; beyond, `DRAWS` of them, from a fixed seed."""
DRAWS = 200_000
LEVEL = 0.95
ALPHA = 0.05
"""The p, after correction, at which a direction counts as confirmed."""
ROUNDING = 1e-9
"""Equal differences of scores are not equal in their last bits."""

Place = tuple[int, int]
"""Seed and fold of a trial; the fold is 0 where there is no cross-validation."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A cell against its baseline, over the trials that both finished."""

    num_pairs: int
    difference: float
    """Mean over the pairs: the cell minus its baseline."""
    error: float | None
    """Standard error of that mean; None where there is one difference."""
    num_counted: int
    """Differences that the error rests on: the pairs, or folds that several seeds share."""
    ci_low: float | None
    ci_high: float | None
    """The 95 % t interval of the mean difference; None where there is one difference."""
    p: float
    """Two-sided: exact sign-flip, or of the corrected t test in cross-validation."""


def mean(values: Sequence[float]) -> float:
    """The mean of at least one number."""
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float | None:
    """The standard deviation with n-1; None for a single number, which shows no spread."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def independent(values: Mapping[Place, float], folds: int | None) -> list[float]:
    """The numbers that may be counted as runs: one a trial, or one a fold.

    Seeds share their folds. A seed more on the same images is no new draw of them, so it is
    averaged away first.
    """
    if folds is None:
        return [values[place] for place in sorted(values)]
    by_fold: dict[int, list[float]] = {}
    for (_, fold), value in sorted(values.items()):
        by_fold.setdefault(fold, []).append(value)
    return [mean(each) for each in by_fold.values()]


def standard_error(values: Sequence[float], folds: int | None = None) -> float | None:
    """The standard error of the mean; None for a single number.

    Among folds the variance is taken 1/n + n_test/n_train times, not 1/n times, as their training
    sets overlap (Nadeau & Bengio, 2003).
    """
    std = sample_std(values)
    if std is None:
        return None
    if folds is None:
        return std / math.sqrt(len(values))
    return std * math.sqrt(1 / len(values) + 1 / (folds - 1))


def t_interval(
    values: Sequence[float], level: float = LEVEL, *, folds: int | None = None
) -> tuple[float, float] | None:
    """The t interval of the mean; None for a single number."""
    from scipy.special import stdtrit

    error = standard_error(values, folds)
    if error is None:
        return None
    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * error
    return mean(values) - half, mean(values) + half


def corrected_t_p(values: Sequence[float], folds: int) -> float:
    """The two-sided p of the corrected t test that the mean over folds is zero.

    Equal numbers leave it no scale: then the sign-flip p stands in, which needs none.
    """
    from scipy.special import stdtr

    error = standard_error(values, folds)
    if error is None or max(values) - min(values) < ROUNDING:
        return sign_flip_p(values)
    return 2 * float(stdtr(len(values) - 1, -abs(mean(values)) / error))


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


def paired(
    ours: Mapping[Place, float], theirs: Mapping[Place, float], folds: int | None = None
) -> Paired | None:
    """Compare scores by seed and fold; only places in both count. None where there is none."""
    places = sorted(set(ours) & set(theirs))
    if not places:
        return None
    differences = independent({place: ours[place] - theirs[place] for place in places}, folds)
    low, high = t_interval(differences, folds=folds) or (None, None)
    return Paired(
        num_pairs=len(places),
        difference=mean(differences),
        error=standard_error(differences, folds),
        num_counted=len(differences),
        ci_low=low,
        ci_high=high,
        p=corrected_t_p(differences, folds) if folds else sign_flip_p(differences),
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
    error: float, num_counted: int, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The true mean difference that a t test would find with probability `power`.

    `error` is the standard error of the mean difference. None for a single difference.
    """
    from scipy.optimize import brentq
    from scipy.special import nctdtr, stdtrit

    if num_counted < 2:
        return None
    freedom = num_counted - 1
    critical = float(stdtrit(freedom, 1 - alpha / 2))

    # Finding it with the wrong sign is left out: it adds less than 1e-5 to the power, and scipy
    # has no number for that tail where there are few pairs.
    def lacking(shift: float) -> float:
        return float(1 - nctdtr(freedom, shift, critical)) - power

    # At a shift of 1.4 critical values + 4 any number of pairs is past a power of 0.8.
    shift = float(brentq(lacking, 0.0, 1.4 * critical + 4, xtol=1e-10))
    return shift * error
