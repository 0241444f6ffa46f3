"""Trains on plain folders in this process, seed by seed, and keeps what is finished."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.ledger import Ledger
from orchestrator.plan import PlannedTrial, Step
from orchestrator.single.places import Place
from orchestrator.single.planning import Training
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
from tasks.errors import InputError
from tasks.predictions import load_predictions
from tasks.specs import Progress

DIVERGED = "TrainingDiverged: "
"""How a failure begins that a lower rate mends."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


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
            trained = _trained(training, trial, path, at, watcher)
        except InputError:
            raise
        except Exception as error:
            mended = _for_users(error, trial, at)
            if mended is None:
                raise
            raise mended from error
        yield trained


def _for_users(error: Exception, trial: PlannedTrial, at: Workplace) -> InputError | None:
    """What the user can do about a training that failed; None where it is not theirs to mend."""
    text = str(error)
    if isinstance(error, StepFailed):
        text = error.message
        if error.by_user or text.startswith(DIVERGED):
            return flagged(InputError(text.removeprefix(DIVERGED).replace("train.lr", "--lr")))
    # Python, safetensors and torch, of which the last does not say why it cannot write a file.
    code = re.search(r"\[Errno (\d+)\]|\(os error (\d+)\)", text)
    number = int(code[1] or code[2]) if code else None
    if number in FULL or "inline_container.cc" in text:
        why = os.strerror(number) if number else "the disk may be full"
        return InputError(
            f"seed {trial.seed}: the cache {at.ledger.local} takes no more ({why}): make room "
            f"there, or set AUGURY_CACHE to another folder, and run this again"
        )
    if isinstance(error, OSError):
        return InputError(f"seed {trial.seed}: {error}; run this again to go on")
    return None


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
