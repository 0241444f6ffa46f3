"""The flags of `augury train` become the settings of a cell, by way of a study's own parser."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator import yaml12
from orchestrator.grid import parse_cell
from orchestrator.overlay import overlaid, set_path
from orchestrator.settings import CellSettings
from tasks.errors import InputError, nearest

SET = "synthetic"
"""What the only synthetic set is called."""

FLAGS = {
    "variant": "--variant",
    "dataset.root": "--data-dir",
    "dataset.test": "--test-dir",
    "dataset.skip_bad": "--skip-bad",
    "dataset.val_fraction": "--val-fraction",
    f"synthetic.{SET}.folder": "--synthetic-dir",
    f"synthetic.{SET}.skip_bad": "--skip-bad",
    "subset.max_real": "--max-real",
    "subset.max_synth": "--max-synth",
    "train.model": "--model",
    "train.augmentation": "--augmentation",
    "train.epochs": "--epochs",
    "train.batch_size": "--batch-size",
    "train.optimizer": "--optimizer",
    "train.lr": "--lr",
    "train.weight_decay": "--weight-decay",
    "train.momentum": "--momentum",
    "train.schedule": "--schedule",
    "train.warmup_epochs": "--warmup-epochs",
    "train.label_smoothing": "--label-smoothing",
    "train.input_size": "--input-size",
    "train.pretrained": "--pretrained",
}
"""Paths in a study, and the flag that says the same."""

SPOKEN = {
    "say skip_bad: true": "say --skip-bad",
    "say pretrained: false": "leave out --pretrained",
    "train: schedule: step and milestones": "--schedule step and --set 'train.milestones=[10, 20]'",
}
"""What an error tells a study to say, and what does the same here."""

MOMENTUM_OPTIMIZERS = ("sgd", "rmsprop")

OPEN = ("train", "dataset", "subset", "mixing")
"""Sections that `--set` reaches."""


def cell_of(given: Mapping[str, Any], overrides: Sequence[str]) -> CellSettings:
    """Check what was said, as a study would.

    Args:
        given: values by path in a study, None where nothing was said.
        overrides: `path=value`, which go before the flags.

    Raises InputError naming the flag.
    """
    document: dict[str, Any] = {"dataset": "image_folder"}
    for path, value in given.items():
        if value is not None:
            set_path(document, path, value)
    for text, path in zip(overrides, set_paths(overrides), strict=True):
        section = path.partition(".")[0]
        if section not in OPEN:
            raise InputError(f"--set {text!r}: cannot be set here; {nearest(section, OPEN)}")
        for each, value in given.items():
            if value is not None and (each == path or each.startswith(f"{path}.")):
                raise InputError(
                    f"--set {text!r}: {FLAGS[each]} says it already: keep one of the two"
                )
    try:
        return parse_cell(overlaid(document, tuple(overrides), False))
    except InputError as error:
        raise flagged(error) from error


def set_paths(overrides: Sequence[str]) -> list[str]:
    """What each `path=value` sets."""
    return [text.partition("=")[0].strip() for text in overrides]


def said_paths(given: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    """All that was said, by its path in a study: by which flag, or by which `--set`."""
    flags = {path: FLAGS[path] for path, value in given.items() if value is not None}
    return flags | {path: f"--set {path}" for path in set_paths(overrides)}


def refuse_inert(said: Mapping[str, str], settings: CellSettings) -> None:
    """Raise InputError for what was said and could not change a thing; only grids may do so."""
    train, variant = settings.train, settings.variant
    synthetic_only = f"is of synthetic images, and --variant {variant} has none"
    mixed_only = f"is for --variant mixed, and this is {variant}"
    # Whether a setting is of use, by its path or the section it is in, and why it is not.
    wanted = {
        f"synthetic.{SET}": (variant != "real", synthetic_only),
        "subset.max_synth": (variant != "real", synthetic_only),
        "mixing": (variant == "mixed", mixed_only),
        "train.stages": (variant == "mixed", mixed_only),
        "train.momentum": (
            train.optimizer in MOMENTUM_OPTIMIZERS,
            f"{train.optimizer} has none; say --optimizer {' or '.join(MOMENTUM_OPTIMIZERS)}, or "
            f"leave it out",
        ),
        "train.decay": (train.schedule == "step", "is of --schedule step; leave it out"),
        "train.epochs": (train.steps is None, "train.steps says how long to train: keep one"),
        "train.pretrained": (
            train.pretrained is False or hasattr(settings.model.config, "pretrained"),
            f"{settings.model.name} has no published weights; leave it out",
        ),
        "dataset.test_fraction": (
            False,
            "no test is made up here; say --test-dir, or leave it out",
        ),
    }
    for path, (is_of_use, why) in wanted.items():
        for each in sorted(said):
            if not is_of_use and (each == path or each.startswith(f"{path}.")):
                raise InputError(f"{said[each]}: {why}")


def augmentations(given: Sequence[str] | None) -> list[Any] | None:
    """Names, or mappings as a study has them, in the order of their application.

    Raises InputError for what is not YAML.
    """
    if given is None:
        return None
    try:
        found = [yaml12.parse(text) for text in given]
    except InputError as error:
        raise InputError(f"--augmentation: {error}") from error
    for each in found:
        if isinstance(each, str) and "," in each:
            raise InputError(f"--augmentation {each}: separate them by spaces")
    return found


def flagged(error: InputError) -> InputError:
    """The same complaint, with the flag in the place of the path in a study."""
    text = str(error)
    for in_study, here in SPOKEN.items():
        text = text.replace(in_study, here)
    # What two settings of a section make impossible stands under the section.
    text = re.sub(r"^(train|dataset): (\w+): ", r"\1.\2: ", text)
    for path, flag in FLAGS.items():
        found = re.match(rf"{re.escape(path)}(?:[.\[][^:]*)?: ", text)
        if found:
            text = f"{flag}: {text[found.end() :]}"
    return InputError(text)
