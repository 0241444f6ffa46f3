"""StudySpecs, data and finished scores become a Plan. Pure: no disk, no Ray, no torch."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator import study as studies_
from orchestrator.settings import (
    CellSettings,
    Dataset,
    FolderSet,
    GeneratedSet,
    SubsetSettings,
    TrainSettings,
    model_label,
    num_parameters,
)
from orchestrator.study import Cell, StudySpec
from tasks.counting import exact, rounded, share, subset
from tasks.errors import InputError
from tasks.specs import (
    CellSpec,
    Counts,
    DatasetInfo,
    EvaluateSpec,
    FitSpec,
    GatherSpec,
    ImagesSpec,
    Key,
    PackSpec,
    Plugin,
    Recipe,
    SampleSpec,
    SetSpec,
    Spec,
    SyntheticImages,
    TrialSpec,
    content_key,
)

VERSIONS = {"pack": 1, "fit": 1, "sample": 1, "gather": 1, "trial": 1, "evaluate": 1}
"""Raised when a kind's results change; plug-in files have versions of their own."""

SHARD_IMAGES = 1024
"""Aim for the images of one shard; a shard holds whole sampling batches."""

Scores = Mapping[str, float]
"""Validation scores of a finished trial; empty for one that failed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One piece of work, done at most once in the life of a store."""

    kind: str
    key: Key
    spec: Spec
    needs: tuple[Key, ...]
    title: str
    """Equal for steps of the same sort, whose times can be compared."""
    size: int
    """Images, optimizer steps or predictions: what its time grows with."""
    note: str = ""
    """Which of them this is: the cell and the seed of a trial."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A cell at one seed."""

    seed: int
    trial: Key
    evaluate: Key


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with what planning found out about it."""

    coordinates: tuple[tuple[str, Any], ...]
    settings: CellSettings
    trials: tuple[PlannedTrial, ...]
    """Empty while the cell is deferred."""
    steps: int
    eval_every: int
    num_real: int
    num_synthetic: int
    model: str
    num_parameters: int | None
    baseline: int | None
    """Index of the cell that this one is compared with."""


@dataclass(frozen=True, kw_only=True)
class PlannedStudy:
    """A study with its cells."""

    spec: StudySpec
    cells: tuple[PlannedCell, ...]
    train_pack: Key | None
    num_validation: int
    num_test: int
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    """Images left out because they cannot be read."""
    awaits: str | None = None
    """The study whose winner is not known yet."""

    @property
    def num_trials(self) -> int:
        return len(self.cells) * len(self.spec.seeds)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What several studies need, each thing once."""

    studies: tuple[PlannedStudy, ...]
    steps: Mapping[Key, Step]
    """In an order in which every step comes after what it needs."""
    requested: int
    unique: int
    """Trials after sharing; deferred ones as the winner that shares least would have them."""
    deferred: int
    awaited: tuple[Key, ...]
    """Trials whose scores decide the deferred ones."""
    placeholders: tuple[str, ...] = ()
    """Sources that are not there yet: counts are invented and nothing can be run."""

    def trials(self) -> Iterator[PlannedTrial]:
        """Every planned trial, once."""
        seen: set[Key] = set()
        for trial in (t for s in self.studies for c in s.cells for t in c.trials):
            if trial.trial not in seen:
                seen.add(trial.trial)
                yield trial


@dataclass
class _Steps:
    """The steps found so far."""

    infos: Mapping[Plugin, DatasetInfo]
    found: dict[Key, Step] = field(default_factory=dict)

    def add(
        self,
        spec: Spec,
        needs: tuple[Key, ...],
        title: str,
        size: int,
        key: Key | None = None,
        note: str = "",
    ) -> Key:
        key = key or content_key(spec.KIND, VERSIONS[spec.KIND], spec)
        if key not in self.found:
            self.found[key] = Step(
                kind=spec.KIND,
                key=key,
                spec=spec,
                needs=needs,
                title=title,
                note=note,
                size=size,
            )
        return key


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
        yield from studies_.cells(spec)
        return
    for value in studies_.candidates(spec):
        yield from studies_.cells(spec, value)


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
    steps = _Steps(infos)
    planned: list[PlannedStudy] = []
    later: list[int] = []
    awaited: dict[Key, None] = {}
    for spec in studies:
        winner: Any = None
        if spec.best_of is not None:
            winners, waiting = _winner(spec, infos, scores)
            awaited.update(dict.fromkeys(waiting))
            if not winners:
                planned.append(_plan_study(spec, studies_.candidates(spec)[0], _Steps(infos)))
                later.append(len(planned) - 1)
                continue
            (winner,) = winners
        planned.append(_plan_study(spec, winner, steps))
    known = {key for key, step in steps.found.items() if step.kind == "trial"}
    extra = 0
    for index in later:
        spec = planned[index].spec
        sizes = []
        for value in studies_.candidates(spec):
            trial_keys = {
                trial.trial
                for cell in _plan_study(spec, value, _Steps(infos)).cells
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
    cells = tuple(replace(cell, trials=(), num_parameters=None, model="") for cell in study.cells)
    return replace(study, cells=cells, awaits=study.spec.best_of.study.name)


def _winner(
    spec: StudySpec, infos: Mapping[Plugin, DatasetInfo], scores: Mapping[Key, Scores]
) -> tuple[tuple[Any, ...], tuple[Key, ...]]:
    """The winner's value (which may be None), or nothing; and the trials that decide it."""
    best_of = spec.best_of
    assert best_of is not None
    sibling = _plan_study(best_of.study, None, _Steps(infos))
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


def _plan_study(spec: StudySpec, winner: Any, steps: _Steps) -> PlannedStudy:
    ground = studies_.base_subset(spec, winner)
    cells: list[PlannedCell] = []
    places: list[tuple[tuple[str, Any], ...]] = []
    at: dict[str, int] = {}
    by_key: dict[Key, int] = {}
    first: _Real | None = None
    for cell in studies_.cells(spec, winner):
        real = _real(cell.settings.dataset, cell.settings.subset, steps)
        first = first or real
        planned, cell_key = _plan_cell(spec, cell, ground, real, steps)
        # Cells that turned out equal are one: it keeps the coordinates it had first.
        if cell_key not in by_key:
            by_key[cell_key] = len(cells)
            cells.append(planned)
            places.append(cell.coordinates)
        at[repr(cell.coordinates)] = by_key[cell_key]
    assert first is not None
    return PlannedStudy(
        spec=spec,
        cells=tuple(
            replace(cell, baseline=_baseline(spec, place, index, at))
            for index, (cell, place) in enumerate(zip(cells, places, strict=True))
        ),
        train_pack=first.images.pack,
        num_validation=sum(first.images.validation),
        num_test=sum(first.info.splits["test"].counts),
        classes=first.info.classes,
        skipped=tuple(s for split in ("train", "test") for s in first.info.splits[split].skipped),
    )


def _baseline(
    spec: StudySpec, place: tuple[tuple[str, Any], ...], index: int, at: Mapping[str, int]
) -> int | None:
    """The cell at the baseline's coordinates and equal other settings; none for itself."""
    if not spec.baseline:
        return None
    there = tuple((path, spec.baseline.get(path, value)) for path, value in place)
    found = at.get(repr(there))
    return None if found == index else found


@dataclass(frozen=True, kw_only=True)
class _Real:
    """The real images of a cell, with what they come from."""

    info: DatasetInfo
    images: ImagesSpec
    pool: Counts
    """Training images of each class that validation leaves."""
    test: Key
    split_size: int | None


def _real(dataset: Dataset, wanted: SubsetSettings, steps: _Steps) -> _Real:
    info = steps.infos[dataset.reader]
    if not sum(info.splits["test"].counts):
        raise InputError("dataset: no image is left to test on; give more images, or a test split")
    train_pack, test_pack = (_pack(dataset, info, split, steps) for split in ("train", "test"))
    validation, pool = _validation(info.splits["train"].counts, dataset.split.val_fraction)
    training = _subset(pool, wanted)
    return _Real(
        info=info,
        images=ImagesSpec(
            pack=train_pack,
            split_seed=dataset.split.split_seed,
            validation=validation,
            training=training,
        ),
        pool=pool,
        test=test_pack,
        split_size=dataset.split.size,
    )


@functools.lru_cache(maxsize=4096)
def _validation(counts: Counts, fraction: float) -> tuple[Counts, Counts]:
    validation = share(rounded(exact(fraction) * sum(counts)), counts)
    if not sum(validation):
        raise InputError(
            f"dataset.val_fraction: {fraction!r} of {sum(counts)} images leaves none for "
            f"validation; give a larger fraction"
        )
    return validation, tuple(c - v for c, v in zip(counts, validation, strict=True))


@functools.lru_cache(maxsize=65536)
def _subset(pool: Counts, wanted: SubsetSettings) -> Counts:
    counts = subset(
        pool, fraction=wanted.fraction, per_class=wanted.per_class, max_real=wanted.max_real
    )
    if not sum(counts):
        raise InputError(f"subset.fraction: {wanted.fraction!r} of {sum(pool)} images leaves none")
    return counts


def _pack(dataset: Dataset, info: DatasetInfo, split: str, steps: _Steps) -> Key:
    spec = PackSpec(
        reader=dataset.reader,
        split=split,
        size=dataset.split.size,
        digest=info.splits[split].digest,
        classes=info.classes,
    )
    return steps.add(
        spec,
        (),
        f"pack {dataset.reader.name} {split}",
        sum(info.splits[split].counts),
        _key_of(spec),
    )


@functools.lru_cache(maxsize=65536)
def _key_of(spec: Any) -> Key:
    """A key, computed once for equal specs (thousands of cells share their larger parts)."""
    return content_key(spec.KIND, VERSIONS[spec.KIND], spec)


@functools.lru_cache(maxsize=65536)
def _part_key(part: Any) -> Key:
    """A hash that stands for a large part of a cell."""
    return content_key(type(part).__name__, 1, part)


def _plan_cell(
    spec: StudySpec, cell: Cell, ground: SubsetSettings, real: _Real, steps: _Steps
) -> tuple[PlannedCell, Key]:
    chosen = cell.settings
    sets, packs = [], []
    for name, each in chosen.sets:
        taken, pack = _synthetic(name, each, chosen.subset, real, steps)
        sets.append(taken)
        packs.append(pack)
    sets.sort(key=lambda taken: taken.pack)
    num_synthetic = sum(sum(taken.counts) for taken in sets)
    images = real.images
    if chosen.variant == "synthetic":
        images = replace(images, training=tuple(0 for _ in images.training))
    num_real = sum(images.training)
    if num_real + num_synthetic == 0:
        raise InputError(f"variant: {chosen.variant!r} with empty sets leaves nothing to train on")
    budget = _subset(real.pool, ground)
    recipe = _recipe(chosen.train, sum(budget), num_real + num_synthetic)
    full = CellSpec(
        images=images,
        sets=tuple(sets),
        model=chosen.model,
        recipe=recipe,
        num_classes=len(real.info.classes),
    )
    cell_key = content_key(
        "cell",
        VERSIONS["trial"],
        {
            "images": _part_key(images),
            "sets": [_part_key(taken) for taken in sets],
            "model": _part_key(chosen.model),
            "recipe": _part_key(recipe),
            "num_classes": full.num_classes,
        },
    )
    coordinates = _shown(cell.coordinates, chosen.variant)
    label = studies_.label_of(coordinates)
    trials = tuple(
        _plan_trial(full, cell_key, (label, seed), real, tuple(packs), steps) for seed in spec.seeds
    )
    planned = PlannedCell(
        coordinates=coordinates,
        settings=chosen,
        trials=trials,
        steps=recipe.steps,
        eval_every=recipe.eval_every,
        num_real=num_real,
        num_synthetic=num_synthetic,
        model=model_label(chosen.model),
        num_parameters=num_parameters(chosen.model),
        baseline=None,
    )
    return planned, cell_key


def _shown(coordinates: tuple[tuple[str, Any], ...], variant: str) -> tuple[tuple[str, Any], ...]:
    """Without the synthetic set a `real` cell happens to stand beside: it is for all of them."""
    if variant != "real":
        return coordinates
    inert = ("sets", "synthetic")
    return tuple((path, None if path.split(".")[0] in inert else v) for path, v in coordinates)


def _plan_trial(
    cell: CellSpec,
    cell_key: Key,
    place: tuple[str, int],
    real: _Real,
    packs: tuple[Key, ...],
    steps: _Steps,
) -> PlannedTrial:
    label, seed = place
    settings = {"cell": cell_key, "seed": seed}
    trial = steps.add(
        TrialSpec(cell=cell, seed=seed),
        (real.images.pack, *packs),
        f"train {model_label(cell.model)}",
        cell.recipe.steps,
        content_key("trial", VERSIONS["trial"], settings),
        f"{label}, seed {seed}",
    )
    evaluate = steps.add(
        EvaluateSpec(trial=trial, test=real.test),
        (trial, real.test),
        f"evaluate {model_label(cell.model)}",
        sum(real.info.splits["test"].counts),
        None,
        f"{label}, seed {seed}",
    )
    return PlannedTrial(seed=seed, trial=trial, evaluate=evaluate)


def _recipe(train: TrainSettings, num_reference: int, num_own: int) -> Recipe:
    """Turn epochs into optimizer steps: of the base's real images, or of the cell's own."""
    counted = num_reference if train.match == "steps" else num_own
    per_epoch = -(-counted // train.batch_size)
    steps = train.steps if train.steps is not None else train.epochs * per_epoch
    adamw = train.optimizer == "adamw"
    decay = train.weight_decay
    return Recipe(
        steps=steps,
        eval_every=min(per_epoch, steps),
        batch_size=train.batch_size,
        optimizer=train.optimizer,
        lr=train.lr if train.lr is not None else (1e-3 if adamw else 0.1),
        weight_decay=decay if decay is not None else (0.05 if adamw else 5e-4),
        # Inert for adamw, so it must not tell two equal trials apart.
        momentum=0.9 if adamw else train.momentum,
        schedule=train.schedule,
        warmup_steps=min(train.warmup_epochs * per_epoch, steps - 1),
        label_smoothing=train.label_smoothing,
        input_size=train.input_size,
    )


def _synthetic(
    name: str, each: GeneratedSet | FolderSet, wanted: SubsetSettings, real: _Real, steps: _Steps
) -> tuple[SyntheticImages, Key]:
    if isinstance(each, FolderSet):
        return _folder(name, each, wanted, real, steps)
    return _generated(name, each, real, steps)


def _folder(
    name: str, each: FolderSet, wanted: SubsetSettings, real: _Real, steps: _Steps
) -> tuple[SyntheticImages, Key]:
    info = steps.infos[each.reader]
    if info.placeholder and not real.info.placeholder:
        counts = real.info.splits["train"].counts
        info = replace(
            info,
            classes=real.info.classes,
            splits={"all": replace(info.splits["all"], counts=counts)},
        )
    unknown = sorted(set(info.classes) - set(real.info.classes))
    if unknown and not real.info.placeholder:
        raise InputError(
            f"synthetic.{name}.folder: class {unknown[0]!r} is none of the dataset's: "
            f"{', '.join(real.info.classes[:12])}"
        )
    spec = PackSpec(
        reader=each.reader,
        split="all",
        size=real.split_size,
        digest=info.splits["all"].digest,
        classes=info.classes,
    )
    total = sum(info.splits["all"].counts)
    pack = steps.add(spec, (), f"pack {name}", total, _key_of(spec))
    # Where the images come from is not known, so a fraction takes a share of each class.
    counts = _subset(info.splits["all"].counts, SubsetSettings(fraction=wanted.fraction))
    return SyntheticImages(pack=pack, counts=counts), pack


def _generated(
    name: str, each: GeneratedSet, real: _Real, steps: _Steps
) -> tuple[SyntheticImages, Key]:
    fit_spec = FitSpec(generator=each.generator, images=real.images, seed=each.settings.seed)
    label = each.generator.name
    fit = steps.add(
        fit_spec,
        (real.images.pack,),
        f"fit {label}",
        each.generator.config.steps,
        _key_of(fit_spec),
    )
    counts = _set_counts(each, real.images.training)
    recipe = SetSpec(
        fit=fit,
        sampling=each.sampling,
        counts=counts,
        seed=each.settings.seed,
        generator=each.generator,
        images=real.images,
    )
    set_key, shards = _shards(recipe, steps, label)
    gather = GatherSpec(
        synthetic=set_key, shards=shards, classes=real.info.classes, size=real.split_size
    )
    pack = steps.add(gather, shards, f"gather {label}", sum(counts), _key_of(gather))
    return SyntheticImages(pack=pack, counts=counts), pack


@functools.lru_cache(maxsize=4096)
def _set_key(recipe: SetSpec) -> Key:
    return content_key("set", VERSIONS["sample"], recipe)


def _shards(recipe: SetSpec, steps: _Steps, label: str) -> tuple[Key, tuple[Key, ...]]:
    batch: int = recipe.sampling.batch_size
    whole = max(1, SHARD_IMAGES // batch) * batch
    total = sum(recipe.counts)
    shards = []
    for start in range(0, total, whole):
        spec = SampleSpec(synthetic=recipe, start=start, stop=min(start + whole, total))
        needs = (recipe.fit, recipe.images.pack)
        size = spec.stop - spec.start
        shards.append(steps.add(spec, needs, f"sample {label}", size, _key_of(spec)))
    return _set_key(recipe), tuple(shards)


def _set_counts(each: GeneratedSet, training: Counts) -> Counts:
    if each.settings.per_class is not None:
        return tuple(each.settings.per_class for _ in training)
    return tuple((each.settings.multiplier or 1) * count for count in training)


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
