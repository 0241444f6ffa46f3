"""Plans a training on plain folders: which images take part, and how large a batch is."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from orchestrator.graph import Steps
from orchestrator.grid import Cell
from orchestrator.inputs import identify
from orchestrator.plan import PlannedCell, Step
from orchestrator.real import RealImages, pack_of
from orchestrator.resolve import plan_cell
from orchestrator.settings import CellSettings, Dataset, FolderSet, SubsetSettings
from orchestrator.single import sources
from orchestrator.single.places import some
from orchestrator.single.settings import flagged
from tasks.errors import InputError
from tasks.specs import DatasetInfo, Key, Plugin

LEAST_IMAGES = 2
"""That batch norm can be trained on."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is to be trained, planned but not begun."""

    cell: PlannedCell
    steps: Mapping[Key, Step]
    classes: tuple[str, ...]
    batch_size: int
    skipped: tuple[str, ...]
    """Images that cannot be read and are left out."""
    is_tested: bool
    """There are test images, for the end."""
    is_batch_of_all: bool = False
    """Nobody said how large batches are, and all images are fewer than are usual in one."""

    @property
    def num_images(self) -> int:
        return self.cell.num_real + self.cell.num_synthetic


def plan_training(
    settings: CellSettings, seeds: tuple[int, ...], said: Collection[str] = ()
) -> Training:
    """Look at the folders and plan the training; all images of an undivided folder take part.

    Where no batch size was said, and there are fewer images than usual in one, all of them are it.

    Args:
        said: what the user said, by its paths in a study.

    Raises InputError naming the flag, for folders that are missing or cannot be used.
    """
    infos = _infos(settings)
    _check_classes(infos[settings.dataset.reader])
    if "val" in infos[settings.dataset.reader].splits and "dataset.val_fraction" in said:
        raise InputError("--val-fraction: --data-dir has validation images apart; leave it out")
    training = _planned(settings, seeds, infos)
    if training.num_images < LEAST_IMAGES:
        raise InputError(
            f"{training.num_images} image to train on is too few: add images, or use more of them"
        )
    if training.num_images >= training.batch_size:
        return training
    if "train.batch_size" in said:
        raise InputError(
            f"--batch-size {training.batch_size}: there are only {training.num_images} images to "
            f"train on; say at most {training.num_images}{_unreadable(settings, infos)}"
        )
    fewer = replace(settings.train, batch_size=training.num_images)
    return replace(_planned(replace(settings, train=fewer), seeds, infos), is_batch_of_all=True)


def _planned(
    settings: CellSettings, seeds: tuple[int, ...], infos: dict[Plugin, DatasetInfo]
) -> Training:
    steps = Steps(infos)
    try:
        real = _real_images(settings.dataset, settings.subset, steps)
        cell, _ = plan_cell(
            seeds,
            Cell(coordinates=(), settings=settings),
            settings.subset,
            (real,),
            (),
            None,
            steps,
        )
    except InputError as error:
        raise flagged(error) from error
    return Training(
        cell=cell,
        steps=steps.found,
        classes=real.info.classes,
        batch_size=settings.train.batch_size,
        skipped=_skipped(infos.values()),
        is_tested=not real.info.undivided,
    )


def _skipped(infos: Iterable[DatasetInfo]) -> tuple[str, ...]:
    return tuple(
        name
        for info in infos
        for name in sorted({name for split in info.splits.values() for name in split.skipped})
    )


def _check_classes(info: DatasetInfo) -> None:
    if len(info.classes) < 2:
        raise InputError(
            f"--data-dir: holds one class alone, {info.classes[0]!r}: add a folder for another, as "
            f"a classifier tells two or more apart"
        )


def _unreadable(settings: CellSettings, infos: Mapping[Plugin, DatasetInfo]) -> str:
    """Which images would be next to stop a training that has too few."""
    sources = [replace(each, config=replace(each.config, skip_bad=True)) for each in infos]
    try:
        names = _skipped(identify(sources).values())
    except InputError as error:
        return f"; {_bare(error)}"
    left = "are left out" if settings.dataset.reader.config.skip_bad else "stop it (--skip-bad)"
    return f"; those that cannot be read {left}: {some(names)}" if names else ""


def _infos(settings: CellSettings) -> dict[Plugin, DatasetInfo]:
    infos: dict[Plugin, DatasetInfo] = {}
    reader = settings.dataset.reader
    try:
        infos |= identify([reader], fetch=True)
    except InputError as error:
        flag, error = sources.blamed(reader, error)
        why = "" if settings.variant != "synthetic" else " (real images validate every variant)"
        raise InputError(f"{flag}: {_bare(error)}{why}") from error
    for _, each in settings.sets:
        assert isinstance(each, FolderSet)
        try:
            infos |= identify([each.reader], fetch=True)
        except InputError as error:
            raise InputError(f"--synthetic-dir: {_bare(error)}") from error
    return infos


def _bare(error: InputError) -> str:
    return sources.bare(flagged(error))


def _real_images(dataset: Dataset, wanted: SubsetSettings, steps: Steps) -> RealImages:
    """As `orchestrator.real` plans them, but where nothing is held out no test is made up."""
    info = steps.infos[dataset.reader]
    split = "all" if info.undivided else "train"
    images, pool = sources.plan_images(dataset, split, wanted, dataset.split.val_fraction, steps)
    # The pack of an undivided folder stands where a test must be named, and is never predicted.
    test = images.pack if info.undivided else pack_of(dataset, info, "test", steps)
    num_test = 0 if info.undivided else sum(info.splits["test"].counts)
    return RealImages(
        dataset=dataset, info=info, images=images, pool=pool, test=test, num_test=num_test
    )
