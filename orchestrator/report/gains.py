"""What a synthetic set was worth: the measured difference from training without it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.report.fidelity import SetGroup, groups
from orchestrator.report.layout import is_confirmed
from orchestrator.report.reading import main_metric
from orchestrator.report.results import CellResult, StudyResult
from orchestrator.report.rows import Row, rows, scores
from orchestrator.report.statistics import (
    LEVEL,
    Paired,
    Place,
    independent,
    mean,
    sample_std,
    standard_error,
)

Kind = Literal["mixed", "synthetic"]
Context = tuple[Kind, int]
"""How the set takes part, and the baseline it is compared with: gains of one context compare."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The difference of the main metric that the sets of a group made."""

    context: Context
    cells: tuple[int, ...]
    """One cell for each set of the group that has one."""
    found: Paired
    is_confirmed: bool
    """By the corrected test of a single cell; of several fits there is none."""


def gains(result: StudyResult) -> dict[str, Gain]:
    """Key of a group -> what its sets were worth, for groups with cells that train on them.

    A cell counts that trains on one of these sets and on no other. Where there are several, those
    with real images go first, then those whose baseline most groups share.
    """
    metric = main_metric(result)
    compared = {row.cell: row for row in rows(result) if row.metric == metric and row.comparison}
    everything = groups(result)
    places = {group.key: _contexts(result, group, compared) for group in everything}
    order = _order(places)
    found = {}
    for group in everything:
        context = next((each for each in order if each in places[group.key]), None)
        if context is not None:
            gain = _gain(result, context, [compared[i] for i in places[group.key][context]])
            if gain is not None:
                found[group.key] = gain
    return found


def _contexts(
    result: StudyResult, group: SetGroup, compared: Mapping[int, Row]
) -> dict[Context, list[int]]:
    """The cells of a group by context; of several that train on one set, the first."""
    members = {each.key for each in group.sets}
    found: dict[Context, dict[frozenset[str], int]] = {}
    for index in compared:
        cell = result.cells[index]
        # In cross-validation each fold has a set of its own.
        alone = len(cell.sets) == 1 or result.folds is not None
        if cell.baseline is None or not cell.sets or not alone or not members >= set(cell.sets):
            continue
        of_context = found.setdefault((_kind(cell), cell.baseline), {})
        of_context.setdefault(frozenset(cell.sets), index)
    return {context: list(cells.values()) for context, cells in found.items()}


def _kind(cell: CellResult) -> Kind:
    return "mixed" if cell.num_real else "synthetic"


def _order(places: Mapping[str, Mapping[Context, object]]) -> list[Context]:
    every = [context for of_group in places.values() for context in of_group]
    return sorted(set(every), key=lambda c: (c[0] != "mixed", -every.count(c), c[1]))


def _gain(result: StudyResult, context: Context, of_cells: Sequence[Row]) -> Gain | None:
    if len(of_cells) == 1:
        (row,) = of_cells
        assert row.comparison is not None
        found, sure = row.comparison, is_confirmed(row)
    else:
        several = _over_fits([_differences(result, row) for row in of_cells], result.folds)
        if several is None:
            return None
        found, sure = several, False
    cells = tuple(row.cell for row in of_cells)
    return Gain(context=context, cells=cells, found=found, is_confirmed=sure)


def _differences(result: StudyResult, row: Row) -> dict[Place, float]:
    cell = result.cells[row.cell]
    assert cell.baseline is not None
    ours, theirs = (scores(each, row.metric) for each in (cell, result.cells[cell.baseline]))
    return {place: ours[place] - theirs[place] for place in sorted(set(ours) & set(theirs))}


def _over_fits(by_fit: Sequence[Mapping[Place, float]], folds: int | None) -> Paired | None:
    """The mean over fit seeds and training seeds, which cross: all fits share their baseline.

    Its variance is the sum of that between the means of training seeds and that between the means
    of fits: two-way clustering (Cameron, Gelbach & Miller, 2011) without the term it takes off,
    so that it is rather too large. Degrees of freedom are Satterthwaite's (1946). None where no
    training seed is finished for every fit.
    """
    places = sorted(set.intersection(*(set(each) for each in by_fit)))
    if not places:
        return None
    by_place = {place: mean([each[place] for each in by_fit]) for place in places}
    of_places = independent(by_place, folds)
    of_fits = [mean([each[place] for place in places]) for each in by_fit]
    low, high = _interval(of_places, of_fits, folds) or (None, None)
    return Paired(
        num_pairs=len(places) * len(by_fit),
        difference=mean(of_fits),
        error=None,
        num_counted=min(len(of_places), len(of_fits)),
        ci_low=low,
        ci_high=high,
        p=math.nan,
    )


def _interval(
    of_places: Sequence[float], of_fits: Sequence[float], folds: int | None
) -> tuple[float, float] | None:
    from scipy.special import stdtrit

    error, std = standard_error(of_places, folds), sample_std(of_fits)
    if error is None or std is None:
        return None
    variances = [(error**2, len(of_places) - 1), (std**2 / len(of_fits), len(of_fits) - 1)]
    total = sum(variance for variance, _ in variances)
    if total == 0:
        return mean(of_fits), mean(of_fits)
    freedom = total**2 / sum(variance**2 / free for variance, free in variances)
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(total)
    return mean(of_fits) - half, mean(of_fits) + half
