"""The tables of synthetic sets as headings and texts, before any file format."""

from collections.abc import Mapping, Sequence

from orchestrator.report import wording
from orchestrator.report.fidelity import SetGroup, fit_state, groups
from orchestrator.report.gains import Gain, gains
from orchestrator.report.layout import Grid, Line, Verdict, direction, reading_of, tone_of
from orchestrator.report.measures import RECONSTRUCTION, Measure, shown_measures
from orchestrator.report.ranking import FEWEST, Correlation, Ranking, rankings
from orchestrator.report.reading import main_metric
from orchestrator.report.results import SetResult, StudyResult
from orchestrator.report.statistics import ALPHA, mean

Columns = dict[str, list[str]]
"""Heading -> one text a row."""


def fidelity_grid(result: StudyResult) -> Grid:
    """One line a group of sets: what was measured, and what the sets were worth. No times."""
    if not is_measured(result):
        return Grid(headings=(), num_names=1, lines=())
    columns = {**measure_columns(result), **gain_columns(result), **stability_columns(result)}
    return set_grid(result, columns)


def is_measured(result: StudyResult) -> bool:
    """Whether anything was asked for, or is known, of the sets of a study."""
    return bool(result.sets) and bool(shown_measures(result))


def generator_grid(result: StudyResult) -> Grid:
    """One line a group of fitted sets: the gain, the first measure, and what they cost."""
    if not is_fitted(result):
        return Grid(headings=(), num_names=1, lines=())
    measured = dict(list(measure_columns(result).items())[:2]) if is_measured(result) else {}
    columns = {**gain_columns(result), **measured, **cost_columns(result)}
    return set_grid(result, columns)


def set_grid(result: StudyResult, columns: Mapping[str, Sequence[str]]) -> Grid:
    """A table of the groups with these columns; the direction of the gain marks its line."""
    found = gains(result)
    lines = []
    for place, group in enumerate(groups(result)):
        said = gain_verdict(found.get(group.key))
        lines.append(
            Line(
                texts=(group.label, *(column[place] for column in columns.values())),
                verdict=said,
                tone=tone_of(result, main_metric(result), said),
                is_indication=is_indication(found.get(group.key)),
            )
        )
    return Grid(headings=("set", *columns), num_names=1, lines=tuple(lines))


def gain_verdict(gain: Gain | None) -> Verdict:
    """What a gain may claim."""
    return direction(gain.found) if gain else ""


def is_indication(gain: Gain | None) -> bool:
    """The interval gives a direction that no test confirms."""
    return gain_verdict(gain) in ("higher", "lower") and not (gain and gain.is_confirmed)


def measure_columns(result: StudyResult) -> Columns:
    """How many sets of each group are measured, then the mean and spread of each measure."""
    found, measures = groups(result), shown_measures(result)
    # What a fit says of itself is no measure of a set, unless there is nothing else.
    names = [each.name for each in measures if each.name != RECONSTRUCTION] or [RECONSTRUCTION]
    numbers = [_num_measured(group, names) for group in found]
    pairs = list(zip(found, numbers, strict=True))
    columns = {"n": [wording.out_of(number, len(group.sets)) for group, number in pairs]}
    for measure in measures:
        columns[measure.heading] = [_measure_text(measure, *pair) for pair in pairs]
    letters = stamp_letters(result)
    if len(set(letters.values())) > 1:
        columns["convention"] = [letters.get(group.key, wording.NONE) for group in found]
    return columns


def _num_measured(group: SetGroup, names: Sequence[str]) -> int:
    """Its sets that have some of these measures."""
    return max((group.measures[name].n for name in names if name in group.measures), default=0)


def _measure_text(measure: Measure, group: SetGroup, num_measured: int) -> str:
    summary = group.measures.get(measure.name)
    if summary is None:
        return wording.NONE
    text = wording.minus(measure.spread(summary.mean, summary.std))
    partly = summary.n not in (num_measured, len(group.sets))
    return f"{text} ({wording.out_of(summary.n, len(group.sets))})" if partly else text


def stamp_letters(result: StudyResult) -> dict[str, str]:
    """Key of a group -> the letter of the convention that it was measured by."""
    letters: dict[tuple[tuple[str, str], ...], str] = {}
    found = {}
    for group in groups(result):
        if group.stamp:
            stamp = tuple(group.stamp.items())
            letters.setdefault(stamp, _letter(len(letters)))
            found[group.key] = letters[stamp]
    return found


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else f"A{place - 25}"


def gain_columns(result: StudyResult) -> Columns:
    """What the sets of each group were worth, in points of the main metric; nothing where no cell
    trains on one group alone."""
    found = gains(result)
    if not found:
        return {}
    every = [found.get(group.key) for group in groups(result)]
    metric = main_metric(result)
    columns = {
        "gain (points)": [
            wording.minus(wording.points(g.found.difference)) if g else wording.NONE for g in every
        ],
        "95 % interval": [
            wording.minus(wording.interval(g.found.ci_low, g.found.ci_high)) if g else wording.NONE
            for g in every
        ],
        "reading": [reading_of(result, metric, gain_verdict(g)) for g in every],
        "pairs": [_pairs(g) for g in every],
    }
    kinds = {gain.context[0] for gain in found.values()}
    against = {gain.context[1] for gain in found.values()}
    if len(kinds) > 1:
        columns["trained on"] = [g.context[0] if g else wording.NONE for g in every]
    if len(against) > 1:
        labels = [result.cells[g.context[1]].label if g else wording.NONE for g in every]
        columns["against"] = labels
    return columns


def _pairs(gain: Gain | None) -> str:
    if gain is None:
        return "0"
    num_pairs, num_fits = gain.found.num_pairs, len(gain.cells)
    return f"{num_pairs // num_fits} × {num_fits}" if num_fits > 1 else str(num_pairs)


def stability_columns(result: StudyResult) -> Columns:
    """How many fits of each group failed, of those that ended; nothing where none is fitted."""
    if not is_fitted(result):
        return {}
    return {"failed fits": [_failed(group) for group in groups(result)]}


def is_fitted(result: StudyResult) -> bool:
    """Whether a generator stands behind any set; none does behind folders."""
    return any(group.fits for group in groups(result))


def _failed(group: SetGroup) -> str:
    states = [fit_state(fit) for fit in group.fits]
    ended = len(states) - states.count("missing")
    return f"{states.count('failed')} of {ended}" if ended else wording.NONE


def cost_columns(result: StudyResult) -> Columns:
    """What a fit took, and how fast it is sampled: means over what is finished; nothing where none
    is fitted."""
    if not is_fitted(result):
        return {}
    found = groups(result)
    return {
        **stability_columns(result),
        "fit time": [_fit_time(group) for group in found],
        "peak memory": [
            wording.memory(max((fit.peak_memory_bytes for fit in group.fits), default=0))
            for group in found
        ],
        "parameters (M)": [
            wording.millions(max((fit.num_parameters for fit in group.fits), default=0) or None)
            for group in found
        ],
        "images/s": [_speed(group.sets) for group in found],
    }


def _fit_time(group: SetGroup) -> str:
    seconds = [fit.seconds for fit in group.fits if fit_state(fit) == "finished"]
    return wording.hours(mean(seconds) / 3600) if seconds else wording.NONE


def _speed(sets: Sequence[SetResult]) -> str:
    speeds = [each.images_per_s for each in sets if each.images_per_s]
    return wording.significant(mean(speeds)) if speeds else wording.NONE


def ranking_grid(ranking: Ranking) -> Grid:
    """One line a measure: how well the order it gives is the order by gain."""
    headings = ("measure", "rank correlation with the gain", "sets", "p", "p (Holm)", "reading")
    lines = tuple(
        Line(
            texts=(
                found.measure.heading,
                wording.NONE if found.rho is None else wording.minus(f"{found.rho + 0.0:+.2f}"),
                str(found.n),
                wording.p_value(found.p),
                wording.p_value(found.p_holm),
                correlation_reading(found),
            )
        )
        for found in ranking.correlations
    )
    return Grid(headings=headings, num_names=1, lines=lines)


def ranking_grids(result: StudyResult) -> tuple[tuple[Ranking, Grid], ...]:
    """The rankings of three sets and more, each with its table."""
    several = (ranking for ranking in rankings(result) if len(ranking.labels) > 2)
    return tuple((ranking, ranking_grid(ranking)) for ranking in several)


def correlation_reading(found: Correlation) -> str:
    """What a rank correlation may claim."""
    if found.n < FEWEST:
        return f"{found.n} sets can show nothing"
    if found.rho is None or found.p_holm is None:
        return "all alike"
    if found.p_holm > ALPHA:
        return "undecided"
    return "goes with the gain" if found.rho > 0 else "goes against the gain"
