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
    for text in overrides:
        section = text.partition("=")[0].strip().partition(".")[0]
        if section not in OPEN:
            raise InputError(f"--set {text!r}: cannot be set here; {nearest(section, OPEN)}")
    try:
        return parse_cell(overlaid(document, tuple(overrides), False))
    except InputError as error:
        raise flagged(error) from error


def augmentations(given: Sequence[str] | None) -> list[Any] | None:
    """Names, or mappings as a study has them, in the order of their application.

    Raises InputError for what is not YAML.
    """
    if given is None:
        return None
    try:
        return [yaml12.parse(text) for text in given]
    except InputError as error:
        raise InputError(f"--augmentation: {error}") from error


def flagged(error: InputError) -> InputError:
    """The same complaint, with the flag in the place of the path in a study."""
    text = str(error).replace("say skip_bad: true", "say --skip-bad")
    for path, flag in FLAGS.items():
        found = re.match(rf"{re.escape(path)}(?:[.\[][^:]*)?: ", text)
        if found:
            text = f"{flag}: {text[found.end() :]}"
    return InputError(text)
