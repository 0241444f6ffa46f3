"""The settings of one cell become specs with keys, and the steps that make them."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.grid import Cell, label_of
from orchestrator.planned import VERSIONS, PlannedCell, PlannedTrial, Step
from orchestrator.settings import (
    Dataset,
    FolderSet,
    GeneratedSet,
    SubsetSettings,
    TrainSettings,
    model_label,
    num_parameters,
)
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

MOST_IMAGES = 100_000_000
"""Of one set: beyond any study, and what a slip of the finger easily asks for."""

SHARD_IMAGES = 1024
"""Aim for the images of one shard; a shard holds whole sampling batches."""


@dataclass
class Steps:
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


@dataclass(frozen=True, kw_only=True)
class RealImages:
    """The real images of a cell, with what they come from."""

    info: DatasetInfo
    images: ImagesSpec
    pool: Counts
    """Training images of each class that validation leaves."""
    test: Key
    split_size: int | None


def real_images(dataset: Dataset, wanted: SubsetSettings, steps: Steps) -> RealImages:
    """Plan the packs of a dataset, and count its validation and training images."""
    info = steps.infos[dataset.reader]
    if not sum(info.splits["test"].counts):
        raise InputError("dataset: no image is left to test on; give more images, or a test split")
    train_pack, test_pack = (_pack(dataset, info, split, steps) for split in ("train", "test"))
    validation, pool = _validation(info.splits["train"].counts, dataset.split.val_fraction)
    training = _subset(pool, wanted)
    return RealImages(
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
    pool = tuple(c - v for c, v in zip(counts, validation, strict=True))
    if not sum(pool):
        raise InputError(
            f"dataset.val_fraction: {fraction!r} of {sum(counts)} images leaves none to train on; "
            f"give a smaller fraction"
        )
    return validation, pool


@functools.lru_cache(maxsize=65536)
def _subset(pool: Counts, wanted: SubsetSettings) -> Counts:
    counts = subset(
        pool, fraction=wanted.fraction, per_class=wanted.per_class, max_real=wanted.max_real
    )
    if not sum(counts):
        raise InputError(f"subset.fraction: {wanted.fraction!r} of {sum(pool)} images leaves none")
    return counts


def _pack(dataset: Dataset, info: DatasetInfo, split: str, steps: Steps) -> Key:
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


def plan_cell(
    seeds: tuple[int, ...], cell: Cell, ground: SubsetSettings, real: RealImages, steps: Steps
) -> tuple[PlannedCell, Key]:
    """Plan a cell at all seeds; the key is that of the cell without its seed.

    Args:
        ground: the subset written in the study's base, whose size sets the budget.
    """
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
    label = label_of(coordinates)
    trials = tuple(
        _plan_trial(full, cell_key, (label, seed), real, tuple(packs), steps) for seed in seeds
    )
    planned = PlannedCell(
        coordinates=coordinates,
        settings=chosen,
        trials=trials,
        steps=recipe.steps,
        eval_every=recipe.eval_every,
        num_real=num_real,
        num_synthetic=num_synthetic,
        packs=tuple((name, pack) for (name, _), pack in zip(chosen.sets, packs, strict=True)),
        num_validation=sum(images.validation),
        num_test=sum(real.info.splits["test"].counts),
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
    real: RealImages,
    packs: tuple[Key, ...],
    steps: Steps,
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
    name: str,
    each: GeneratedSet | FolderSet,
    wanted: SubsetSettings,
    real: RealImages,
    steps: Steps,
) -> tuple[SyntheticImages, Key]:
    if isinstance(each, FolderSet):
        return _folder(name, each, wanted, real, steps)
    return _generated(name, each, wanted, real, steps)


def _folder(
    name: str, each: FolderSet, wanted: SubsetSettings, real: RealImages, steps: Steps
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
    name: str, each: GeneratedSet, wanted: SubsetSettings, real: RealImages, steps: Steps
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
    counts = _set_counts(each, wanted, real.images.training)
    if sum(counts) > MOST_IMAGES:
        raise InputError(f"synthetic.{name}: {sum(counts)} images are more than {MOST_IMAGES}")
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


def _shards(recipe: SetSpec, steps: Steps, label: str) -> tuple[Key, tuple[Key, ...]]:
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


def _set_counts(each: GeneratedSet, wanted: SubsetSettings, training: Counts) -> Counts:
    if each.settings.per_class is not None:
        # A fraction scales real and synthetic images alike.
        whole = tuple(each.settings.per_class for _ in training)
        return _subset(whole, SubsetSettings(fraction=wanted.fraction))
    return tuple((each.settings.multiplier or 1) * count for count in training)
