"""The tables of audits and filters as headings and texts, before any file format."""

from collections.abc import Sequence

from orchestrator.report import wording
from orchestrator.report.fidelity import set_labels
from orchestrator.report.layout import Grid, Line
from orchestrator.report.results import QUANTILES, FilterResult, StudyResult

DISTANCES = ("synthetic_to_train", "synthetic_to_test", "test_to_train")


def audit_grid(result: StudyResult) -> Grid:
    """One line an audited set: copies of test and training images, and what is nearer than it
    should be."""
    headings = (
        *("set", "images", "test: exact", "test: near", "train: exact", "train: near"),
        *("memorised", "memorised %", "nearer to test %"),
    )
    labels = set_labels(result)
    lines = []
    for each in result.sets:
        if (audit := each.audit) is not None:
            counts = (audit.test_exact, audit.test_near, audit.train_exact, audit.train_near)
            texts = (
                labels[each.key],
                *(f"{count:,}" for count in (audit.num_images, *counts, audit.memorised)),
                wording.share(audit.memorised, audit.num_images),
                f"{100 * audit.nearer_to_test:.1f}",
            )
            lines.append(Line(texts=texts))
    return Grid(headings=headings, num_names=1, lines=tuple(lines))


def distance_grid(result: StudyResult) -> Grid:
    """One line an audited set: the 1 % quantile and the median of each distance."""
    labels = set_labels(result)
    lines = [
        Line(
            texts=(
                labels[each.key],
                *(_quantiles(each.audit.quantiles.get(name, ())) for name in DISTANCES),
            )
        )
        for each in result.sets
        if each.audit is not None and each.audit.quantiles
    ]
    headings = ("set", *(name.replace("_", " ") for name in DISTANCES))
    return Grid(headings=headings, num_names=1, lines=tuple(lines))


def _quantiles(values: Sequence[float]) -> str:
    """`0.310 / 1.90`, the 1 % quantile and the median."""
    if len(values) < len(QUANTILES):
        return wording.NONE
    shown = (values[QUANTILES.index(at)] for at in (0.01, 0.5))
    return " / ".join(map(wording.significant, shown))


def filter_grid(result: StudyResult) -> Grid:
    """One line a filtered set: what was drawn and kept, in all and in the worst class."""
    filtered = [(each, each.filtered) for each in result.sets if each.filtered is not None]
    names = tuple(dict.fromkeys(name for _, found in filtered for name in found.dropped))
    labels = set_labels(result)
    lines = [
        Line(
            texts=(
                labels[each.key],
                f"{sum(found.drawn):,}",
                f"{sum(found.kept):,}",
                wording.share(sum(found.kept), sum(found.drawn)),
                worst_class(found, result.classes),
                *(_dropped(found, name) for name in names),
            )
        )
        for each, found in filtered
    ]
    headings = ("set", "drawn", "kept", "kept %", "worst class", *(f"by {n}" for n in names))
    return Grid(headings=headings, num_names=1, lines=tuple(lines))


def _dropped(found: FilterResult, name: str) -> str:
    return f"{sum(found.dropped[name]):,}" if name in found.dropped else wording.NONE


def worst_class(found: FilterResult, classes: Sequence[str]) -> str:
    """The class that lost the largest share: `8: 61 of 120 (50.8 %)`."""
    shares = {i: found.kept[i] / drawn for i, drawn in enumerate(found.drawn) if drawn}
    if not shares:
        return wording.NONE
    worst = min(shares, key=lambda i: shares[i])
    kept, drawn = found.kept[worst], found.drawn[worst]
    name = classes[worst] if worst < len(classes) else f"class {worst}"
    return f"{name}: {kept:,} of {drawn:,} ({wording.share(kept, drawn)} %)"


def filter_class_grid(result: StudyResult, found: FilterResult) -> Grid:
    """One line a class of a filtered set."""
    headings = ("class", "drawn", "kept", "kept %", *(f"by {name}" for name in found.dropped))
    lines = tuple(
        Line(
            texts=(
                result.classes[index] if index < len(result.classes) else f"class {index}",
                *(f"{drawn:,}", f"{kept:,}", wording.share(kept, drawn)),
                *(f"{counts[index]:,}" for counts in found.dropped.values()),
            )
        )
        for index, (drawn, kept) in enumerate(zip(found.drawn, found.kept, strict=True))
    )
    return Grid(headings=headings, num_names=1, lines=lines)
