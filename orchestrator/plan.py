"""StudySpecs, data and finished scores become a Plan: no Ray, no torch.

Nothing is read from disk but the files of prompts and masks that settings name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.edited import edited_test
from orchestrator.graph import Steps
from orchestrator.grid import Cell, base_subset, candidates, cells
from orchestrator.planned import (
    VERSIONS,
    DuplicatesCheck,
    Plan,
    PlannedCell,
    PlannedStudy,
    PlannedTrial,
    Scores,
    Step,
)
from orchestrator.quality import Quality
from orchestrator.real import RealImages, pack_of, real_images
from orchestrator.resolve import FurtherTest, duplicates_of, plan_cell
from orchestrator.settings import Dataset, EditedTest, EvaluationSet, FolderSet
from orchestrator.study import StudySpec
from tasks.errors import InputError, nearest
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
    for further in spec.evaluation_sets:
        if isinstance(further, EvaluationSet):
            found.setdefault(further.dataset.reader)
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
        placeholders=tuple(f"{source.name} {_where(source)}".rstrip() for source in missing),
    )


def _where(source: Plugin) -> str:
    """The file, folder or name that a study gives for a source; nothing for a cached one."""
    given = (getattr(source.config, name, None) for name in ("file", "path", "root"))
    return next((str(where) for where in given if where), "")


def _deferred(study: PlannedStudy) -> PlannedStudy:
    assert study.spec.best_of is not None
    bare = tuple(replace(cell, trials=(), num_parameters=None, model="") for cell in study.cells)
    # Its steps are not in the plan yet, so nothing may speak of them.
    return replace(study, cells=bare, checks=(), sets=(), awaits=study.spec.best_of.study.name)


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
            best = (mean, dict(cell.coordinates).get(best_of.path))
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
    further: tuple[FurtherTest, ...] = ()
    checks: dict[Key, DuplicatesCheck] = {}
    quality = Quality(spec.quality, steps)
    folds = [None] if spec.folds is None else [(i, spec.folds) for i in range(spec.folds)]
    for cell in cells(spec, winner):
        reals = tuple(
            real_images(cell.settings.dataset, cell.settings.subset, fold, steps) for fold in folds
        )
        real = reals[0]
        further = _further(spec, real, steps, checks)
        first = first or real
        if first.info.classes != real.info.classes:
            raise InputError(
                f"dataset: the cells of one study must have the same classes; "
                f"{cell.settings.dataset.reader.name} has {len(real.info.classes)}, such as "
                f"{real.info.classes[0]!r}, others {len(first.info.classes)}, such as "
                f"{first.info.classes[0]!r}"
            )
        planned, cell_key = plan_cell(spec.seeds, cell, ground, reals, further, quality, steps)
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
        num_validation=sum(first.images.validation),
        num_test=found[0].num_test,
        classes=first.info.classes,
        skipped=(
            *_skipped(spec, winner, steps),
            *(f"{each.name}: {image}" for each in further for image in each.skipped),
        ),
        further=tuple((each.name, each.num_images) for each in further),
        checks=tuple(checks.values()),
        sets=quality.sets(),
    )


def _further(
    spec: StudySpec, real: RealImages, steps: Steps, checks: dict[Key, DuplicatesCheck]
) -> tuple[FurtherTest, ...]:
    """Plan the packs of further test sets, and note the searches for duplicates."""
    drop = real.dataset.split.drop_test_duplicates

    def check(where: str, pack: Key, num_images: int) -> Key | None:
        key = duplicates_of(real, pack, num_images, steps)
        if key is not None:
            checks.setdefault(
                key, DuplicatesCheck(where=where, key=key, num_test=num_images, dropped=drop)
            )
        return key if drop else None

    check("test", real.test, real.num_test)
    found = []
    for each in spec.evaluation_sets:
        if isinstance(each, EditedTest):
            edits = edited_test(each.name, each.edits, real, steps)
            found.append(
                FurtherTest(
                    name=each.name,
                    pack=edits.pack,
                    num_images=sum(edits.counts),
                    without=None,
                    is_edited=True,
                )
            )
            continue
        info, split = steps.infos[each.dataset.reader], _split(each, real, steps)
        pack = pack_of(_alike(each.dataset, real.dataset), info, split, steps)
        num_images = sum(info.splits[split].counts)
        found.append(
            FurtherTest(
                name=each.name,
                pack=pack,
                num_images=num_images,
                without=check(each.name, pack, num_images),
                skipped=info.splits[split].skipped,
            )
        )
    return tuple(found)


def _alike(further: Dataset, dataset: Dataset) -> Dataset:
    """A further test set with the size and the colours of the dataset, if nothing else is said."""
    own, other = further.split, dataset.split
    size = other.size if own.size is None else own.size
    grayscale = own.grayscale or other.grayscale
    return replace(further, split=replace(own, size=size, grayscale=grayscale))


def _split(each: EvaluationSet, real: RealImages, steps: Steps) -> str:
    """The split of a further test set, once its classes are found to be those of the dataset."""
    info, path = steps.infos[each.dataset.reader], f"evaluate_on.{each.name}"
    split = each.part or ("all" if info.undivided and "all" in info.splits else "test")
    if info.placeholder and split not in info.splits:
        return "test"
    if split not in info.splits:
        raise InputError(f"{path}.part: unknown split {split!r}; {nearest(split, info.splits)}")
    if info.placeholder or real.info.placeholder:
        return split
    unknown = [name for name in info.classes if name not in real.info.classes]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} of its classes are none of the dataset's: "
            f"{', '.join(map(repr, unknown[:3]))}; classes are matched by name"
        )
    absent = [name for name in real.info.classes if name not in info.classes]
    if absent and not each.allow_missing:
        raise InputError(
            f"{path}: {len(absent)} classes of the dataset are missing: "
            f"{', '.join(map(repr, absent[:3]))}; say allow_missing: true if that is meant"
        )
    return split


def _skipped(spec: StudySpec, winner: Any, steps: Steps) -> tuple[str, ...]:
    """Every image, real or of a set, that is left out because it cannot be read."""
    found: dict[str, None] = {}
    for cell in cells(spec, winner):
        for split in ("train", "val", "test"):
            splits = steps.infos[cell.settings.dataset.reader].splits
            if split in splits:
                found.update(dict.fromkeys(splits[split].skipped))
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
    # Leaks are looked for before training, so these stand first.
    ends = [check.key for study in plan.studies for check in study.checks]
    ends += [key for study in plan.studies for each in study.sets for key in each.ends]
    ends += [key for trial in plan.trials() for key in trial.evaluations]
    stack = [key for key in ends if key not in done and key not in blocked]
    while stack:
        key = stack.pop()
        if key in wanted:
            continue
        wanted.add(key)
        stack.extend(n for n in plan.steps[key].needs if n not in done and n not in wanted)
    return {key: step for key, step in plan.steps.items() if key in wanted}
