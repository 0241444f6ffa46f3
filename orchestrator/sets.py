"""The synthetic sets of a cell: the steps that make them, and how many images each has."""

import functools
from dataclasses import dataclass, replace

from orchestrator.edited import edited_set
from orchestrator.graph import Steps, key_of
from orchestrator.mixed import known, missing
from orchestrator.planned import VERSIONS
from orchestrator.real import RealImages, scaled
from orchestrator.settings import CellSettings, EditedSet, FolderSet, GeneratedSet, SubsetSettings
from tasks import plugins
from tasks.errors import InputError, nearest
from tasks.reference import reference_model, reference_recipe
from tasks.specs import (
    CellSpec,
    Counts,
    ExtractorSpec,
    FilterSpec,
    FitSpec,
    GatherSpec,
    ImagesSpec,
    Key,
    PackSpec,
    Plugin,
    SampleSpec,
    SetSpec,
    SyntheticImages,
    content_key,
)

MOST_IMAGES = 100_000_000
"""Of one set: beyond any study, and what a slip of the finger easily asks for."""

SHARD_IMAGES = 1024
"""Aim for the images of one shard; a shard holds whole sampling batches."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A set with the images that a cell may take from it."""

    name: str
    pack: Key
    counts: Counts
    """In the label order of the dataset."""
    labels: tuple[int, ...]
    """Of the pack's classes, in the dataset: a folder may hold fewer, in another order."""
    source: GeneratedSet | EditedSet | FolderSet
    fit: Key | None = None
    shards: tuple[Key, ...] = ()
    filter: Key | None = None

    def images(self) -> SyntheticImages:
        """As a trial has it, in the label order of the pack."""
        return SyntheticImages(pack=self.pack, counts=tuple(self.counts[i] for i in self.labels))


def synthetic(
    name: str,
    each: GeneratedSet | EditedSet | FolderSet,
    cell: CellSettings,
    real: RealImages,
    extractor: Plugin | None,
    steps: Steps,
) -> Taken | None:
    """Plan a set; None where the cell has no use for any image of it.

    Args:
        extractor: what filters see images by; None where there are none.

    Raises InputError for a folder with classes that the dataset does not have.
    """
    if isinstance(each, FolderSet):
        return _folder(name, each, cell.subset, real, steps)
    if isinstance(each, EditedSet):
        return _edited(name, each, real, steps)
    return _generated(name, each, cell, real, extractor, steps)


def _folder(
    name: str, each: FolderSet, wanted: SubsetSettings, real: RealImages, steps: Steps
) -> Taken:
    info = steps.infos[each.reader]
    if info.placeholder or real.info.placeholder:
        # The classes of both are known only once both are there.
        counts = real.info.splits["train"].counts
        info = replace(
            info,
            classes=real.info.classes,
            splits={"all": replace(info.splits["all"], counts=counts)},
        )
    unknown = sorted(set(info.classes) - set(real.info.classes))
    if unknown:
        raise InputError(
            f"synthetic.{name}.folder: class {unknown[0]!r} is none of the dataset's: "
            f"{', '.join(real.info.classes[:12])}"
        )
    spec = PackSpec(
        reader=each.reader,
        split="all",
        size=real.size,
        digest=info.splits["all"].digest,
        classes=info.classes,
        grayscale=real.dataset.split.grayscale,
    )
    total = sum(info.splits["all"].counts)
    pack = steps.add(spec, (), f"pack {name}", total, key_of(spec))
    # Where the images come from is not known, so a fraction takes a share of each class.
    held = scaled(info.splits["all"].counts, wanted)
    order = {name: label for label, name in enumerate(real.info.classes)}
    labels = tuple(order[name] for name in info.classes)
    of_dataset = [0] * len(real.info.classes)
    for label, number in zip(labels, held, strict=True):
        of_dataset[label] = number
    return Taken(
        name=name,
        pack=pack,
        counts=tuple(of_dataset),
        labels=labels,
        source=each,
    )


def _edited(name: str, each: EditedSet, real: RealImages, steps: Steps) -> Taken:
    edits = edited_set(name, each, real, steps)
    if sum(edits.counts) > MOST_IMAGES:
        raise InputError(f"synthetic.{name}: {sum(edits.counts)} edits are more than {MOST_IMAGES}")
    return Taken(
        name=name,
        pack=edits.pack,
        counts=edits.counts,
        labels=tuple(range(len(real.info.classes))),
        source=each,
        fit=edits.fit,
        shards=edits.shards,
    )


def _generated(
    name: str,
    each: GeneratedSet,
    cell: CellSettings,
    real: RealImages,
    extractor: Plugin | None,
    steps: Steps,
) -> Taken | None:
    counts = _set_counts(name, each, cell, real)
    if sum(counts) > MOST_IMAGES:
        raise InputError(f"synthetic.{name}: {sum(counts)} images are more than {MOST_IMAGES}")
    if not sum(counts):
        return None
    fit_spec = FitSpec(generator=each.generator, images=real.images, seed=each.settings.seed)
    label = each.generator.name
    fit = steps.add(
        fit_spec,
        (real.images.pack,),
        f"fit {label}",
        each.generator.config.steps,
        key_of(fit_spec),
    )
    recipe = SetSpec(
        fit=fit,
        sampling=each.sampling,
        counts=counts,
        seed=each.settings.seed,
        generator=each.generator,
        images=real.images,
    )
    set_key, shards = plan_shards(recipe, steps, label)
    kept = None
    if each.filters:
        kept = set_key = plan_filter(each, recipe, set_key, shards, real, extractor, steps)
    gathered = shards if kept is None else (kept,)
    gather = GatherSpec(
        synthetic=set_key, shards=gathered, classes=real.info.classes, size=real.size
    )
    pack = steps.add(gather, gathered, f"gather {label}", sum(counts), key_of(gather))
    labels = tuple(range(len(real.info.classes)))
    return Taken(
        name=name,
        pack=pack,
        counts=counts,
        labels=labels,
        source=each,
        fit=fit,
        shards=shards,
        filter=kept,
    )


def plan_filter(
    each: GeneratedSet,
    recipe: SetSpec,
    drawn: Key,
    shards: tuple[Key, ...],
    real: RealImages,
    extractor: Plugin | None,
    steps: Steps,
) -> Key:
    """Plan the filters of a set. What they see images by knows the generator's images alone."""
    needed = {
        need
        for chosen in each.filters
        for need in plugins.module("filters", chosen.name).needs(chosen.config)
    }
    used = extractor if needed else None
    if "probabilities" in needed or (needed and extractor is None):
        # Published networks do not know the classes.
        used = plugins.plugin("extractors", "classifier")
    # A classifier that saw more labels would let them into the set.
    fitted = None if used is None else fit_extractor(used, real.images, real, steps)
    spec = FilterSpec(
        drawn=drawn,
        synthetic=recipe,
        filters=each.filters,
        refill=each.settings.refill,
        max_draws=each.settings.max_draws if each.settings.refill else 1,
        extractor=used,
        fitted=fitted,
        classes=real.info.classes,
        shards=shards,
    )
    needs = (*shards, recipe.fit, recipe.images.pack, *((fitted,) if fitted else ()))
    return steps.add(
        spec, needs, f"filter {recipe.generator.name}", sum(recipe.counts), key_of(spec)
    )


def fit_extractor(
    extractor: Plugin, images: ImagesSpec, real: RealImages, steps: Steps
) -> Key | None:
    """Plan the small classifier that an extractor is, if it is one, on these training images."""
    if not plugins.module("extractors", extractor.name).NEEDS_FIT:
        return None
    num_images = sum(images.training)
    cell = CellSpec(
        images=images,
        sets=(),
        model=reference_model(),
        recipe=reference_recipe(num_images),
        num_classes=len(real.info.classes),
    )
    spec = ExtractorSpec(cell=cell, seed=0)
    needs = (images.pack, *((images.validation_pack,) if images.validation_pack else ()))
    return steps.add(spec, needs, "fit extractor", cell.recipe.steps, key_of(spec))


@functools.lru_cache(maxsize=4096)
def _set_key(recipe: SetSpec) -> Key:
    return content_key("set", VERSIONS["sample"], recipe)


def plan_shards(recipe: SetSpec, steps: Steps, label: str) -> tuple[Key, tuple[Key, ...]]:
    batch: int = recipe.sampling.batch_size
    whole = max(1, SHARD_IMAGES // batch) * batch
    total = sum(recipe.counts)
    shards = []
    for start in range(0, total, whole):
        spec = SampleSpec(synthetic=recipe, start=start, stop=min(start + whole, total))
        needs = (recipe.fit, recipe.images.pack)
        size = spec.stop - spec.start
        shards.append(steps.add(spec, needs, f"sample {label}", size, key_of(spec)))
    return _set_key(recipe), tuple(shards)


def _set_counts(name: str, each: GeneratedSet, cell: CellSettings, real: RealImages) -> Counts:
    training, fills = real.images.training, cell.mixing.name == "fill_tail"
    if each.settings.histogram is not None:
        asked = _histogram(each.settings.histogram, real.info.classes, f"synthetic.{name}")
        return known(scaled(asked, cell.subset), training)
    if each.settings.per_class is not None:
        # A fraction scales real and synthetic images alike.
        asked = scaled(tuple(each.settings.per_class for _ in training), cell.subset)
    elif fills and each.settings.multiplier is not None:
        raise InputError(
            f"synthetic.{name}.multiplier: mixing fill_tail makes just what classes lack: leave it "
            f"out, or say per_class"
        )
    elif fills:
        asked = missing(training)
    else:
        asked = tuple((each.settings.multiplier or 1) * number for number in training)
    return known(asked, training)


def _histogram(
    given: dict[str, int] | tuple[int, ...], classes: tuple[str, ...], path: str
) -> Counts:
    """Images of each class in label order.

    Raises InputError for a class that the dataset does not have, or a list of another length.
    """
    if isinstance(given, tuple):
        if len(given) != len(classes):
            raise InputError(
                f"{path}.histogram: {len(given)} numbers for {len(classes)} classes: give one each"
            )
        return given
    for name in given:
        if name not in classes:
            raise InputError(f"{path}.histogram: unknown class {name!r}; {nearest(name, classes)}")
    return tuple(given.get(name, 0) for name in classes)
