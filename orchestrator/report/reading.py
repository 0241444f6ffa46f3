"""What may be said about the numbers, in sentences: the answer, what is missing, what to heed."""

from collections.abc import Sequence

from orchestrator.report import wording
from orchestrator.report.fidelity import set_labels
from orchestrator.report.layout import has_equal_differences, is_confirmed, tone, verdict
from orchestrator.report.results import AuditResult, DuplicateCheck, StudyResult
from orchestrator.report.rows import Row, lacks_classes, rows, shown_metrics
from orchestrator.report.statistics import ALPHA, smallest_p

TOLD_ONE_BY_ONE = 3
"""Comparisons up to which the answer names each."""


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
        "companion_top1": "top-1 accuracy of the second classifier",
        "combined_top1": "top-1 accuracy of both classifiers together",
        "agreement": "how often both classifiers say the same",
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
    lower = known[0].metric in result.lower_is_better
    best = (min if lower else max)(known, key=lambda row: row.mean or 0.0)
    why = (
        "no cell and its baseline have finished the same seed"
        if any(cell.baseline is not None for cell in result.cells)
        else "the study names no baseline"
    )
    trials = wording.counted(best.n, "trial")
    extreme = "lowest" if lower else "highest"
    return (
        f"Nothing can be compared, as {why}; the {extreme} mean {_spelled(result, best.metric)} is "
        f"{wording.percent(best.mean)} % ({best.label}, {trials}), which is no test of anything."
    )


def _one_by_one(result: StudyResult, compared: Sequence[Row]) -> str:
    told = "; ".join(_told(result, row) for row in compared)
    directed = [row for row in compared if verdict(row) != "undecided"]
    doubt = _doubt(result, directed, len(compared))
    return f"In {_spelled(result, compared[0].metric)}, {told}{doubt}."


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
    judged = f", {tone(result, row)}," if row.metric in result.lower_is_better else ""
    return f"{row.label} is {points} points {verdict(row)}{judged} than {against} ({rests_on})"


def _interval(row: Row) -> str:
    """The interval of a difference, or that there is none to speak of."""
    if row.comparison and has_equal_differences(row):
        return f"the same in each of {row.comparison.num_counted} pairs"
    if row.ci_low is None:
        return "one pair, which shows nothing"
    return f"interval {wording.minus(wording.interval(row.ci_low, row.ci_high))}"


def _test(result: StudyResult) -> str:
    """The test behind the p-values. Folds are no independent runs, whose signs could be flipped."""
    return "t test" if result.folds else "exact test"


def _doubt(result: StudyResult, directed: Sequence[Row], num_compared: int) -> str:
    """What the test leaves of the directions that intervals gave."""
    unsure = [row for row in directed if not is_confirmed(row)]
    if not unsure:
        return ""
    if why := _out_of_reach(result, unsure, num_compared):
        return f" \N{EM DASH} though {why}, so a direction here is an indication and no proof"
    which = "this" if len(directed) == 1 else f"{len(unsure)} of these {len(directed)}"
    return f" \N{EM DASH} though the corrected {_test(result)} does not confirm {which}"


def _out_of_reach(result: StudyResult, unsure: Sequence[Row], num_compared: int) -> str:
    """Why no difference, however large, could be confirmed; nothing where one could."""
    most = max((row.comparison.num_pairs for row in unsure if row.comparison), default=0)
    least = smallest_p(most)
    corrected = min(1.0, num_compared * least)
    if result.folds or corrected <= ALPHA:
        return ""
    after = f", {corrected:.3g} once corrected for {num_compared} comparisons"
    return (
        f"with {most} seeds the exact test cannot go below p = {least:.3g}"
        f"{after if least <= ALPHA else ''}"
    )


def _counted(result: StudyResult, compared: Sequence[Row]) -> str:
    said = [verdict(row) for row in compared]
    largest = max(compared, key=lambda row: abs(row.diff or 0.0))
    points = wording.minus(wording.points(largest.diff))
    better = " (lower is better)" if compared[0].metric in result.lower_is_better else ""
    directed = [row for row in compared if verdict(row) != "undecided"]
    why = _out_of_reach(result, directed, len(compared)) if directed else ""
    num_higher = said.count("higher")
    one, many = ("looks", "look") if why else ("is", "are")
    verb = one if num_higher == 1 else many
    return (
        f"Of {len(compared)} comparisons in {_spelled(result, compared[0].metric)}, "
        f"{num_higher} {verb} higher, {said.count('lower')} lower "
        f"and {said.count('undecided')} undecided by their 95 % intervals{better}"
        f"{_standing(result, compared, why)}; the largest difference is {points} points "
        f"({largest.label}, {_interval(largest)})."
    )


def _standing(result: StudyResult, compared: Sequence[Row], why: str) -> str:
    """How many directions the test confirms, or that it could confirm none."""
    if why:
        return f", an indication and no proof: {why}"
    num_sure = sum(map(is_confirmed, compared))
    stands = f"{num_sure or 'none'} of them {'are' if num_sure > 1 else 'is'}"
    return f", and {stands} confirmed by the {_test(result)} after correction"


def unfinished(result: StudyResult) -> tuple[str, ...]:
    """A line for each cell and cause of failure, one for what is missing and one for deferred."""
    trials = [(cell, trial) for cell in result.cells for trial in cell.trials]
    causes: dict[tuple[str, str], list[str]] = {}
    for cell, trial in trials:
        if trial.status == "failed":
            cause = " ".join(trial.error.split()) or "no message"
            place = place_name(trial.seed, trial.fold)
            causes.setdefault((cell.label, cause), []).append(place)
    failed = tuple(
        f"{label}, {wording.listed(places)}: failed: {cause}"
        for (label, cause), places in causes.items()
    )
    missing = sum(trial.status == "missing" for _, trial in trials)
    deferred = sum(trial.status == "deferred" for _, trial in trials)
    waiting = {
        f"{wording.counted(missing, 'trial')} not run yet": missing,
        f"{wording.counted(deferred, 'trial')} deferred: a winner is not known yet": deferred,
    }
    return *failed, *(text for text, count in waiting.items() if count)


def place_name(seed: int, fold: int | None) -> str:
    """How one trial of a cell is told from the others: `seed 0`, `seed 0, fold 3`."""
    return f"seed {seed}" if fold is None else f"seed {seed}, fold {fold}"


def notes(result: StudyResult) -> tuple[str, ...]:
    """What to heed beside the tables: the notes of the study, then what must not be in the data."""
    return (*result.notes, *duplicate_notes(result), *leak_notes(result))


def leak_notes(result: StudyResult) -> tuple[str, ...]:
    """A line for each synthetic set with copies of test images, or whose trials were stopped.

    What failed trials say of a gate is not said again.
    """
    labels = set_labels(result)
    told = {trial.error for cell in result.cells for trial in cell.trials}
    lines = []
    for each in result.sets:
        if (audit := each.audit) is None:
            continue
        if audit.gate and not any(audit.gate in error for error in told):
            lines.append(f"trials of {labels[each.key]} were stopped: {audit.gate}")
        elif audit.test_exact + audit.test_near and not audit.gate:
            lines.append(f"set {labels[each.key]}: {copies_note(audit)}")
    return tuple(lines)


def copies_note(audit: AuditResult) -> str:
    """How many images of a set copy real ones; nothing where none does."""
    of_test, parts = audit.test_exact + audit.test_near, []
    images = wording.counted(audit.num_images, "image")
    if of_test:
        copies = "is a copy of a test image" if of_test == 1 else "are copies of test images"
        exact, near = f"{audit.test_exact:,} exact", f"{audit.test_near:,} near"
        parts.append(f"{of_test:,} of {images} {copies} ({exact}, {near})")
    if memorised := max(audit.memorised, audit.train_exact + audit.train_near):
        copies = "is memorised" if memorised == 1 else "are memorised"
        exact, near = f"{audit.train_exact:,} exact", f"{audit.train_near:,} near"
        share = f"{wording.share(memorised, audit.num_images)} %"
        start = f"{memorised:,} ({share})" if parts else f"{memorised:,} of {images} ({share})"
        copied = f"{exact} and {near} copies of training images"
        parts.append(f"{start} {copies} ({copied}, the others in feature space)")
    return " and ".join(parts)


def duplicate_notes(result: StudyResult) -> tuple[str, ...]:
    """A line for each test set with images that also stand in the train split."""
    found = (check for check in result.duplicates if check.num_exact + check.num_near)
    return tuple(map(_duplicate_note, found))


def num_left_out(result: StudyResult, where: str = "test") -> int:
    """Images of a test set that no score rests on, as they stand in the train split too."""
    of_set = (check for check in result.duplicates if check.where == where and check.dropped)
    return next((check.num_exact + check.num_near for check in of_set), 0)


def lacking_note(result: StudyResult) -> str:
    """Which other test sets lack classes, and what their clean scores are; else nothing."""
    lacking = [name for name in result.evaluation_sets if lacks_classes(result, name)]
    if not lacking:
        return ""
    names = ", ".join(lacking)
    verb, each = ("lacks", "the set") if len(lacking) == 1 else ("lack", "each set")
    return (
        f"{names} {verb} classes: clean, and the drop from it, are over the classes that {each} "
        "has, in the study's own test images"
    )


def commands(result: StudyResult) -> tuple[str, ...]:
    """What makes the numbers again: the runs, then the report of them."""
    start = "augury report "
    if not result.command.startswith(start):
        return (result.command,) if result.command.strip() else ()
    return f"augury run {result.command.removeprefix(start)}", result.command


def _duplicate_note(check: DuplicateCheck) -> str:
    num_found = check.num_exact + check.num_near
    tested = wording.counted(check.num_test, "test image")
    of_set = "" if check.where == "test" else f" of {check.where}"
    stands, they_were = ("stands", "it was") if num_found == 1 else ("stand", "they were")
    return (
        f"{num_found:,} of {tested}{of_set} also {stands} in the train split "
        f"({check.num_exact:,} exact, {check.num_near:,} near); "
        f"{they_were} {'dropped from' if check.dropped else 'left in'} the scores"
    )
