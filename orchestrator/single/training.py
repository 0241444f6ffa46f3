"""Trains on plain folders in this process, seed by seed, and keeps what is finished."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.plan import PlannedTrial, Step
from orchestrator.remarks import lineage_notes
from orchestrator.single.performing import Workplace, for_users, outstanding
from orchestrator.single.planning import Training
from orchestrator.single.saving import save
from orchestrator.single.settings import flagged
from orchestrator.steps import drop_weights, perform
from tasks import plugins
from tasks.errors import InputError
from tasks.predictions import load_predictions
from tasks.specs import Progress


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
            mended = for_users(error, f"seed {trial.seed}", at)
            if mended is None:
                raise
            raise flagged(InputError(str(mended).replace("train.lr", "--lr"))) from error
        yield trained


def notes(training: Training, at: Workplace) -> Iterator[str]:
    """What a reader of the scores must know of the images."""
    needs = {key for trial in training.cell.trials for key in training.steps[trial.trial].needs}
    used = [training.steps[key] for key in needs]
    records = {s.key: record for s in used if (record := at.ledger.record(s.kind, s.key))}
    for note in lineage_notes(used, records):
        yield str(flagged(InputError(note)))


def _trained(
    training: Training, trial: PlannedTrial, path: Path, at: Workplace, watcher: Watcher
) -> Trained:
    step = training.steps[trial.trial]
    is_new = not at.is_done(step)
    evaluation = training.steps[trial.evaluate]
    tested = [key for key in evaluation.needs if key != step.key] if training.is_tested else []
    for each in outstanding([*step.needs, *tested], training.steps, at):
        for progress in perform(each, at.setting, at.device):
            watcher.reading(each, progress)
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
