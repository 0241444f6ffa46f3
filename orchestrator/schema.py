"""The JSON schema of a study file, so that editors complete, explain and check what is written.

It is made from the same classes that `study.py` checks with. A schema cannot say everything: that
`30.0` is no whole number here, or what settings exclude each other, is found by `augury plan`.
"""

import ast
import inspect
import textwrap
from typing import Any

from pydantic import TypeAdapter

from orchestrator.catalogue import summary
from orchestrator.parsing import ALL_MEASURES, EVALUATION_SPLIT_KEYS, USUAL_MEASURES
from orchestrator.settings import (
    VARIANTS,
    AuditSettings,
    EditSettings,
    EvaluationSet,
    ImbalanceSettings,
    MixingSettings,
    SetSettings,
    SplitSettings,
    StageSettings,
    SubsetSettings,
    TrainSettings,
)
from orchestrator.study import FOLDS, KEEP_WEIGHTS
from tasks import plugins
from tasks.classifiers import _timm_catalog
from tasks.edits import masks
from tasks.specs import canonical

Schema = dict[str, Any]
NULLABLE = ["object", "null"]
"""A section that is left empty says nothing."""
NOTHING = {"type": "null"}
TIMM = {"$ref": "#/$defs/timm"}
BEST_OF = {"$ref": "#/$defs/best_of"}
INNER = {kind.__name__: kind for kind in (ImbalanceSettings, StageSettings)}
"""Sections that stand inside of sections."""
DEEPER = (
    *("dataset", "synthetic", "subset.imbalance"),
    *("train.model", "train.augmentation", "train.companion"),
)
"""Below these, an axis names settings that depend on what is chosen there."""


def study_schema() -> Schema:
    """The schema (draft 2020-12) of a study as users write it, short forms included."""
    cell = _cell()
    arm = _relaxed({**_object(cell, "Settings that are changed at once."), "type": NULLABLE})
    study = {**{key: _or_best_of(part) for key, part in cell.items()}, **_around(cell, arm)}
    smoke = _relaxed(_object(study, "What shrinks the study to seconds, laid over it by --smoke."))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of Augury",
        **_object({**study, "smoke": smoke}, "One question, asked of a grid of trials."),
        "required": ["question", "dataset", "train"],
        "$defs": {"best_of": _best_of(), "timm": _timm_names()},
    }


def _cell() -> dict[str, Schema]:
    """The settings that an axis or an arm may change."""
    return {
        "dataset": _dataset(),
        "synthetic": {
            "description": "Synthetic sets by name.",
            "type": NULLABLE,
            "additionalProperties": _set(),
        },
        "subset": _subset(),
        "variant": {
            "description": "What a trial is trained on; mixed where there are sets, else real.",
            "enum": list(VARIANTS),
        },
        "sets": {
            "description": "Names of the sets that a trial uses; the only one where not given.",
            "anyOf": [{"type": "string"}, _list({"type": "string"}), NOTHING],
        },
        "set_seed": {
            "description": "Of fitting and of sampling, for all generated sets at once.",
            "type": ["integer", "null"],
        },
        "mixing": _named_section(MixingSettings),
        "train": _train(),
    }


def _around(cell: dict[str, Schema], arm: Schema) -> dict[str, Schema]:
    """What a study says beside the settings of its cells."""
    whole = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
    metric = {"enum": list(plugins.names("metrics"))}
    return {
        "question": {
            "description": "What the study asks, in one sentence.",
            "type": "string",
            "minLength": 1,
        },
        "axes": _axes(cell),
        "arms": {
            "description": "Several settings changed at once, by name.",
            "type": NULLABLE,
            "additionalProperties": arm,
        },
        "seeds": {
            "description": "One trial of each cell for each.",
            "default": [0, 1, 2],
            **_list(whole, unique=True),
        },
        "folds": {
            "description": "Parts of the train split that are tested on in turn, in place of the "
            "test split.",
            "type": ["integer", "null"],
            "minimum": min(FOLDS),
            "maximum": max(FOLDS),
        },
        "evaluate_on": {
            "description": "Further test sets by name; classes are matched by name.",
            "type": NULLABLE,
            "additionalProperties": _evaluation_set(),
        },
        "extractor": {
            **_one_of("What describes images, for measures and audits.", _plugins("extractors")),
            "default": "classifier",
        },
        "measures": {
            "description": "What is measured of synthetic sets; cas trains a classifier for each.",
            "default": list(USUAL_MEASURES),
            "type": "array",
            "items": {"enum": list(ALL_MEASURES)},
        },
        "audit": {
            "description": "What an audit of synthetic sets may find before their trials are "
            "stopped; false looks for nothing.",
            "anyOf": [_fields(AuditSettings), {"const": False}, {"const": True}, NOTHING],
        },
        "compare": {
            **_object({"baseline": {"type": "object", "minProperties": 1}}, "Against what."),
            "type": NULLABLE,
            "required": ["baseline"],
        },
        "report": {
            **_object({"metrics": {"default": ["top1"], **_list(metric)}}, "What tables show."),
            "type": NULLABLE,
        },
        "keep_weights": {
            "description": "Which weights stay in the store when a trial is evaluated.",
            "default": "all",
            "enum": list(KEEP_WEIGHTS),
        },
    }


def _axes(cell: dict[str, Schema]) -> Schema:
    """A list of values for each path; the paths of one step inside a section are checked too."""
    paths = {key: _list(part, unique=True) for key, part in cell.items()}
    sections = {"subset": cell["subset"], "train": cell["train"], "mixing": _fields(MixingSettings)}
    for section, found in sections.items():
        for key, part in found["properties"].items():
            paths[f"{section}.{key}"] = _list(part, unique=True)
    deeper = "|".join(path.replace(".", r"\.") for path in DEEPER)
    return {
        "description": "The grid: dotted paths to settings, with the values that each takes.",
        "type": NULLABLE,
        "properties": paths,
        "patternProperties": {rf"^({deeper})\.": {"type": "array", "minItems": 1}},
        "additionalProperties": False,
    }


def _dataset() -> Schema:
    return _one_of("The real images.", _plugins("datasets", _fields(SplitSettings)["properties"]))


def _evaluation_set() -> Schema:
    split = _fields(SplitSettings)["properties"]
    said = _field_docstrings(EvaluationSet)
    more = {
        **{key: split[key] for key in EVALUATION_SPLIT_KEYS},
        "part": {"description": said["part"], "type": ["string", "null"]},
        "allow_missing": {
            "description": said["allow_missing"],
            "type": "boolean",
            "default": False,
        },
    }
    found = _one_of("A dataset that trained classifiers are tested on.", _plugins("datasets", more))
    of = {"description": "The split that is edited.", "const": "test", "default": "test"}
    edited = _object({**_edits(), "of": of}, "The test images, edited; nothing trains on them.")
    return {**found, "anyOf": [*found["anyOf"], {**edited, "required": ["editor"]}]}


def _subset() -> Schema:
    fields = _fields(SubsetSettings)
    said = fields["properties"]["imbalance"]["description"]
    shape = {**_named_section(ImbalanceSettings), "description": said}
    properties = {**fields["properties"], "imbalance": shape}
    return {**fields, "properties": properties, "type": NULLABLE}


def _named_section(kind: type) -> Schema:
    """A section whose `name` alone says all that has no default."""
    fields = _fields(kind)
    name = {"enum": fields["properties"]["name"]["enum"]}
    return {
        "description": fields.get("description", ""),
        "anyOf": [name, {**fields, "type": "object"}, NOTHING],
    }


def _set() -> Schema:
    generators = [
        _plugin(
            "generators",
            name,
            more={"sampling": _fields(plugins.module("generators", name).Sampling)},
        )
        for name in plugins.names("generators")
    ]
    settings = _fields(SetSettings)["properties"]
    filters = _one_of(
        "What drops images; a list in the order in which they meet it.", _plugins("filters")
    )
    listed = {"type": "array", "items": {"anyOf": filters["anyOf"]}}
    made = _object(
        {
            "generator": _one_of("What is fitted.", generators),
            **settings,
            "filters": {**filters, "anyOf": [*filters["anyOf"], listed, NOTHING]},
        },
        "Generated.",
    )
    edited = _object(_edits(), "The real training images, edited.")
    folder = _fields(plugins.module("datasets", "image_folder").Config)["properties"]
    there = _object(
        {
            "folder": {"type": "string", "description": "One folder of images for each class."},
            "skip_bad": folder["skip_bad"],
        },
        "Images already made; what they were made from is not known.",
    )
    return {
        "anyOf": [
            {**made, "required": ["generator"]},
            {**edited, "required": ["editor"]},
            {**there, "required": ["folder"]},
        ]
    }


def _edits() -> dict[str, Schema]:
    """What is said of edited images, to train or to test on."""
    editors = _one_of("What edits.", _plugins("editors"))
    services = [
        name for name in plugins.names("editors") if plugins.module("editors", name).ABOUT.service
    ]
    providers = [_as_provider(_plugin("editors", name)) for name in services]
    drawn = [{**_fields(kind), "required": ["name"]} for kind in masks.KINDS.values()]
    return {
        "editor": {
            **editors,
            "anyOf": [*editors["anyOf"], *providers],
        },
        "prompts": {
            "description": "A file: one prompt a line, or by class in JSON or YAML.",
            "type": ["string", "null"],
        },
        "mask": {
            "description": "What is repainted: a name, a folder or file, or its settings.",
            "anyOf": [{"type": "string"}, *drawn, NOTHING],
        },
        **_fields(EditSettings)["properties"],
    }


def _as_provider(service: Schema) -> Schema:
    """The same settings, named by `provider`."""
    properties = dict(service["properties"])
    named = {"provider": properties.pop("name"), **properties}
    required = ["provider" if key == "name" else key for key in service["required"]]
    return {**service, "properties": named, "required": required}


def _train() -> Schema:
    fields = _fields(TrainSettings)
    augmentation = _one_of(
        "What changes training images as they are drawn; a list in the order of application.",
        _plugins("augmentations"),
    )
    several = {"type": "array", "items": {"anyOf": augmentation["anyOf"]}}
    companion = _one_of("A second classifier beside the network.", _plugins("companions"))
    apart = {
        "model": _model(),
        "augmentation": {
            **augmentation,
            "anyOf": [*augmentation["anyOf"], several, NOTHING],
        },
        "companion": {**companion, "anyOf": [*companion["anyOf"], NOTHING]},
    }
    return {**fields, "properties": {**apart, **fields["properties"]}, "required": ["model"]}


def _model() -> Schema:
    own = [_classifier(name) for name in plugins.names("classifiers") if name != "timm"]
    timm = _classifier("timm")["properties"]
    named = {**{key: timm[key] for key in timm if key != "architecture"}, "name": TIMM}
    chosen = {**timm, "architecture": {"default": "resnet50", **TIMM}}
    other = [
        {**_object(properties, "A model of timm."), "required": ["name"]}
        for properties in (named, chosen)
    ]
    found = _one_of("The classifier: one of Augury's own, or any timm name.", [*own, *other])
    return {**found, "anyOf": [*found["anyOf"], TIMM]}


def _classifier(name: str) -> Schema:
    """A file of `tasks/classifiers`, without the places that planning fills in."""
    found = _plugin("classifiers", name)
    said = ("name", *canonical(plugins.plugin("classifiers", name).config))
    properties = {key: part for key, part in found["properties"].items() if key in said}
    return {**found, "properties": properties}


def _timm_names() -> Schema:
    """Every architecture of timm and every alias, alone and with each of its tags."""
    known: list[str] = []
    for name in (*_timm_catalog.ALIASES, *_timm_catalog.names()):
        known += [name, *(f"{name}.{tag}" for tag in _timm_catalog.resolve(name).tags if tag)]
    return {"description": "A model of timm, with a pre-training or timm's default.", "enum": known}


def _best_of() -> Schema:
    inner = _object(
        {
            "study": {
                "type": "string",
                "description": "A study file beside this, or a bundled one.",
            },
            "metric": {"const": "val_top1", "default": "val_top1"},
        },
        "The winner of a study that has this setting as an axis.",
    )
    return {**_object({"best_of": {**inner, "required": ["study"]}}), "required": ["best_of"]}


def _plugins(kind: str, more: Schema | None = None) -> list[Schema]:
    return [_plugin(kind, name, more) for name in plugins.names(kind)]


def _plugin(kind: str, name: str, more: Schema | None = None) -> Schema:
    """The settings of one file, beside its name."""
    config = _fields(plugins.module(kind, name).Config)
    properties = {"name": {"const": name}, **config["properties"], **(more or {})}
    found = _object(properties, f"{summary(kind, name)}.")
    return {**found, "required": ["name", *config.get("required", [])]}


def _one_of(description: str, choices: list[Schema]) -> Schema:
    """One of several plug-ins; by its name alone where nothing else is required."""
    short = [
        choice["properties"]["name"]["const"]
        for choice in choices
        if "const" in choice["properties"]["name"] and choice["required"] == ["name"]
    ]
    return {"description": description, "anyOf": [{"enum": short}, *choices]}


def _fields(kind: Any) -> Schema:
    """A strict dataclass as pydantic describes it, with its fields' own docstrings."""
    schema: Schema = _inlined(_untitled(TypeAdapter(kind).json_schema()))
    schema.pop("$defs", None)
    said = _field_docstrings(kind)
    properties = schema.get("properties", {})
    for name, part in properties.items():
        if name in said:
            properties[name] = {"description": said[name], **part}
    return {**schema, "properties": properties, "additionalProperties": False}


def _field_docstrings(kind: type) -> dict[str, str]:
    """The text under each field, which Python itself forgets."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        match field, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


def _inlined(schema: Any) -> Any:
    """With each inner section in place of the reference to it."""
    if isinstance(schema, list):
        return [_inlined(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        # What is none of ours is pydantic's own name for any JSON value.
        name = schema["$ref"].rpartition("/")[2]
        return _fields(INNER[name]) if name in INNER else {}
    return {key: _inlined(item) for key, item in schema.items()}


def _untitled(schema: Any) -> Any:
    """Without the titles that pydantic makes of names."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _untitled(item)
        for key, item in schema.items()
        if key != "title" or not isinstance(item, str)
    }


def _object(properties: Schema, description: str = "") -> Schema:
    said = {"description": description} if description else {}
    return {**said, "type": "object", "properties": properties, "additionalProperties": False}


def _list(items: Schema, unique: bool = False) -> Schema:
    found = {"type": "array", "items": items, "minItems": 1}
    return {**found, "uniqueItems": True} if unique else found


def _or_best_of(schema: Schema) -> Schema:
    """Let `best_of` stand in place of a setting, and of every setting inside it."""
    inner = _settings(schema)
    notes: Schema = {key: inner.pop(key) for key in ("description", "default") if key in inner}
    return {**notes, "anyOf": [inner, BEST_OF]}


def _settings(schema: Schema) -> Schema:
    out = dict(schema)
    if "properties" in out:
        out["properties"] = {
            key: part if key == "name" else _or_best_of(part)
            for key, part in out["properties"].items()
        }
    if "anyOf" in out:
        out["anyOf"] = [_settings(choice) for choice in out["anyOf"]]
    if isinstance(out.get("additionalProperties"), dict):
        out["additionalProperties"] = _or_best_of(out["additionalProperties"])
    return out


def _relaxed(schema: Any) -> Any:
    """The same with everything optional: what is laid over other settings need not be whole."""
    if isinstance(schema, list):
        return [_relaxed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _relaxed(part)
        for key, part in schema.items()
        if key != "required" or not isinstance(part, list)
    }
