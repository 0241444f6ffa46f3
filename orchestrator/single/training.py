"""Trains on plain folders in this process, seed by seed, and keeps what is finished."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.graph import Steps
from orchestrator.grid import Cell
from orchestrator.inputs import identify
from orchestrator.ledger import Ledger
from orchestrator.plan import PlannedCell, PlannedTrial, Step
from orchestrator.real import RealImages, count, pack_of
from orchestrator.resolve import plan_cell
from orchestrator.settings import CellSettings, Dataset, FolderSet, SubsetSettings
from orchestrator.single.places import Place
from orchestrator.single.saving import save
from orchestrator.single.settings import flagged
from orchestrator.steps import (
    Setting,
    StepFailed,
    drop_weights,
    name_store,
    perform,
    source_commit,
)
from tasks import plugins
from tasks.caches import cache_dir
from tasks.counting import exact, rounded, share
from tasks.errors import InputError
from tasks.predictions import load_predictions
from tasks.specs import Counts, DatasetInfo, ImagesSpec, Key, Plugin, Progress

DIVERGED = "TrainingDiverged: "
"""How a failure begins that a lower rate mends."""


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

    @property
    def num_images(self) -> int:
        return self.cell.num_real + self.cell.num_synthetic


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How the training of one seed ended."""

    seed: int
    val_top1: float
    test_top1: float | None
    """None where there are no test images."""
    epoch: float
    """Of the weights that validation selected, which are the ones saved."""
    path: Path
    is_new: bool
    """Trained now, and not by an earlier command."""


class Watcher(Protocol):
    """Is told how a training goes."""

    def reading(self, step: Step, progress: Progress) -> None:
        """Images are decoded into a pack."""
        ...

    def training(self, seed: int, progress: Progress) -> None:
        """The training at a seed was validated."""
        ...


def plan_training(settings: CellSettings, seeds: tuple[int, ...]) -> Training:
    """Look at the folders and plan the training; all images of an undivided folder take part.

    Raises InputError naming the flag, for folders that are missing or cannot be used.
    """
    infos = _infos(settings)
    steps = Steps(infos)
    try:
        real = _real_images(settings.dataset, settings.subset, steps)
        cell, _ = plan_cell(
            seeds, Cell(coordinates=(), settings=settings), settings.subset, (real,), (), steps
        )
    except InputError as error:
        raise flagged(error) from error
    training = Training(
        cell=cell,
        steps=steps.found,
        classes=real.info.classes,
        batch_size=settings.train.batch_size,
        skipped=tuple(
            name
            for info in infos.values()
            for name in sorted({name for split in info.splits.values() for name in split.skipped})
        ),
        is_tested=not real.info.undivided,
    )
    if training.batch_size > training.num_images:
        raise InputError(
            f"--batch-size {training.batch_size}: there are only {training.num_images} images to "
            f"train on; say at most {training.num_images}"
        )
    return training


def _infos(settings: CellSettings) -> dict[Plugin, DatasetInfo]:
    infos: dict[Plugin, DatasetInfo] = {}
    try:
        infos |= identify([settings.dataset.reader], fetch=True)
    except InputError as error:
        why = "" if settings.variant != "synthetic" else " (real images validate every variant)"
        raise InputError(f"--data-dir: {_bare(error)}{why}") from error
    for _, each in settings.sets:
        assert isinstance(each, FolderSet)
        try:
            infos |= identify([each.reader], fetch=True)
        except InputError as error:
            raise InputError(f"--synthetic-dir: {_bare(error)}") from error
    return infos


def _bare(error: InputError) -> str:
    return str(flagged(error)).removeprefix("image_folder: ")


def _real_images(dataset: Dataset, wanted: SubsetSettings, steps: Steps) -> RealImages:
    """As `orchestrator.real` plans them, but where nothing is held out no test is made up."""
    info = steps.infos[dataset.reader]
    split = "all" if info.undivided else "train"
    pool: Counts = info.splits[split].counts
    pack, validation_pack = pack_of(dataset, info, split, steps), None
    if "val" in info.splits:
        validation_pack = pack_of(dataset, info, "val", steps)
        validation = info.splits["val"].counts
    else:
        validation = _validation(pool, dataset.split.val_fraction)
        pool = tuple(all_ - out for all_, out in zip(pool, validation, strict=True))
    images = ImagesSpec(
        pack=pack,
        split_seed=dataset.split.split_seed,
        validation=validation,
        training=count(pool, wanted),
        validation_pack=validation_pack,
    )
    # The pack of an undivided folder stands where a test must be named, and is never predicted.
    test = pack if info.undivided else pack_of(dataset, info, "test", steps)
    num_test = 0 if info.undivided else sum(info.splits["test"].counts)
    return RealImages(
        dataset=dataset, info=info, images=images, pool=pool, test=test, num_test=num_test
    )


def _validation(pool: Counts, fraction: float) -> Counts:
    number = rounded(exact(fraction) * sum(pool))
    if not 0 < number < sum(pool):
        less = "validation" if not number else "training"
        raise InputError(
            f"--val-fraction {fraction}: of {sum(pool)} images leaves none for {less}; "
            f"add images, or say another fraction"
        )
    return share(number, pool)


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where trainings are done and kept."""

    ledger: Ledger
    setting: Setting
    device: str

    def is_trained(self, trial: PlannedTrial) -> bool:
        """An earlier command has finished it."""
        return self.ledger.record("trial", trial.trial) is not None


def workplace(place: Place) -> Workplace:
    """The store of single trainings, in the cache of this machine.

    Threads and device change the last digits and are no part of a key, so each has its own: what
    is found there is what training again would give.

    Raises InputError where nothing can be written.
    """
    folder = cache_dir() / "single" / f"{place.device.partition(':')[0]}-{place.threads}"
    try:
        ledger = Ledger(str(folder))
        ledger.check_writable()
    except InputError as error:
        raise InputError(
            f"the cache {folder} cannot be written; set AUGURY_CACHE to a folder that can"
        ) from error
    setting = Setting(
        store=ledger.uri,
        store_id=name_store(ledger),
        commit=source_commit(),
        keep_weights="selected",
        threads=place.threads,
    )
    return Workplace(ledger=ledger, setting=setting, device=place.device)


def train(
    training: Training, targets: Sequence[Path], at: Workplace, watcher: Watcher
) -> Iterator[Trained]:
    """Train and save one seed after the other; those that are trained already are only saved.

    Args:
        targets: where the weights of each seed go.

    Raises InputError for what the user can mend: images that cannot be read, a rate too high,
    a full disk.
    """
    for trial, path in zip(training.cell.trials, targets, strict=True):
        try:
            yield _trained(training, trial, path, at, watcher)
        except StepFailed as error:
            if not error.by_user and not error.message.startswith(DIVERGED):
                raise
            message = error.message.removeprefix(DIVERGED).replace("train.lr", "--lr")
            raise flagged(InputError(message)) from error
        except OSError as error:
            raise InputError(f"seed {trial.seed}: {error}; run this again to go on") from error


def _trained(
    training: Training, trial: PlannedTrial, path: Path, at: Workplace, watcher: Watcher
) -> Trained:
    is_new = not at.is_trained(trial)
    step = training.steps[trial.trial]
    evaluation = training.steps[trial.evaluate]
    tested = [key for key in evaluation.needs if key != step.key] if training.is_tested else []
    for key in dict.fromkeys([*step.needs, *tested]):
        for progress in perform(training.steps[key], at.setting, at.device):
            watcher.reading(training.steps[key], progress)
    for progress in perform(step, at.setting, at.device):
        watcher.training(trial.seed, progress)
    drop_weights(step.key, at.setting)
    record = at.ledger.record("trial", step.key)
    assert record is not None
    result = record["result"]
    test_top1 = _test_top1(training, evaluation, at) if training.is_tested else None
    save(at.ledger, step, training.classes, path)
    return Trained(
        seed=trial.seed,
        val_top1=result["scores"]["val_top1"],
        test_top1=test_top1,
        epoch=result["selected_step"] / training.cell.eval_every,
        path=path,
        is_new=is_new,
    )


def _test_top1(training: Training, step: Step, at: Workplace) -> float | None:
    for _ in perform(step, at.setting, at.device):
        pass
    stored = load_predictions(at.ledger.fetch("evaluate", step.key) / "predictions.npz")
    top1 = plugins.build("metrics", plugins.plugin("metrics", "top1"))
    value: float | None = top1(stored.by("selected", training.classes)).value
    return value
