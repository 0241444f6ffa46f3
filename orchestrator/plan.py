"""StudySpecs, data and finished scores become a Plan. Pure: no disk, no Ray, no torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.grid import Cell, base_subset, candidates, cells
from orchestrator.planned import (
    VERSIONS,
    Plan,
    PlannedCell,
    PlannedStudy,
    PlannedTrial,
    Scores,
    Step,
)
from orchestrator.resolve import RealImages, Steps, plan_cell, real_images
from orchestrator.settings import FolderSet
from orchestrator.study import StudySpec
from tasks.errors import InputError
from tasks.specs import DatasetInfo, Key, Plugin

__all__ = [
    "VERSIONS",
    "Plan",
    "PlannedCell",
    "PlannedStudy",
    "PlannedTrial",
    "Scores",
    "Step",
    "make_plan",
    "needed",
    "sources",
]


def sources(spec: StudySpec) -> tuple[Plugin, ...]:
    """The datasets and folders that a study names, in all of its cells."""
    found: dict[Plugin, None] = {}
    for cell in _all_cells(spec):
        found.setdefault(cell.settings.dataset.reader)
        for _, each in cell.settings.sets:
            if isinstance(each, FolderSet):
                found.setdefault(each.reader)
    return tuple(found)


def _all_cells(spec: StudySpec) -> Iterator[Cell]:
    if spec.best_of is None:
        yield from cells(spec)
        return
    for value in candidates(spec):
        yield from cells(spec, value)


def make_plan(
    studies: Sequence[StudySpec],
    infos: Mapping[Plugin, DatasetInfo],
    scores: Mapping[Key, Scores],
) -> Plan:
    """Plan several studies together; what they share is planned once.

    Args:
        infos: for each of `sources`, what it holds.
        scores: validation scores by trial key, empty for failed trials; only those of
            studies named by `best_of` are looked at.

    Raises InputError for settings that the data makes impossible.
    """
    steps = Steps(infos)
    planned: list[PlannedStudy] = []
    later: list[int] = []
    awaited: dict[Key, None] = {}
    for spec in studies:
        winner: Any = None
        if spec.best_of is not None:
            winners, waiting = _winner(spec, infos, scores)
            awaited.update(dict.fromkeys(waiting))
            if not winners:
                planned.append(_plan_study(spec, candidates(spec)[0], Steps(infos)))
                later.append(len(planned) - 1)
                continue
            (winner,) = winners
        planned.append(_plan_study(spec, winner, steps))
    known = {key for key, step in steps.found.items() if step.kind == "trial"}
    extra = 0
    for index in later:
        spec = planned[index].spec
        sizes = []
        for value in candidates(spec):
            trial_keys = {
                trial.trial
                for cell in _plan_study(spec, value, Steps(infos)).cells
                for trial in cell.trials
            }
            sizes.append(len(trial_keys - known))
        extra += max(sizes)
        planned[index] = _deferred(planned[index])
    missing = [source for source, info in infos.items() if info.placeholder]
    return Plan(
        studies=tuple(planned),
        steps=steps.found,
        requested=sum(each.num_trials for each in planned),
        unique=len(known) + extra,
        deferred=sum(planned[index].num_trials for index in later),
        awaited=tuple(awaited),
        placeholders=tuple(f"{source.name} {_where(source)}" for source in missing),
    )


def _where(source: Plugin) -> str:
    return str(getattr(source.config, "root", "") or "")


def _deferred(study: PlannedStudy) -> PlannedStudy:
    assert study.spec.best_of is not None
    bare = tuple(replace(cell, trials=(), num_parameters=None, model="") for cell in study.cells)
    return replace(study, cells=bare, awaits=study.spec.best_of.study.name)


def _winner(
    spec: StudySpec, infos: Mapping[Plugin, DatasetInfo], scores: Mapping[Key, Scores]
) -> tuple[tuple[Any, ...], tuple[Key, ...]]:
    """The winner's value (which may be None), or nothing; and the trials that decide it."""
    best_of = spec.best_of
    assert best_of is not None
    sibling = _plan_study(best_of.study, None, Steps(infos))
    keys = tuple(trial.trial for cell in sibling.cells for trial in cell.trials)
    if any(key not in scores for key in keys):
        return (), keys
    best: tuple[float, Any] | None = None
    for cell in sibling.cells:
        found = [scores[trial.trial].get(best_of.metric) for trial in cell.trials]
        values = [value for value in found if value is not None]
        if len(values) < len(found):
            continue
        mean = sum(values) / len(values)
        # Strictly greater: ties go to the cell that stands first in the file.
        if best is None or mean > best[0]:
            best = (mean, dict(cell.coordinates)[best_of.path])
    return (() if best is None else (best[1],)), keys


def _plan_study(spec: StudySpec, winner: Any, steps: Steps) -> PlannedStudy:
    try:
        return _planned_study(spec, winner, steps)
    except InputError as error:
        raise InputError(f"{spec.origin}: {error}") from error


def _planned_study(spec: StudySpec, winner: Any, steps: Steps) -> PlannedStudy:
    ground = base_subset(spec, winner)
    found: list[PlannedCell] = []
    places: list[tuple[tuple[str, Any], ...]] = []
    at: dict[str, int] = {}
    by_key: dict[Key, int] = {}
    first: RealImages | None = None
    for cell in cells(spec, winner):
        real = real_images(cell.settings.dataset, cell.settings.subset, steps)
        first = first or real
        if first.info.classes != real.info.classes:
            raise InputError(
                f"dataset: the cells of one study must have the same classes; "
                f"{cell.settings.dataset.reader.name} has {len(real.info.classes)}, such as "
                f"{real.info.classes[0]!r}, others {len(first.info.classes)}, such as "
                f"{first.info.classes[0]!r}"
            )
        planned, cell_key = plan_cell(spec.seeds, cell, ground, real, steps)
        # Cells that turned out equal are one: it keeps the coordinates it had first.
        if cell_key not in by_key:
            by_key[cell_key] = len(found)
            found.append(planned)
            places.append(cell.coordinates)
        at[repr(cell.coordinates)] = by_key[cell_key]
    assert first is not None
    return PlannedStudy(
        spec=spec,
        cells=tuple(
            replace(cell, baseline=_baseline(spec, place, index, at))
            for index, (cell, place) in enumerate(zip(found, places, strict=True))
        ),
        train_pack=first.images.pack,
        num_validation=sum(first.images.validation),
        num_test=sum(first.info.splits["test"].counts),
        classes=first.info.classes,
        skipped=_skipped(spec, winner, steps),
    )


def _skipped(spec: StudySpec, winner: Any, steps: Steps) -> tuple[str, ...]:
    """Every image, real or of a set, that is left out because it cannot be read."""
    found: dict[str, None] = {}
    for cell in cells(spec, winner):
        for split in ("train", "test"):
            found.update(
                dict.fromkeys(steps.infos[cell.settings.dataset.reader].splits[split].skipped)
            )
        for name, each in cell.settings.sets:
            if isinstance(each, FolderSet):
                left_out = steps.infos[each.reader].splits["all"].skipped
                found.update(dict.fromkeys(f"{name}: {image}" for image in left_out))
    return tuple(found)


def _baseline(
    spec: StudySpec, place: tuple[tuple[str, Any], ...], index: int, at: Mapping[str, int]
) -> int | None:
    """The cell at the baseline's coordinates and equal other settings; none for itself."""
    if not spec.baseline:
        return None
    there = tuple((path, spec.baseline.get(path, value)) for path, value in place)
    found = at.get(repr(there))
    return None if found == index else found


def needed(plan: Plan, done: set[Key], failed: set[Key]) -> dict[Key, Step]:
    """The steps that have to be run, in an order that respects what they need.

    A step is left out where it is done, failed, needs a failed one, or nothing unfinished needs it.
    """
    wanted: set[Key] = set()
    blocked = set(failed)
    for key, step in plan.steps.items():
        if key not in done and any(need in blocked for need in step.needs):
            blocked.add(key)
    ends = [t.evaluate for t in plan.trials()]
    stack = [key for key in ends if key not in done and key not in blocked]
    while stack:
        key = stack.pop()
        if key in wanted:
            continue
        wanted.add(key)
        stack.extend(n for n in plan.steps[key].needs if n not in done and n not in wanted)
    return {key: step for key, step in plan.steps.items() if key in wanted}
