"""The real images of a cell: their packs, and how many are for validation and for training."""

import functools
from dataclasses import dataclass, replace

from orchestrator.graph import Steps, key_of
from orchestrator.settings import Dataset, SubsetSettings
from tasks.counting import exact, held_in_fold, rounded, share, subset
from tasks.errors import InputError
from tasks.specs import Counts, DatasetInfo, ImagesSpec, Key, PackSpec


@dataclass(frozen=True, kw_only=True)
class RealImages:
    """The real images of a cell, with what they come from."""

    dataset: Dataset
    info: DatasetInfo
    images: ImagesSpec
    pool: Counts
    """Training images of each class that testing and validation leave."""
    test: Key
    """The pack of the test images; in cross-validation the train pack, a fold of which they are."""
    num_test: int

    @property
    def size(self) -> int | None:
        """Short side of the packed images."""
        return self.dataset.split.size


def real_images(
    dataset: Dataset, wanted: SubsetSettings, fold: tuple[int, int] | None, steps: Steps
) -> RealImages:
    """Plan the packs of a dataset, and count its validation and training images.

    Args:
        fold: (index, of so many), where that slice of the train split is what is tested on.
    """
    info = steps.infos[dataset.reader]
    if fold is None and not sum(info.splits["test"].counts):
        raise InputError("dataset: no image is left to test on; give more images, or a test split")
    train_pack = pack_of(dataset, info, "train", steps)
    everything = info.splits["train"].counts
    folds = (held_in_fold(number, fold) for number in everything)
    held = tuple(each.stop - each.start for each in folds)
    if fold is not None and not sum(held):
        raise InputError(
            f"folds: fold {fold[0]} of {fold[1]} holds no image, as the largest class has "
            f"{max(everything)}: say fewer folds"
        )
    rest = tuple(number - out for number, out in zip(everything, held, strict=True))
    validation_pack = None
    if "val" in info.splits:
        validation_pack = pack_of(dataset, info, "val", steps)
        validation, pool = info.splits["val"].counts, rest
    else:
        validation, pool = _validation(rest, dataset.split.val_fraction)
    return RealImages(
        dataset=dataset,
        info=info,
        images=ImagesSpec(
            pack=train_pack,
            split_seed=dataset.split.split_seed,
            validation=validation,
            training=count(pool, wanted),
            validation_pack=validation_pack,
            fold=fold,
        ),
        pool=pool,
        test=pack_of(dataset, info, "test", steps) if fold is None else train_pack,
        num_test=sum(info.splits["test"].counts if fold is None else held),
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
def count(pool: Counts, wanted: SubsetSettings) -> Counts:
    """Images of each class in a subset.

    Raises InputError where none would be left.
    """
    shape = wanted.imbalance
    counts = subset(
        pool,
        fraction=wanted.fraction,
        per_class=wanted.per_class,
        imbalance=None if shape is None else shape.imbalance,
        max_real=wanted.max_real,
    )
    if not sum(counts):
        if shape is not None:
            raise InputError(
                f"subset.imbalance: {shape.name} leaves no image: the classes hold "
                f"{min(pool)} to {max(pool)}"
            )
        raise InputError(f"subset.fraction: {wanted.fraction!r} of {sum(pool)} images leaves none")
    empty = sum(held > 0 and not left for held, left in zip(pool, counts, strict=True))
    if shape is not None and empty:
        raise InputError(
            f"subset.imbalance: {shape.name} leaves {empty} classes without an image, the largest "
            f"with {max(counts)}: give more images, or a factor nearer to 1"
        )
    return counts


def scaled(pool: Counts, wanted: SubsetSettings) -> Counts:
    """The fraction of `wanted` alone, which scales real and synthetic images alike."""
    return count(pool, SubsetSettings(fraction=wanted.fraction))


def pack_of(dataset: Dataset, info: DatasetInfo, split: str, steps: Steps) -> Key:
    """Plan the pack of one split."""
    spec = PackSpec(
        reader=dataset.reader,
        split=split,
        size=dataset.split.size,
        digest=info.splits[split].digest,
        classes=info.classes,
        grayscale=dataset.split.grayscale,
    )
    title = f"pack {dataset.reader.name} {split}"
    return steps.add(spec, (), title, sum(info.splits[split].counts), key_of(spec))


def without_real(images: ImagesSpec) -> ImagesSpec:
    """The same with no image to train on, for `variant: synthetic`."""
    return replace(images, training=tuple(0 for _ in images.training))
