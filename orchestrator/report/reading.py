"""What may be said about the numbers, in sentences: the answer, and how far it reaches."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report import wording
from orchestrator.report.layout import FEWEST_EQUAL, has_equal_differences, is_too_equal, verdict
from orchestrator.report.results import StudyResult
from orchestrator.report.statistics import minimum_detectable_effect, smallest_p
from orchestrator.report.table import Row, rows, shown_metrics

ALPHA = 0.05
TOLD_ONE_BY_ONE = 3
"""Comparisons up to which the answer names each."""


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One thing to know when reading a table."""

    title: str
    text: str
    warning: bool = False


def main_metric(result: StudyResult) -> str:
    """The metric that the question is answered in: the first asked for that has a number.

    Where the study asks for none (a confusion matrix alone), it is `top1_last`.
    """
    return shown_metrics(result)[0]


def _spelled(result: StudyResult, metric: str) -> str:
    """The name of a metric, and how it came in where the study did not ask for it."""
    if metric in result.metrics:
        return metric
    meaning = {
        "top1_last": "top-1 accuracy of the last weights",
        "val_top1": "top-1 accuracy in validation",
    }[metric]
    return f"{metric} ({meaning}, as the study asks for no metric that is one number)"


def num_finished(result: StudyResult) -> int:
    """How many trials of the study have scores."""
    return sum(t.status == "finished" for cell in result.cells for t in cell.trials)


def num_trials(result: StudyResult) -> int:
    """How many trials the study asks for."""
    return sum(len(cell.trials) for cell in result.cells)


def answer(result: StudyResult) -> str:
    """Answer the question in one sentence, and claim no more than the intervals allow."""
    finished, asked = num_finished(result), num_trials(result)
    if not finished:
        return f"No answer yet: none of {wording.counted(asked, 'trial')} is finished."
    metric = main_metric(result)
    of_metric = [row for row in rows(result) if row.metric == metric]
    compared = [row for row in of_metric if row.comparison]
    if not compared:
        said = _nothing_compared(result, of_metric)
    elif len(compared) <= TOLD_ONE_BY_ONE:
        said = _one_by_one(result, compared)
    else:
        said = _counted(result, compared)
    if finished == asked:
        return said
    return f"With {finished} of {asked} trials finished: {said[0].lower()}{said[1:]}"


def _nothing_compared(result: StudyResult, of_metric: Sequence[Row]) -> str:
    known = [row for row in of_metric if row.mean is not None]
    if not known:
        return "No finished trial has a score."
    best = max(known, key=lambda row: row.mean or 0.0)
    why = (
        "no cell and its baseline have finished the same seed"
        if any(cell.baseline is not None for cell in result.cells)
        else "the study names no baseline"
    )
    trials = wording.counted(best.n, "trial")
    return (
        f"Nothing can be compared, as {why}; the highest mean {_spelled(result, best.metric)} is "
        f"{wording.percent(best.mean)} % ({best.label}, {trials}), which is no test of anything."
    )


def _one_by_one(result: StudyResult, compared: Sequence[Row]) -> str:
    told = "; ".join(_told(result, row) for row in compared)
    directed = [row for row in compared if verdict(row) != "undecided"]
    return f"In {_spelled(result, compared[0].metric)}, {told}{_doubt(directed)}."


def _told(result: StudyResult, row: Row) -> str:
    baseline = result.cells[row.cell].baseline
    against = "" if baseline is None else result.cells[baseline].label
    if row.diff is None or row.comparison is None:
        return f"{row.label} cannot be compared"
    if row.ci_low is None:
        points = wording.minus(wording.points(row.diff))
        return f"{row.label} is at {points} points from {against} in one pair, which shows nothing"
    pairs = f"{row.comparison.num_pairs} pairs"
    rests_on = _interval(row) if has_equal_differences(row) else f"95 % {_interval(row)}, {pairs}"
    if verdict(row) == "undecided":
        points = wording.minus(wording.points(row.diff))
        return f"{row.label} is not shown to differ from {against} ({points} points, {rests_on})"
    points = wording.points(abs(row.diff)).removeprefix("+")
    return f"{row.label} is {points} points {verdict(row)} than {against} ({rests_on})"


def _interval(row: Row) -> str:
    """The interval of a difference, or that there is none to speak of."""
    if row.comparison and has_equal_differences(row):
        return f"the same in each of {row.comparison.num_pairs} pairs"
    return f"interval {wording.minus(wording.interval(row.ci_low, row.ci_high))}"


def _doubt(directed: Sequence[Row]) -> str:
    """What the exact test leaves of the directions that intervals gave."""
    unsure = [row for row in directed if row.p_holm is None or row.p_holm > ALPHA]
    if not unsure:
        return ""
    most = max(row.comparison.num_pairs for row in unsure if row.comparison)
    if smallest_p(most) > ALPHA:
        return (
            f" \N{EM DASH} though with {most} seeds the exact test cannot go below "
            f"p = {smallest_p(most):g}, so a direction here is an indication and no proof"
        )
    which = "this" if len(directed) == 1 else f"{len(unsure)} of these {len(directed)}"
    return f" \N{EM DASH} though the corrected exact test does not confirm {which}"


def _counted(result: StudyResult, compared: Sequence[Row]) -> str:
    said = [verdict(row) for row in compared]
    sure = [
        row
        for row in compared
        if verdict(row) != "undecided" and row.p_holm is not None and row.p_holm <= ALPHA
    ]
    largest = max(compared, key=lambda row: abs(row.diff or 0.0))
    points = wording.minus(wording.points(largest.diff))
    verb = "is" if len(sure) == 1 else "are"
    stands = "none of them is" if not sure else f"{len(sure)} of them {verb}"
    return (
        f"Of {len(compared)} comparisons in {_spelled(result, compared[0].metric)}, "
        f"{said.count('higher')} are higher, {said.count('lower')} lower and "
        f"{said.count('undecided')} undecided by their 95 % intervals, and {stands} confirmed by "
        f"the exact test after correction; the largest difference is {points} points "
        f"({largest.label}, {_interval(largest)})."
    )


def remarks(result: StudyResult) -> tuple[Remark, ...]:
    """How to read the tables: what the spread holds, what n can show, what was held equal."""
    compared = [row for row in rows(result) if row.comparison]
    return (
        _spread(result),
        *((_comparison(compared),) if compared else ()),
        *_equal(compared),
        *_power(result, compared),
        _budget(result),
        _images(result),
        _selection(),
        *(Remark(title="Also differs", text=text, warning=True) for text in result.differences),
    )


def _spread(result: StudyResult) -> Remark:
    return Remark(
        title="Spread",
        text="\N{PLUS-MINUS SIGN} is the sample standard deviation (n\N{MINUS SIGN}1) over "
        f"training seeds ({', '.join(map(str, result.seeds))}). Split and synthetic images are the "
        "same in all of them, so it holds the variance of the training seed only.",
    )


def _comparison(compared: Sequence[Row]) -> Remark:
    family = sum(row.metric == compared[0].metric for row in compared)
    return Remark(
        title="Differences",
        text="Paired by seed with the baseline at equal other settings, over the seeds finished in "
        "both: mean, 95 % t interval, exact two-sided sign-flip p, and p corrected by Holm for "
        f"{wording.counted(family, 'comparison')} of a metric. Intervals are not corrected. Higher "
        "or lower is said only where the interval excludes zero.",
    )


def _equal(compared: Sequence[Row]) -> tuple[Remark, ...]:
    """Nothing, unless differences of zero spread were kept from claiming a direction."""
    alike = [row for row in compared if is_too_equal(row) and round(row.diff or 0.0, 9)]
    if not alike:
        return ()
    text = (
        f"In {len(alike)} of {wording.counted(len(compared), 'difference')} all pairs differ by "
        "exactly the same amount, so their interval has no width. Scores move in whole images, and "
        f"a few seeds fall together by chance: below {FEWEST_EQUAL} pairs that reads as undecided."
    )
    return (Remark(title="Equal differences", text=text, warning=True),)


def _power(result: StudyResult, compared: Sequence[Row]) -> tuple[Remark, ...]:
    seeds = len(result.seeds)
    least = smallest_p(seeds)
    metric = main_metric(result)
    family = max(1, sum(row.metric == metric for row in compared))
    after = f", and {min(1.0, family * least):.3g} corrected for {family}" if family > 1 else ""
    reach = f"The smallest two-sided sign-flip p with n = {seeds} is {least:.3g}{after}"
    weak = family * least > ALPHA
    needed = next(n for n in range(1, 99) if family * smallest_p(n) <= ALPHA)
    denied = f"no effect, however large, can be confirmed at {ALPHA}; that takes {needed} seeds"
    shown = Remark(
        title=f"What {wording.counted(seeds, 'seed')} can show",
        text=f"{reach}{f': {denied}' if weak else ''}.",
        warning=weak,
    )
    effects = [
        effect
        for row in compared
        if row.metric == metric and row.comparison and row.comparison.std is not None
        if not has_equal_differences(row)
        if (effect := minimum_detectable_effect(row.comparison.std, row.comparison.num_pairs))
    ]
    if not effects:
        return (shown,)
    low, high = wording.percent(min(effects)), wording.percent(max(effects))
    size = f"{high} points" if low == high else f"{low} to {high} points (it differs by comparison)"
    return shown, Remark(
        title="Minimum detectable effect",
        text=f"A true difference in {metric} of {size} would be found 4 times in 5 (paired t test, "
        "5 % level), if the spread of differences is what these few pairs show.",
    )


def _budget(result: StudyResult) -> Remark:
    steps = sorted({cell.steps for cell in result.cells}) or [0]
    span = " to ".join(f"{count:,}" for count in dict.fromkeys((steps[0], steps[-1])))
    if result.match == "epochs":
        return Remark(
            title="Budget",
            text=f"Matched by epochs ({span} optimizer steps): cells with more images train "
            "longer, so a gain may come from longer training and not from the images.",
            warning=True,
        )
    equal = "Every cell takes" if len(steps) == 1 else "Cells differ by their settings:"
    return Remark(title="Budget", text=f"Matched by steps. {equal} {span} optimizer steps.")


def _images(result: StudyResult) -> Remark:
    sizes = (
        f"{wording.counted(result.num_validation, 'validation image')} and "
        f"{wording.counted(result.num_test, 'test image')}."
    )
    if result.num_test:
        sizes += f" One test image is {100 / result.num_test:.2g} points of top1."
    return Remark(title="Images", text=sizes)


def _selection() -> Remark:
    return Remark(
        title="Selection",
        text="Validation selected the weights (the earlier evaluation on ties); the test set "
        "selected nothing. top1_last is the test score of the last weights, val_top1 the "
        "validation score of the selected ones, which selection flatters.",
    )


def unfinished(result: StudyResult) -> tuple[str, ...]:
    """A line for each failed trial, then one for all that are missing and one for all deferred."""
    trials = [(cell, trial) for cell in result.cells for trial in cell.trials]
    failed = tuple(
        f"{cell.label}, seed {trial.seed}: failed: {' '.join(trial.error.split()) or 'no message'}"
        for cell, trial in trials
        if trial.status == "failed"
    )
    missing = sum(trial.status == "missing" for _, trial in trials)
    deferred = sum(trial.status == "deferred" for _, trial in trials)
    waiting = {
        f"{wording.counted(missing, 'trial')} not run yet": missing,
        f"{wording.counted(deferred, 'trial')} deferred: a winner is not known yet": deferred,
    }
    return *failed, *(text for text, count in waiting.items() if count)
