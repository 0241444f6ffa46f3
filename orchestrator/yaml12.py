"""Reads YAML by its 1.2 core schema: `1e-3` is a number, `on` a string, keys are unique."""

import re
from typing import Any

import yaml

from tasks.errors import InputError


class _Loader(yaml.SafeLoader):
    """SafeLoader with the resolvers of YAML 1.2 instead of those of 1.1."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that stands twice; what `<<` brings in may stand again, and yields."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise InputError(f"line {line}: the key {key.value!r} stands twice: keep one")
                seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            line = key_node.start_mark.line + 1
            raise InputError(
                f"line {line}: the key {_text(key_node)} is no text: write it in quotes"
            )
        values[key] = loader.construct_object(value_node, deep=True)
    return values


def _text(node: yaml.Node) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else "of several values"


def _refuse(loader: _Loader, node: yaml.Node) -> None:
    # Dates, sets and bytes too: a study has text, numbers, true, false, lists and mappings.
    line = node.start_mark.line + 1
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    raise InputError(f"line {line}: the tag {tag} is not taken: write the value without a tag")


KNOWN_TAGS = ("null", "bool", "float", "str", "seq")
_Loader.yaml_constructors = {
    tag: yaml.SafeLoader.yaml_constructors[tag]
    for tag in (f"tag:yaml.org,2002:{name}" for name in KNOWN_TAGS)
}
_Loader.add_constructor(None, _refuse)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse(text: str) -> Any:
    """Parse one YAML document into dictionaries, lists, strings, numbers, booleans and None.

    Raises InputError, with the line, for broken YAML, repeated keys and keys that are no text.
    """
    try:
        # A SafeLoader: no tag of the document can name a Python object.
        return yaml.load(text, Loader=_Loader)
    except InputError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(f"{where}not YAML: {_plain(error)}") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise InputError(f"line {line}: not YAML: a character that cannot be printed") from error
    except RecursionError as error:
        raise InputError("not YAML that can be read: it is nested too deeply") from error
    except (KeyError, ValueError) as error:
        # As `!!bool maybe`, or a number of more digits than Python reads.
        raise InputError(f"not YAML: a value does not fit its tag ({error})") from error


def _plain(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's words without those that only its authors know."""
    said = str(error.problem or error.context)
    for theirs, ours in (
        ("but got '<stream end>'", "but the text ends here"),
        ("<document start>", "the start of the text"),
        ("found character '\\t' that cannot start any token", "a tab: indent with spaces"),
        ("but found another document", "a second document begins here: a file holds one"),
        ("expected <block end>, but found", "the indentation does not fit, before"),
        ("found unconstructable recursive node", "an anchor that holds itself"),
        ("mapping values are not allowed here", "a second ':' here: quote the text or indent it"),
    ):
        said = said.replace(theirs, ours)
    return said
