"""How to read the tables: what the spread holds, what n can show, what was held equal."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report import wording
from orchestrator.report.layout import FEWEST_EQUAL, has_equal_differences, is_too_equal
from orchestrator.report.reading import lacking_note, main_metric, num_left_out
from orchestrator.report.results import StudyResult
from orchestrator.report.rows import (
    COMPANION,
    Row,
    rows,
    shifted_metrics,
    shifted_rows,
    shown_metrics,
)
from orchestrator.report.statistics import ALPHA, minimum_detectable_effect, smallest_p


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One thing to know when reading a table."""

    title: str
    text: str
    warning: bool = False


def remarks(result: StudyResult) -> tuple[Remark, ...]:
    """Everything to know beside the tables, in the order in which they raise it."""
    compared = [row for row in rows(result) if row.comparison]
    return (
        _spread(result),
        *_overlap(result),
        *((_comparison(result, compared),) if compared else ()),
        *_direction(result),
        *_equal(compared),
        *(() if result.folds else (_reach(result, compared),)),
        *_power(result, compared),
        *_other_sets(result),
        *_companion(result),
        *_all_of_few(result),
        _budget(result),
        _images(result),
        *_no_duplicates(result),
        _selection(result),
        *(Remark(title="Also differs", text=text, warning=True) for text in result.differences),
    )


def _spread(result: StudyResult) -> Remark:
    seeds = ", ".join(map(str, result.seeds))
    start = "\N{PLUS-MINUS SIGN} is the sample standard deviation (n\N{MINUS SIGN}1) over "
    if result.folds:
        trials = wording.counted(len(result.seeds) * result.folds, "trial")
        text = (
            f"{start}{trials}: {wording.counted(len(result.seeds), 'training seed')} ({seeds}) by "
            f"{result.folds} folds. It holds the variance of the training seed and of the split, "
            "that is of which images are trained on, generated from and tested on."
        )
        return Remark(title="Spread", text=text)
    return Remark(
        title="Spread",
        text=f"{start}training seeds ({seeds}). Split and synthetic images are the "
        "same in all of them, so it holds the variance of the training seed only.",
    )


def _overlap(result: StudyResult) -> tuple[Remark, ...]:
    """Nothing, unless folds share their training images."""
    folds = result.folds
    if folds is None:
        return ()
    shared = 100 * (folds - 2) / (folds - 1)
    text = (
        f"The training images of two folds have {shared:.0f} % in common, so their trials are not "
        "independent and a plain t interval would be too short. The variance of a mean is "
        f"therefore taken as 1/n + 1/{folds - 1} times that of its n scores, where "
        f"1/{folds - 1} is test images by training images (corrected resampled t: Nadeau & "
        f"Bengio, 2003)."
    )
    if len(result.seeds) > 1:
        text += (
            " All seeds share their folds, and a seed more on the same images is no new draw of "
            f"them: scores are averaged over seeds first, and this n is {folds}."
        )
    return (Remark(title="Folds", text=text),)


def _comparison(result: StudyResult, compared: Sequence[Row]) -> Remark:
    family = sum(row.metric == compared[0].metric for row in compared)
    by, done = ("seed and fold", "trials") if result.folds else ("seed", "seeds")
    tests = "95 % t interval, exact two-sided sign-flip p"
    if result.folds:
        tests = "95 % corrected t interval, two-sided p of the same t test"
    why = (
        " No sign-flip test is made: it takes signs as free to change one by one, which those of "
        "overlapping folds are not."
    )
    return Remark(
        title="Differences",
        text=f"Paired by {by} with the baseline at equal other settings, over the {done} finished "
        f"in both: mean, {tests}, and p corrected by Holm for "
        f"{wording.counted(family, 'comparison')} of a metric. Intervals are not corrected"
        f"{' for that number' if result.folds else ''}. Higher "
        f"or lower is said only where the interval excludes zero.{why if result.folds else ''}",
    )


def _direction(result: StudyResult) -> tuple[Remark, ...]:
    """Nothing, unless some metric is better when it is lower."""
    downward = [name for name in shown_metrics(result) if name in result.lower_is_better]
    if not downward:
        return ()
    text = (
        f"In {', '.join(downward)} (\N{DOWNWARDS ARROW}) lower is better, and a reading says which "
        "of the two it is."
    )
    return (Remark(title="Direction", text=text),)


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


def _reach(result: StudyResult, compared: Sequence[Row]) -> Remark:
    seeds = len(result.seeds)
    least = smallest_p(seeds)
    family = max(1, sum(row.metric == main_metric(result) for row in compared))
    after = f", and {min(1.0, family * least):.3g} corrected for {family}" if family > 1 else ""
    reach = f"The smallest two-sided sign-flip p with n = {seeds} is {least:.3g}{after}"
    weak = family * least > ALPHA
    needed = next(n for n in range(1, 99) if family * smallest_p(n) <= ALPHA)
    denied = f"no effect, however large, can be confirmed at {ALPHA}; that takes {needed} seeds"
    return Remark(
        title=f"What {wording.counted(seeds, 'seed')} can show",
        text=f"{reach}{f': {denied}' if weak else ''}.",
        warning=weak,
    )


def _power(result: StudyResult, compared: Sequence[Row]) -> tuple[Remark, ...]:
    """Nothing, unless differences have a spread to judge from."""
    metric = main_metric(result)
    effects = [
        effect
        for row in compared
        if row.metric == metric and row.comparison and row.comparison.error is not None
        if not has_equal_differences(row)
        if (effect := minimum_detectable_effect(row.comparison.error, row.comparison.num_counted))
    ]
    if not effects:
        return ()
    size = _effect_size(min(effects), max(effects))
    test = "corrected" if result.folds else "paired"
    found = f"A true difference in {metric} of {size} would be found 4 times in 5"
    if min(effects) > 1:
        found = f"No difference in {metric} would be found 4 times in 5, as that takes {size}"
    text = (
        f"{found} ({test} t test, 5 % level), if the spread of differences is what these few pairs "
        "show."
    )
    return (Remark(title="Minimum detectable effect", text=text),)


def _effect_size(low: float, high: float) -> str:
    """The span of effects in points, of which percentages cannot differ by more than 100."""
    if low > 1:
        return "more than 100 points"
    ends = [wording.percent(low), "more than 100" if high > 1 else wording.percent(high)]
    if ends[0] == ends[1]:
        return f"{ends[0]} points"
    return f"{' to '.join(ends)} points (it differs by comparison)"


def _other_sets(result: StudyResult) -> tuple[Remark, ...]:
    """Nothing, unless the study is evaluated on other test sets."""
    metrics = shifted_metrics(result)
    if not metrics:
        return ()
    sizes = ", ".join(
        f"{name} ({_sized(result, count, 'image', name)})"
        for name, count in result.evaluation_sets.items()
    )
    family = sum(row.shifted.comparison is not None for row in shifted_rows(result, metrics[0]))
    edited = "".join(
        f" {name}: the study's own test images, edited by {what}."
        for name, what in result.edited_tests.items()
    )
    text = (
        f"{sizes}: images that chose nothing.{edited} The drop is the score on the study's own "
        "test images minus the one on the set, paired by trial within a cell; a smaller drop may "
        "come from a lower start, so read it beside the difference from the baseline on the same "
        "set."
    )
    if note := lacking_note(result):
        text += f" {note}."
    if family:
        text += f" Its p is corrected for {wording.counted(family, 'comparison')} on these sets."
    if any(metric in result.lower_is_better for metric in metrics):
        text += " Where lower is better, a negative drop is the loss."
    if result.folds:
        text += " All folds meet the same images there, so the draw of those is in no interval."
    return (Remark(title="Other test sets", text=text),)


def _companion(result: StudyResult) -> tuple[Remark, ...]:
    """Nothing, unless a second classifier was fitted beside the network."""
    if not set(COMPANION) & set(shown_metrics(result)):
        return ()
    text = (
        "companion_top1 is the test score of the classifier fitted beside the network, "
        "combined_top1 that of both together, and agreement the share of test images to which "
        "both give the same class, right or wrong: it is no better for being high."
    )
    return (Remark(title="Second classifier", text=text),)


def _all_of_few(result: StudyResult) -> tuple[Remark, ...]:
    """Nothing, unless five guesses take in every class."""
    if "top5" not in shown_metrics(result) or len(result.classes) > 5:
        return ()
    text = (
        f"With {wording.counted(len(result.classes), 'class', 'classes')} the true one is always "
        "among the five most probable: top5 is 100.00 by definition, and says nothing."
    )
    return (Remark(title="top5", text=text, warning=True),)


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
    validation = wording.counted(result.num_validation, "validation image")
    test = _sized(result, result.num_test, "test image")
    num_scored = result.num_test - num_left_out(result)
    sizes = f"{validation} and {test}{' held out in each fold' if result.folds else ''}."
    if num_scored > 0:
        sizes += f" One test image is {100 / num_scored:.2g} points of top1."
    return Remark(title="Images", text=sizes)


def _sized(result: StudyResult, count: int, noun: str, where: str = "test") -> str:
    """How many images of a test set are scored, and how many were left out of it."""
    left_out = num_left_out(result, where)
    if not left_out:
        return wording.counted(count, noun)
    kept = wording.counted(count - left_out, noun)
    return f"{kept}, {wording.counted(left_out, 'duplicate')} left out"


def _no_duplicates(result: StudyResult) -> tuple[Remark, ...]:
    """Nothing, unless a search found no test image in the train split; what it finds is a note."""
    clean = [check for check in result.duplicates if not check.num_exact + check.num_near]
    if not clean:
        return ()
    searched = ", ".join(f"{check.where} ({check.num_test:,})" for check in clean)
    text = f"Looked for, exact and near, and none found in the train split: {searched}."
    return (Remark(title="Duplicates", text=text),)


def _selection(result: StudyResult) -> Remark:
    return Remark(
        title="Selection",
        text="Validation selected the weights (the earlier evaluation on ties); "
        f"{'the held-out fold' if result.folds else 'the test set'} "
        "selected nothing. top1_last is the test score of the last weights, val_top1 the "
        "validation score of the selected ones, which selection flatters.",
    )
