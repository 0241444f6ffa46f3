"""The arms and axes of a study become cells with typed settings."""

import copy
import functools
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator import parsing, yaml12
from orchestrator.models import parse_model
from orchestrator.overlay import merge, set_path
from orchestrator.report.spelling import spelled
from orchestrator.settings import (
    VARIANTS,
    CellSettings,
    MixingSettings,
    SubsetSettings,
    TrainSettings,
)
from orchestrator.validating import field_names, section, shown, validated
from tasks import plugins
from tasks.errors import InputError, nearest

if TYPE_CHECKING:
    from orchestrator.study import StudySpec

APART = ("model", "augmentation", "companion")
"""Keys of `train` that name plug-ins, beside those of `TrainSettings`."""

BARE_AXES = (
    *("variant", "arm", "sets", "mixing", "synthetic", "dataset"),
    *("train.model", "train.augmentation", "subset.imbalance"),
)
"""Axes whose value speaks for itself in a label."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the grid."""

    coordinates: tuple[tuple[str, Any], ...]
    """Axis path (or `arm`) and value, in the order of the study."""
    settings: CellSettings


def candidates(spec: "StudySpec") -> tuple[Any, ...]:
    """The values that a study's `best_of` may take."""
    assert spec.best_of is not None
    return spec.best_of.study.axes[spec.best_of.path]


def _base(spec: "StudySpec", winner: Any) -> dict[str, Any]:
    """The cell settings before arms and axes, with the winner's value in its place."""
    base = dict(spec.base)
    if spec.best_of is not None:
        base = copy.deepcopy(base)
        set_path(base, spec.best_of.path, winner)
    return base


@functools.lru_cache(maxsize=256)
def _cells(spec: "StudySpec", winner: str) -> tuple[Cell, ...]:
    base = _base(spec, yaml12.parse(winner))
    found = []
    arms = spec.arms or {"": {}}
    for name, arm in arms.items():
        ground = merge(base, arm)
        for values in itertools.product(*spec.axes.values()):
            document = dict(ground)
            for path, value in zip(spec.axes, values, strict=True):
                set_path(document, path, value)
            coordinates = (
                *((("arm", name),) if spec.arms else ()),
                *zip(spec.axes, values, strict=True),
            )
            try:
                found.append(Cell(coordinates=coordinates, settings=parse_cell(document)))
            except InputError as error:
                raise _in_cell(error, coordinates, base) from error
    return tuple(found)


def _in_cell(
    error: InputError, coordinates: Sequence[tuple[str, Any]], base: Mapping[str, Any]
) -> InputError:
    """Name the cell, unless the study without axes and arms is wrong in the same way."""
    try:
        parse_cell(base)
    except InputError as plain:
        if str(plain) == str(error):
            return error
    cell = ", ".join(f"{path}={shown(value)}" for path, value in coordinates)
    return InputError(f"{error} (in the cell {cell})")


def cells(spec: "StudySpec", winner: Any = None) -> tuple[Cell, ...]:
    """Expand the grid: arms, then axes in the order written, the last axis fastest.

    Args:
        winner: the value that `best_of` takes, where the study has one.
    """
    return _cells(spec, json.dumps(winner, sort_keys=True))


def label_of(coordinates: Iterable[tuple[str, Any]]) -> str:
    """A short name for a cell, such as `mixed, fraction=0.25`."""
    parts = []
    for path, value in coordinates:
        name = path.rpartition(".")[2]
        if path in BARE_AXES:
            parts.append(f"no {name}" if value is None else spelled(value))
        else:
            parts.append(f"{name}={spelled(value)}")
    return ", ".join(parts) or "all"


def base_subset(spec: "StudySpec", winner: Any = None) -> SubsetSettings:
    """The subset written in the study itself, which axes and arms do not move."""
    return parsing.parse_subset(_base(spec, winner).get("subset"))


def parse_cell(document: Mapping[str, Any]) -> CellSettings:
    """Check the settings of one cell; inert ones are put back to nothing."""
    if "dataset" not in document:
        raise InputError(f"dataset: is missing; {nearest('', plugins.names('datasets'))}")
    train = section(document.get("train"), "train")
    if "model" not in train:
        raise InputError("train.model: is missing; small_cnn or a timm name such as resnet50")
    known = (*APART, *field_names(TrainSettings))
    for key in train:
        if key not in known:
            raise InputError(f"train.{key}: unknown key {key!r}; {nearest(key, known)}")
    recipe = {key: value for key, value in train.items() if key not in APART}
    sets, variant = _sets(document)
    mixing = parsing.parse_mixing(document.get("mixing"))
    settled: TrainSettings = validated(TrainSettings, recipe, "train")
    model = parse_model(train["model"], settled.pretrained)
    if settled.initialisation != "default" and getattr(model.config, "pretrained", False):
        raise InputError(
            "train.initialisation: is for training from scratch: say pretrained: false"
        )
    return CellSettings(
        dataset=parsing.parse_dataset(document["dataset"]),
        subset=parsing.parse_subset(document.get("subset")),
        variant=variant,
        sets=sets,
        mixing=mixing if variant == "mixed" else MixingSettings(),
        train=settled,
        model=model,
        augmentations=parsing.parse_augmentations(train.get("augmentation")),
        companion=parsing.parse_companion(train.get("companion")),
    )


def _sets(document: Mapping[str, Any]) -> tuple[tuple[tuple[str, Any], ...], Any]:
    synthetic = section(document.get("synthetic"), "synthetic")
    parsed = {
        name: parsing.parse_set(value, f"synthetic.{name}") for name, value in synthetic.items()
    }
    variant = document.get("variant", "mixed" if parsed else "real")
    if variant not in VARIANTS:
        raise InputError(f"variant: {shown(variant)} is unknown; {nearest(str(variant), VARIANTS)}")
    if document.get("set_seed") is not None:
        parsed = {
            name: parsing.reseeded(each, document["set_seed"]) for name, each in parsed.items()
        }
    chosen = document.get("sets")
    if isinstance(chosen, str):
        chosen = [chosen]
    if chosen is not None:
        if not isinstance(chosen, list) or not chosen:
            raise InputError(f"sets: a list of set names was expected, not {shown(chosen)}")
        for name in chosen:
            if not isinstance(name, str) or name not in parsed:
                raise InputError(f"sets: unknown set {name!r}; {nearest(str(name), parsed)}")
    if variant == "real":
        return (), variant
    if chosen is None:
        if len(parsed) != 1:
            found = ", ".join(parsed) or "none"
            raise InputError(f"sets: variant {variant!r} must say which set; there are: {found}")
        chosen = list(parsed)
    return tuple((name, parsed[name]) for name in dict.fromkeys(chosen)), variant
