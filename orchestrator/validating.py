"""What a user wrote against what may be written: typed sections, and one-line errors."""

import dataclasses
import functools
import json
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tasks import plugins
from tasks.errors import InputError, nearest
from tasks.specs import Plugin


def explain(error: ValidationError, path: str, values: Any, section: type) -> InputError:
    """Turn the first complaint of pydantic into one line with the path in the file.

    Args:
        values: what was checked against `section`.
    """
    first = error.errors(include_url=False)[0]
    kind, given, more = first["type"], first.get("input"), first.get("ctx", {})
    where = path
    for part in first["loc"]:
        if isinstance(part, str) and not isinstance(values, dict):
            continue  # not a key: which of several types pydantic tried
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
        values = _item(values, part)
    if kind == "unexpected_keyword_argument":
        *above, key = map(str, first["loc"])
        known = field_names(_section_at(section, above))
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


def _item(values: Any, part: str | int) -> Any:
    """What stands at a key or an index, if anything does."""
    if isinstance(values, dict):
        return values.get(part)
    inside = isinstance(values, list) and isinstance(part, int) and part < len(values)
    return values[part] if inside else None


def _section_at(section: type, parts: Iterable[str]) -> type:
    """The section that a way through the fields of another leads into."""
    for part in parts:
        hint = typing.get_type_hints(section).get(part)
        inner = [kind for kind in _types_in(hint) if dataclasses.is_dataclass(kind)]
        section = next((kind for kind in inner if isinstance(kind, type)), section)
    return section


def _types_in(hint: Any) -> Iterator[Any]:
    yield hint
    for argument in typing.get_args(hint):
        yield from _types_in(argument)


WORDS: Mapping[str, str] = {
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
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
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        raise explain(error, path, json.loads(text), kind) from error


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


def name_in(values: Mapping[str, Any], path: str, hint: str) -> str:
    """The name in `{name: ..., ...}`; `hint` says what would do."""
    if "name" not in values:
        raise InputError(f"{path}.name: is missing; {hint}")
    name = values["name"]
    if not isinstance(name, str):
        raise InputError(f"{path}.name: a name was expected, not {shown(name)}; {hint}")
    return name


def named(kind: str, values: Mapping[str, Any], path: str) -> str:
    """The name in `{name: ..., ...}`, which a file of `tasks/<kind>` must have."""
    name = name_in(values, path, nearest("", plugins.names(kind)))
    if name not in plugins.names(kind):
        raise InputError(
            f"{path}.name: unknown {kind.removesuffix('s')} {name!r}; "
            f"{nearest(name, plugins.names(kind))}"
        )
    return name


def config_of(
    kind: str, name: str, values: Mapping[str, Any], path: str, shared: type | None
) -> Plugin:
    """Check the settings beside the name of a plug-in.

    Args:
        shared: a section whose keys may stand here too, for the error about an unknown one.
    """
    config_type = plugins.module(kind, name).Config
    own = {key: value for key, value in values.items() if key != "name"}
    unknown = set(own) - set(field_names(config_type))
    if unknown:
        key = min(unknown)
        known = (*field_names(config_type), *(field_names(shared) if shared else ()))
        raise InputError(f"{path}.{key}: unknown key {key!r}; {nearest(key, known)}")
    return plugins.plugin(kind, name, validated(config_type, own, path))
