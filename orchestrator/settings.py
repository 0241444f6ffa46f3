"""The typed sections of a study, and the one-line errors for what does not fit them."""

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks import plugins
from tasks.classifiers import _timm_catalog
from tasks.errors import InputError, nearest
from tasks.specs import STRICT, Plugin

BYTES_PER_PARAMETER = 16
"""In training: weights, gradients and two optimizer moments, in float32."""

Variant = Literal["real", "synthetic", "mixed"]
VARIANTS: tuple[Variant, ...] = ("real", "synthetic", "mixed")
Fraction = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=10**9)]


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class SplitSettings:
    """What a study says of a dataset beside its reader's own settings."""

    size: Annotated[int, Field(ge=4, le=4096)] | None = None
    """Short side of the packed images; None keeps uniform images and gives others 256."""
    split_seed: int = 0
    """Decides which training images are validation, and which come first in subsets."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class SubsetSettings:
    """How many real training images a trial may use; see `tasks.counting.subset`."""

    fraction: Fraction = 1.0
    """Of what is left after validation; synthetic images are scaled alike."""
    max_real: Positive | None = None
    """Real images in all."""
    per_class: Positive | None = None
    """Real images of any one class."""


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class SetSettings:
    """How many images a generated set has, and its seed."""

    multiplier: Positive | None = None
    """Synthetic images for each real training image; 1 where nothing is said."""
    per_class: Positive | None = None
    """Synthetic images of each class, instead."""
    seed: int = 0
    """Of fitting and of sampling; training has seeds of its own."""

    def __post_init__(self) -> None:
        if self.multiplier is not None and self.per_class is not None:
            raise ValueError("multiplier and per_class both say how many: keep one")


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainSettings:
    """How classifiers are trained; `model` is read apart."""

    epochs: Positive = 30
    """Passes over n_ref images; see `match`."""
    steps: Positive | None = None
    """Optimizer steps, instead of epochs."""
    match: Literal["steps", "epochs"] = "steps"
    """`steps`: all arms get the steps of the real images of the base; `epochs`: each its own."""
    batch_size: Positive = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak rate; None is 1e-3 for adamw and 0.1 for sgd."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """None is 0.05 for adamw and 5e-4 for sgd."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of sgd (Nesterov)."""
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    input_size: Annotated[int, Field(ge=8, le=2048)] | None = None
    """Side of the training images; None is the model's own."""
    pretrained: bool = False
    """Start timm models from their published weights; Augury's own models have none."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A reader with the split settings."""

    reader: Plugin
    split: SplitSettings


@dataclass(frozen=True, kw_only=True)
class GeneratedSet:
    """Images sampled from a generator that is fitted on the trial's own training images."""

    generator: Plugin
    sampling: Any
    settings: SetSettings


@dataclass(frozen=True, kw_only=True)
class FolderSet:
    """Images already made; where they come from is not known."""

    reader: Plugin


@dataclass(frozen=True, kw_only=True)
class CellSettings:
    """Everything one cell says, typed and checked."""

    dataset: Dataset
    subset: SubsetSettings
    variant: Variant
    sets: tuple[tuple[str, GeneratedSet | FolderSet], ...]
    """Name and recipe of each set used; none for `variant: real`."""
    train: TrainSettings
    model: Plugin


def explain(error: ValidationError, path: str, known: Iterable[str] = ()) -> InputError:
    """Turn the first complaint of pydantic into one line with the path in the file."""
    first = error.errors(include_url=False)[0]
    kind, given, more = first["type"], first.get("input"), first.get("ctx", {})
    where = path
    for part in first["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    if kind == "unexpected_keyword_argument":
        key = str(first["loc"][-1])
        return InputError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return InputError(f"{where}: is missing")
    if kind == "value_error":
        return InputError(f"{where}: {more['error']}")
    if kind == "literal_error":
        choices = [
            choice.strip("'") for choice in more["expected"].replace(" or ", ", ").split(", ")
        ]
        return InputError(f"{where}: {shown(given)} is unknown; {nearest(str(given), choices)}")
    if kind in WORDS:
        return InputError(f"{where}: {WORDS[kind].format(**more)} was expected, not {shown(given)}")
    what = first["msg"][:1].lower() + first["msg"][1:]
    return InputError(f"{where}: {what}, not {shown(given)}")


WORDS: Mapping[str, str] = {
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "float_type": "a number",
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "a number less than {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "string_type": "text",
    "tuple_type": "a list",
}
"""What pydantic's types of error mean to someone who writes a study."""


def shown(value: Any) -> str:
    """A value as an error names it: as YAML has it, and in brief."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping" + (f" of {', '.join(map(str, value))}" if 0 < len(value) < 6 else "")
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@functools.lru_cache(maxsize=65536)
def _validated(kind: Any, text: str, path: str) -> Any:
    known = [item.name for item in dataclasses.fields(kind)]
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        raise explain(error, path, known) from error


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def validated(kind: type, values: Mapping[str, Any], path: str) -> Any:
    """Check a mapping against a strict dataclass; the result is shared between equal mappings.

    Raises InputError naming the path, the value and what would do.
    """
    try:
        text = json.dumps(values, sort_keys=True, allow_nan=False)
    except ValueError as error:
        where, given = next(_not_finite(values, path))
        raise InputError(f"{where}: a finite number was expected, not {given}") from error
    return _validated(kind, text, path)


def _not_finite(value: Any, path: str) -> Iterator[tuple[str, float]]:
    """Path and value of each number that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _not_finite(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{path}[{index}]")


def field_names(kind: type) -> tuple[str, ...]:
    """The keys a section takes."""
    return tuple(item.name for item in dataclasses.fields(kind))


def mapping(value: Any, path: str) -> dict[str, Any]:
    """Expand the short form `x` to `{name: x}`; refuse anything that is no mapping then."""
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict):
        raise InputError(f"{path}: a name or a mapping was expected, not {shown(value)}")
    return value


def section(value: Any, path: str) -> dict[str, Any]:
    """A part of the study that has no short form; left empty, it says nothing."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: a mapping was expected, not {shown(value)}")
    return value


def _name_in(values: Mapping[str, Any], path: str, hint: str) -> str:
    if "name" not in values:
        raise InputError(f"{path}.name: is missing; {hint}")
    name = values["name"]
    if not isinstance(name, str):
        raise InputError(f"{path}.name: a name was expected, not {shown(name)}; {hint}")
    return name


def _named(kind: str, values: Mapping[str, Any], path: str) -> str:
    name = _name_in(values, path, nearest("", plugins.names(kind)))
    if name not in plugins.names(kind):
        raise InputError(
            f"{path}.name: unknown {kind.removesuffix('s')} {name!r}; "
            f"{nearest(name, plugins.names(kind))}"
        )
    return name


def _config(
    kind: str, name: str, values: Mapping[str, Any], path: str, shared: type | None
) -> Plugin:
    config_type = plugins.module(kind, name).Config
    own = {key: value for key, value in values.items() if key != "name"}
    unknown = set(own) - set(field_names(config_type))
    if unknown:
        key = min(unknown)
        known = (*field_names(config_type), *(field_names(shared) if shared else ()))
        raise InputError(f"{path}.{key}: unknown key {key!r}; {nearest(key, known)}")
    return plugins.plugin(kind, name, validated(config_type, own, path))


def parse_dataset(value: Any, path: str = "dataset") -> Dataset:
    """`{name: digits, size: 8, ...}`: the reader's settings and the split's, side by side."""
    values = mapping(value, path)
    shared = set(field_names(SplitSettings))
    name = _named("datasets", values, path)
    own = {key: item for key, item in values.items() if key not in shared}
    split = {key: item for key, item in values.items() if key in shared}
    return Dataset(
        reader=_config("datasets", name, own, path, SplitSettings),
        split=validated(SplitSettings, split, path),
    )


SET_SOURCES = ("generator", "folder")


def parse_set(value: Any, path: str) -> GeneratedSet | FolderSet:
    """`{generator: {...}, multiplier: 1, seed: 0}` or `{folder: data/synthetic}`."""
    value = section(value, path)
    sources = [key for key in SET_SOURCES if key in value]
    if len(sources) != 1:
        found = " and ".join(sources) or "none"
        raise InputError(f"{path}: needs one of {' and '.join(SET_SOURCES)}, has {found}")
    rest = {key: item for key, item in value.items() if key not in SET_SOURCES}
    if sources == ["folder"]:
        return _folder_set(value["folder"], rest, path)
    generator = dict(mapping(value["generator"], f"{path}.generator"))
    name = _named("generators", generator, f"{path}.generator")
    sampling = section(generator.pop("sampling", None), f"{path}.generator.sampling")
    unknown = set(rest) - set(field_names(SetSettings))
    if unknown:
        key = min(unknown)
        known = (*SET_SOURCES, *field_names(SetSettings))
        raise InputError(f"{path}.{key}: unknown key {key!r}; {nearest(key, known)}")
    module = plugins.module("generators", name)
    made = GeneratedSet(
        generator=_config("generators", name, generator, f"{path}.generator", None),
        sampling=validated(module.Sampling, sampling, f"{path}.generator.sampling"),
        settings=validated(SetSettings, rest, path),
    )
    try:
        module.check(made.generator.config, made.sampling)
    except ValueError as error:
        raise InputError(f"{path}.generator.sampling: {error}") from error
    return made


def _folder_set(folder: Any, rest: Mapping[str, Any], path: str) -> FolderSet:
    config_type = plugins.module("datasets", "image_folder").Config
    allowed = {"skip_bad"}
    if set(rest) - allowed:
        key = min(set(rest) - allowed)
        raise InputError(f"{path}.{key}: unknown key {key!r}; {nearest(key, ['folder', *allowed])}")
    if not isinstance(folder, str):
        raise InputError(f"{path}.folder: the path of a folder was expected, not {shown(folder)}")
    config = validated(config_type, {"root": folder, **rest}, path)
    return FolderSet(reader=plugins.plugin("datasets", "image_folder", config))


def parse_model(value: Any, pretrained: bool, path: str = "train.model") -> Plugin:
    """A file of `tasks/classifiers`, or any timm name or alias, short or with settings.

    Args:
        pretrained: `train.pretrained`, for models that have weights to start from.
    """
    values = dict(mapping(value, path))
    name = _name_in(values, path, _any_model())
    if name in _own_models():
        return _config("classifiers", name, values, path, None)
    if name == "timm":
        name = values.pop("architecture", "resnet50")
        if not isinstance(name, str):
            raise InputError(f"{path}.architecture: a timm name was expected, not {shown(name)}")
    elif "architecture" in values:
        raise InputError(f"{path}.architecture: {name!r} names it already: keep one of the two")
    try:
        entry = _timm_catalog.resolve(name)
    except InputError as error:
        raise InputError(
            f"{path}: unknown model {name!r}; {_nearest_model(name, error)}"
        ) from error
    own = {"pretrained": pretrained, **values, "name": "timm", "architecture": entry.name}
    model = _config("classifiers", "timm", own, path, None)
    if model.config.pretrained and not entry.has_weights:
        raise InputError(f"{path}: {entry.name} has no published weights: say pretrained: false")
    return model


def _nearest_model(name: str, error: InputError) -> str:
    architecture, dot, _ = name.partition(".")
    timm = {*_timm_catalog.names(), *_timm_catalog.ALIASES}
    if dot and architecture in timm:
        return str(error)
    hint = nearest(architecture, {*timm, *_own_models()})
    if hint.startswith("did you mean"):
        return hint
    return _any_model()


def _any_model() -> str:
    return f"say {' or '.join(_own_models())}, or a timm name such as resnet50"


def _own_models() -> tuple[str, ...]:
    return tuple(name for name in plugins.names("classifiers") if name != "timm")


def num_parameters(model: Plugin) -> int | None:
    """Parameters as published for the model's own head; None where only building it would tell."""
    if model.name != "timm":
        return None
    return _timm_catalog.resolve(model.config.architecture).params


def model_label(model: Plugin) -> str:
    """What tables call a model."""
    return str(model.config.architecture) if model.name == "timm" else model.name
