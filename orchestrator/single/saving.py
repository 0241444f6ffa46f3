"""Gives the user the weights of a finished training, as a file of its own."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from orchestrator.dispatch import fetch_pack
from orchestrator.ledger import Ledger
from orchestrator.plan import Step
from orchestrator.single.places import aside, check_target, unwritten
from tasks.errors import InputError
from tasks.specs import TrialSpec

SUFFIXES = (".safetensors", ".pt")


def save(ledger: Ledger, step: Step, classes: tuple[str, ...], path: Path) -> None:
    """Write the weights that validation selected, in the format that the name asks for.

    Raises InputError where the file cannot be written; nothing of it is left then.
    """
    try:
        _save(ledger, step, classes, path)
    except OSError as error:
        text = f"{unwritten('--save-path', path, error)}; the training is kept"
        raise InputError(f"{text}: run this again to save it, here or elsewhere") from error


def _save(ledger: Ledger, step: Step, classes: tuple[str, ...], path: Path) -> None:
    stored = ledger.fetch("trial", step.key) / "selected.safetensors"
    if path.suffix == stored.suffix:
        beside = aside(path)
        try:
            shutil.copyfile(stored, beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        return
    from tasks.classification import load_weights, save_weights
    from tasks.packs import Pack
    from tasks.train import classifier_info

    assert isinstance(step.spec, TrialSpec)
    cell = step.spec.cell
    real = Pack(fetch_pack(ledger, cell.images.pack))
    classifier, _ = load_weights(stored)
    info = classifier_info(cell.recipe, real, cell.num_classes)
    save_weights(path, classifier, cell.model, info, classes)


def targets_of(path: Path, seeds: Sequence[int]) -> list[Path]:
    """`model.pt`, or `model-seed0.pt` and so on for several seeds.

    Raises InputError where one of them could not be written.
    """
    check_target("--save-path", path, SUFFIXES)
    if len(seeds) == 1:
        return [path]
    targets = [path.with_name(f"{path.stem}-seed{seed}{path.suffix}") for seed in seeds]
    for target in targets:
        check_target("--save-path", target, SUFFIXES)
    return targets
