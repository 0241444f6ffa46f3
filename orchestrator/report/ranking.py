"""Whether a measure of synthetic sets goes with what the sets were worth: rank correlation."""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.report.fidelity import SetGroup, groups
from orchestrator.report.gains import Context, Gain, gains
from orchestrator.report.measures import Measure, shown_measures
from orchestrator.report.results import StudyResult
from orchestrator.report.statistics import holm

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FEWEST = 5
"""Sets from which an exact test can go below 0.05: of 4, two of 24 orders are as extreme as any."""
_EXACT_UP_TO = 8
_DRAWS = 50_000


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """How well the order by a measure is the order by gain."""

    measure: Measure
    rho: float | None
    """Spearman's, positive where sets that the measure calls better gained more; None where there
    are fewer than three sets, or all are alike."""
    n: int
    """Groups of sets that have both."""
    p: float | None
    """Two-sided: the share of orders of the gains that are as extreme."""
    p_holm: float | None = None
    """Corrected over the measures."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Groups of sets that may be ranked: measured alike, and compared with one baseline."""

    context: Context
    stamp: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    correlations: tuple[Correlation, ...]


def rankings(result: StudyResult) -> tuple[Ranking, ...]:
    """One ranking for each convention and baseline that two or more groups share."""
    gained = gains(result)
    strata: dict[tuple[Context, tuple[tuple[str, str], ...]], list[SetGroup]] = {}
    for group in groups(result):
        if group.key in gained and group.measures:
            stamp = tuple(group.stamp.items())
            strata.setdefault((gained[group.key].context, stamp), []).append(group)
    return tuple(
        Ranking(
            context=context,
            stamp=stamp,
            labels=tuple(group.label for group in members),
            correlations=_correlations(
                shown_measures(result), [(group, gained[group.key]) for group in members], result
            ),
        )
        for (context, stamp), members in strata.items()
        if len(members) > 1
    )


def _correlations(
    measures: Sequence[Measure], members: Sequence[tuple[SetGroup, Gain]], result: StudyResult
) -> tuple[Correlation, ...]:
    found = [_correlation(each, members, result) for each in measures]
    tested = [index for index, each in enumerate(found) if each.p is not None]
    corrected = holm([found[index].p or 0.0 for index in tested])
    for index, p_holm in zip(tested, corrected, strict=True):
        found[index] = replace(found[index], p_holm=p_holm)
    return tuple(each for each in found if each.n > 1)


def _correlation(
    measure: Measure, members: Sequence[tuple[SetGroup, Gain]], result: StudyResult
) -> Correlation:
    from orchestrator.report.reading import main_metric

    worse = -1 if measure.higher_is_better is False else 1
    lost = -1 if main_metric(result) in result.lower_is_better else 1
    pairs = [
        (worse * group.measures[measure.name].mean, lost * gain.found.difference)
        for group, gain in members
        if measure.name in group.measures
    ]
    ours, theirs = [x for x, _ in pairs], [y for _, y in pairs]
    rho = spearman(ours, theirs)
    p = None if rho is None else permutation_p(ours, theirs)
    return Correlation(measure=measure, rho=rho, n=len(pairs), p=p)


def ranks(values: Sequence[float]) -> list[float]:
    """From 1, in rising order; equal values share the mean of theirs."""
    order = sorted(values)
    return [
        (order.index(value) + 1 + len(order) - order[::-1].index(value)) / 2 for value in values
    ]


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's correlation of the ranks; None for fewer than three pairs, or no spread."""
    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    ours, theirs = _centred(first), _centred(second)
    norm = math.sqrt(math.fsum(x * x for x in ours) * math.fsum(y * y for y in theirs))
    return math.fsum(x * y for x, y in zip(ours, theirs, strict=True)) / norm


def _centred(values: Sequence[float]) -> list[float]:
    middle = (len(values) + 1) / 2
    return [rank - middle for rank in ranks(values)]


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p of Spearman's rho: how many orders of one side are as extreme.

    All orders up to 8 pairs; beyond, the share among randomly drawn orders and the one seen.
    """
    import numpy as np

    ours, theirs = np.array(_centred(first)), np.array(_centred(second))
    seen = abs(float(ours @ theirs)) - 1e-9
    extreme = np.abs(theirs[_orders(len(theirs))] @ ours) >= seen
    if len(ours) <= _EXACT_UP_TO:
        return float(extreme.mean())
    return (int(extreme.sum()) + 1) / (len(extreme) + 1)


@functools.lru_cache(maxsize=4)
def _orders(count: int) -> "npt.NDArray[np.intp]":
    import numpy as np

    if count <= _EXACT_UP_TO:
        every: Any = list(itertools.permutations(range(count)))
        return np.array(every, dtype=np.intp)
    rng = np.random.default_rng(0)
    return rng.permuted(np.tile(np.arange(count, dtype=np.intp), (_DRAWS, 1)), axis=1)
