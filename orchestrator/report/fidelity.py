"""Synthetic sets as rows of a table: those that differ by their seed alone are one row."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.report.measures import shown_measures
from orchestrator.report.results import FitResult, SetResult, StudyResult
from orchestrator.report.statistics import mean, sample_std

State = Literal["finished", "failed", "missing"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One measure over the sets of a group."""

    mean: float
    std: float | None
    """With n-1; None for a single set."""
    n: int


@dataclass(frozen=True, kw_only=True)
class SetGroup:
    """Sets that differ by their seed alone."""

    key: str
    label: str
    """No other group of the study has it."""
    sets: tuple[SetResult, ...]
    measures: Mapping[str, Summary]
    """Those that some set has, by name."""
    stamp: Mapping[str, str]
    """Where the stamps of its sets differ, `812 / 830`."""

    @property
    def fits(self) -> tuple[FitResult, ...]:
        """The fits behind its sets, each once; none behind a folder."""
        found = {each.fit.key: each.fit for each in self.sets if each.fit is not None}
        return tuple(found.values())


def fit_state(fit: FitResult) -> State:
    """How far a fit is."""
    if fit.error:
        return "failed"
    return "finished" if fit.num_steps or fit.seconds else "missing"


def groups(result: StudyResult) -> tuple[SetGroup, ...]:
    """The sets of a study by group, in the order of the study."""
    found: dict[str, list[SetResult]] = {}
    for each in result.sets:
        found.setdefault(each.group, []).append(each)
    names = [measure.name for measure in shown_measures(result)]
    labels = _labels([members[0].name for members in found.values()])
    return tuple(
        SetGroup(
            key=key,
            label=label,
            sets=tuple(members),
            measures=_summaries(members, names),
            stamp=_stamp(members),
        )
        for (key, members), label in zip(found.items(), labels, strict=True)
    )


def _labels(names: Sequence[str]) -> list[str]:
    """The names, numbered where several groups are called alike."""
    return [
        name if names.count(name) == 1 else f"{name} #{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def _summaries(members: Sequence[SetResult], names: Sequence[str]) -> dict[str, Summary]:
    found = {}
    for name in names:
        values = [each.measures[name] for each in members if name in each.measures]
        values = [value for value in values if math.isfinite(value)]
        if values:
            found[name] = Summary(mean=mean(values), std=sample_std(values), n=len(values))
    return found


def _stamp(members: Sequence[SetResult]) -> dict[str, str]:
    stamped = [each.stamp for each in members if each.stamp]
    names = dict.fromkeys(name for stamp in stamped for name in stamp)
    return {
        name: " / ".join(dict.fromkeys(stamp.get(name, "unknown") for stamp in stamped))
        for name in names
    }


def set_labels(result: StudyResult) -> dict[str, str]:
    """Key of a set -> how it is called where each set stands alone; no two are called alike."""
    found: dict[str, str] = {}
    for group in groups(result):
        names = [group.label]
        if len(group.sets) > 1:
            names = _labels([f"{group.label} (seed {each.seed})" for each in group.sets])
        found |= {each.key: name for each, name in zip(group.sets, names, strict=True)}
    return found


def failed_fits(result: StudyResult) -> tuple[str, ...]:
    """A line for each fit that failed."""
    lines: dict[str, str] = {}
    for group in groups(result):
        for fit in group.fits:
            if fit_state(fit) == "failed":
                why = " ".join(fit.error.split())
                lines.setdefault(fit.key, f"{group.label} (seed {fit.seed}): {why}")
    return tuple(lines.values())


def failed_steps(result: StudyResult) -> tuple[str, ...]:
    """A line for each other step behind a set that failed."""
    lines = (
        f"{group.label}: {' '.join(error.split())}"
        for group in groups(result)
        for each in group.sets
        for error in each.errors
    )
    return tuple(dict.fromkeys(lines))
