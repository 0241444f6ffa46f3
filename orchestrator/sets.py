"""The synthetic sets of a cell: the steps that make them, and how many images each has."""

import functools
from dataclasses import dataclass, replace

from orchestrator.graph import Steps, key_of
from orchestrator.mixed import known, missing
from orchestrator.planned import VERSIONS
from orchestrator.real import RealImages, scaled
from orchestrator.settings import CellSettings, FolderSet, GeneratedSet, SubsetSettings
from tasks.errors import InputError
from tasks.specs import (
    Counts,
    FitSpec,
    GatherSpec,
    Key,
    PackSpec,
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

    def images(self) -> SyntheticImages:
        """As a trial has it, in the label order of the pack."""
        return SyntheticImages(pack=self.pack, counts=tuple(self.counts[i] for i in self.labels))


def synthetic(
    name: str,
    each: GeneratedSet | FolderSet,
    cell: CellSettings,
    real: RealImages,
    steps: Steps,
) -> Taken | None:
    """Plan a set; None where the cell has no use for any image of it.

    Raises InputError for a folder with classes that the dataset does not have.
    """
    if isinstance(each, FolderSet):
        return _folder(name, each, cell.subset, real, steps)
    return _generated(name, each, cell, real, steps)


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
    return Taken(name=name, pack=pack, counts=tuple(of_dataset), labels=labels)


def _generated(
    name: str, each: GeneratedSet, cell: CellSettings, real: RealImages, steps: Steps
) -> Taken | None:
    counts = _set_counts(name, each, cell, real.images.training)
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
    set_key, shards = _shards(recipe, steps, label)
    gather = GatherSpec(synthetic=set_key, shards=shards, classes=real.info.classes, size=real.size)
    pack = steps.add(gather, shards, f"gather {label}", sum(counts), key_of(gather))
    labels = tuple(range(len(real.info.classes)))
    return Taken(name=name, pack=pack, counts=counts, labels=labels)


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
        shards.append(steps.add(spec, needs, f"sample {label}", size, key_of(spec)))
    return _set_key(recipe), tuple(shards)


def _set_counts(name: str, each: GeneratedSet, cell: CellSettings, training: Counts) -> Counts:
    fills = cell.mixing.name == "fill_tail"
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
