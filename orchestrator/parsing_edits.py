"""Edited images in a study: `{editor: sdedit, per_image: 2}`, to train or to test on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.local_files import by_content
from orchestrator.settings import EditedSet, EditedTest, EditSettings, PromptsFile
from orchestrator.validating import config_of, field_names, mapping, named, shown, validated
from tasks import plugins
from tasks.editing import About
from tasks.edits import masks
from tasks.errors import InputError, nearest
from tasks.reading import file_sha256
from tasks.specs import Plugin

BESIDE = ("editor", "prompts", "mask")
EDIT_KEYS = (*BESIDE, *field_names(EditSettings))


def parse_edits(value: Mapping[str, Any], path: str, more: tuple[str, ...] = ()) -> EditedSet:
    """The recipe of edited images.

    `editor: {provider: openai}` is the editor `openai`.

    Args:
        more: keys that may stand beside it, and are read elsewhere.

    Raises InputError for settings that cannot go together, with their path.
    """
    for key in value:
        if key not in (*EDIT_KEYS, *more):
            near = nearest(key, (*EDIT_KEYS, *more))
            raise InputError(f"{path}.{key}: unknown key {key!r}; {near}")
    if "editor" not in value:
        raise InputError(f"{path}.editor: is missing; see augury list editors")
    editor = _editor(value["editor"], f"{path}.editor")
    about: About = plugins.module("editors", editor.name).ABOUT
    rest = {key: item for key, item in value.items() if key not in (*BESIDE, *more)}
    return EditedSet(
        editor=editor,
        settings=validated(EditSettings, rest, path),
        prompts=_prompts(value.get("prompts"), about, editor.name, f"{path}.prompts"),
        masks=_masks(value.get("mask"), about, editor.name, f"{path}.mask"),
    )


def parse_edited_test(name: str, value: Mapping[str, Any], path: str) -> EditedTest:
    """`{editor: ..., of: test}`: the test images, edited.

    Raises InputError for images of any other split.
    """
    if value.get("of", "test") != "test":
        raise InputError(f"{path}.of: test was expected, not {shown(value['of'])}")
    return EditedTest(name=name, edits=parse_edits(value, path, more=("of",)))


def _editor(value: Any, path: str) -> Plugin:
    values = dict(mapping(value, path))
    if "provider" in values:
        if "name" in values:
            raise InputError(f"{path}: name and provider say the same in two ways: keep one")
        values["name"] = values.pop("provider")
    name = named("editors", values, path)
    return by_content("editors", config_of("editors", name, values, path, None), path)


def _prompts(value: Any, about: About, editor: str, path: str) -> PromptsFile | None:
    if value is None and about.prompt:
        raise InputError(f"{path}: {editor} needs prompts: give a file, one prompt a line")
    if value is None:
        return None
    if not about.prompt:
        raise InputError(f"{path}: {editor} draws the class and reads no prompt: leave it out")
    if not isinstance(value, str):
        raise InputError(f"{path}: the path of a file was expected, not {shown(value)}")
    try:
        return PromptsFile(path=value, sha256=file_sha256(Path(value)))
    except OSError as error:
        raise InputError(f"{path}: {value!r} cannot be read ({error.strerror})") from error


def _masks(value: Any, about: About, editor: str, path: str) -> Any:
    if value is None:
        if about.mask == "needed":
            raise InputError(f"{path}: {editor} needs a mask, such as saliency, or a folder")
        return None
    if about.mask == "refused":
        raise InputError(f"{path}: {editor} takes none: leave it out, or choose another editor")
    if isinstance(value, str):
        try:
            return masks.named(value)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    values = mapping(value, path)
    if values.get("name") not in masks.NAMES:
        raise InputError(
            f"{path}.name: {shown(values.get('name'))} is no mask; "
            f"{nearest(str(values.get('name')), masks.NAMES)}"
        )
    return validated(masks.KINDS[values["name"]], dict(values), path)
