"""The sections of a study that name plug-ins: datasets, sets, augmentations, mixing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.local_files import by_content
from orchestrator.parsing_edits import BESIDE, parse_edited_test, parse_edits
from orchestrator.settings import (
    AuditSettings,
    Dataset,
    EditedSet,
    EditedTest,
    EvaluationSet,
    FolderSet,
    GeneratedSet,
    MixingSettings,
    QualitySettings,
    SetSettings,
    SplitSettings,
    SubsetSettings,
)
from orchestrator.validating import (
    config_of,
    field_names,
    mapping,
    named,
    section,
    shown,
    validated,
)
from tasks import plugins
from tasks.errors import InputError, nearest
from tasks.feeding import misplaced
from tasks.measures.catalogue import CATALOGUE, IN_FEATURE_SPACE
from tasks.specs import Plugin


def parse_dataset(value: Any, path: str = "dataset") -> Dataset:
    """`{name: digits, size: 8, ...}`: the reader's settings and the split's, side by side."""
    values = mapping(value, path)
    shared = set(field_names(SplitSettings))
    name = named("datasets", values, path)
    own = {key: item for key, item in values.items() if key not in shared}
    split = {key: item for key, item in values.items() if key in shared}
    return Dataset(
        reader=config_of("datasets", name, own, path, SplitSettings),
        split=validated(SplitSettings, split, path),
    )


ALL_MEASURES = tuple(CATALOGUE)
USUAL_MEASURES = IN_FEATURE_SPACE
"""`cas` trains a classifier for each set, and so is taken where it is asked for."""
SET_SOURCES = ("generator", "editor", "folder")


def parse_set(value: Any, path: str) -> GeneratedSet | EditedSet | FolderSet:
    """`{generator: {...}, multiplier: 1}`, `{editor: {...}}` or `{folder: data/synthetic}`."""
    value = section(value, path)
    sources = [key for key in SET_SOURCES if key in value]
    if "editor" in value and "folder" not in value:
        # An editor may be told about the generator that it is.
        return parse_edits(value, path)
    if len(sources) != 1:
        found = " and ".join(sources) or "none"
        raise InputError(f"{path}: needs one of {', '.join(SET_SOURCES)}, has {found}")
    rest = {key: item for key, item in value.items() if key not in SET_SOURCES}
    filters = rest.pop("filters", None)
    if isinstance(rest.get("histogram"), dict):
        # Classes may be called 0 to 9.
        rest["histogram"] = {str(key): item for key, item in rest["histogram"].items()}
    if filters is not None and sources == ["folder"]:
        raise InputError(
            f"{path}.filters: a folder is taken as it is: filters are for generated sets"
        )
    if sources == ["folder"]:
        return _folder_set(value["folder"], rest, path)
    generator = dict(mapping(value["generator"], f"{path}.generator"))
    name = named("generators", generator, f"{path}.generator")
    sampling = section(generator.pop("sampling", None), f"{path}.generator.sampling")
    unknown = set(rest) - set(field_names(SetSettings))
    if unknown:
        key = min(unknown)
        known = (*SET_SOURCES, "filters", *field_names(SetSettings))
        raise InputError(f"{path}.{key}: unknown key {key!r}; {nearest(key, known)}")
    module = plugins.module("generators", name)
    chosen = config_of("generators", name, generator, f"{path}.generator", None)
    made = GeneratedSet(
        generator=by_content("generators", chosen, f"{path}.generator"),
        sampling=validated(module.Sampling, sampling, f"{path}.generator.sampling"),
        settings=validated(SetSettings, rest, path),
        filters=parse_filters(filters, f"{path}.filters"),
    )
    try:
        module.check(made.generator.config, made.sampling)
    except ValueError as error:
        raise InputError(f"{path}.generator.sampling: {error}") from error
    return made


def reseeded(
    each: GeneratedSet | EditedSet | FolderSet, seed: Any
) -> GeneratedSet | EditedSet | FolderSet:
    """The same set fitted, sampled and edited by another seed; a folder is as it is."""
    if isinstance(each, FolderSet):
        return each
    checked: int = validated(SetSettings, {"seed": seed}, "set_seed").seed
    if isinstance(each, EditedSet):
        return replace(each, settings=replace(each.settings, seed=checked))
    return replace(each, settings=replace(each.settings, seed=checked))


def parse_augmentations(value: Any, path: str = "train.augmentation") -> tuple[Plugin, ...]:
    """One name or mapping, or a list of them in the order of their application."""
    if value is None:
        return ()
    given = value if isinstance(value, list) else [value]
    found = []
    for index, each in enumerate(given):
        here = f"{path}[{index}]" if isinstance(value, list) else path
        values = mapping(each, here)
        name = named("augmentations", values, here)
        found.append(config_of("augmentations", name, values, here, None))
    wrong = misplaced([each.name for each in found])
    if wrong is not None:
        raise InputError(
            f"{path}: {wrong[0]} changes whole batches and {wrong[1]} single images before them: "
            f"put {wrong[1]} first"
        )
    # What is never applied is not there.
    return tuple(each for each in found if each.config.probability > 0)


def parse_filters(value: Any, path: str) -> tuple[Plugin, ...]:
    """One name or mapping, or a list of them in the order in which images meet them."""
    given = value if isinstance(value, list) else [] if value is None else [value]
    found = []
    for index, each in enumerate(given):
        here = f"{path}[{index}]" if isinstance(value, list) else path
        values = mapping(each, here)
        name = named("filters", values, here)
        chosen = config_of("filters", name, values, here, None)
        found.append(by_content("filters", chosen, here))
    return tuple(found)


def parse_quality(document: Mapping[str, Any]) -> QualitySettings:
    """What is measured of synthetic sets: `extractor`, `measures` and `audit` of a study.

    `measures: []` and `audit: false` leave it out.
    """
    values = mapping(document.get("extractor", "classifier"), "extractor")
    name = named("extractors", values, "extractor")
    extractor = config_of("extractors", name, values, "extractor", None)
    measures = document.get("measures", list(USUAL_MEASURES))
    if not isinstance(measures, list):
        raise InputError(f"measures: a list of names was expected, not {shown(measures)}")
    for each in measures:
        if each not in ALL_MEASURES:
            raise InputError(
                f"measures: unknown measure {shown(each)}; {nearest(str(each), ALL_MEASURES)}"
            )
    audit = document.get("audit")
    if audit is not None and not isinstance(audit, bool | dict):
        raise InputError(
            f"audit: false, or {{max_test_duplicates: 0}} was expected, not {shown(audit)}"
        )
    allowed = audit if isinstance(audit, dict) else {}
    return QualitySettings(
        extractor=by_content("extractors", extractor, "extractor"),
        measures=tuple(dict.fromkeys(measures)),
        audit=None if audit is False else validated(AuditSettings, allowed, "audit"),
    )


def parse_companion(value: Any, path: str = "train.companion") -> Plugin | None:
    """A file of `tasks/companions` with its settings, if any is asked for."""
    if value is None:
        return None
    values = mapping(value, path)
    return config_of("companions", named("companions", values, path), values, path, None)


def parse_mixing(value: Any, path: str = "mixing") -> MixingSettings:
    """`{name: replace, ratio: 0.5}`, or a name alone."""
    values = {} if value is None else mapping(value, path)
    found: MixingSettings = validated(MixingSettings, values, path)
    return found


def parse_subset(value: Any, path: str = "subset") -> SubsetSettings:
    """The subset of the real images, with `imbalance` as a name or a mapping."""
    values = dict(section(value, path))
    if values.get("imbalance") is not None:
        values["imbalance"] = mapping(values["imbalance"], f"{path}.imbalance")
    found: SubsetSettings = validated(SubsetSettings, values, path)
    return found


EVALUATION_SPLIT_KEYS = ("size", "grayscale")
"""Of `SplitSettings`, what a further test set may say for itself; else it is as the dataset is."""


def parse_evaluation_sets(value: Any) -> tuple[EvaluationSet | EditedTest, ...]:
    """Further test sets by name: a dataset each, with `part` and `allow_missing` beside; or edits
    of the test images."""
    found: list[EvaluationSet | EditedTest] = []
    for name, each in section(value, "evaluate_on").items():
        path = f"evaluate_on.{name}"
        if name in ("test", "train"):
            raise InputError(f"{path}: the dataset has a split of that name: call it otherwise")
        values = dict(mapping(each, path))
        if values.keys() & {*BESIDE, "of"}:
            found.append(parse_edited_test(name, values, path))
            continue
        part, missing = values.pop("part", None), values.pop("allow_missing", False)
        if part is not None and not isinstance(part, str):
            raise InputError(f"{path}.part: a name was expected, not {shown(part)}")
        if not isinstance(missing, bool):
            raise InputError(
                f"{path}.allow_missing: true or false was expected, not {shown(missing)}"
            )
        for key in field_names(SplitSettings):
            if key in values and key not in EVALUATION_SPLIT_KEYS:
                raise InputError(f"{path}.{key}: is that of the dataset itself: leave it out here")
        found.append(
            EvaluationSet(
                name=name, dataset=parse_dataset(values, path), part=part, allow_missing=missing
            )
        )
    return tuple(found)


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
