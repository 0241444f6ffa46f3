"""Reads what users list in JSON and YAML files, so that errors can say the line or the key.

YAML by its 1.2 core schema, as in a study, but keys are text however they are written: a class may
be called `0`, `no` or `on`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import InputError

SUFFIXES = (".json", ".yaml", ".yml")

NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)")
WORDS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
"""What else a plain scalar can mean than text or a number."""
TOO_DEEP = "is nested too deeply"


@dataclass(frozen=True, kw_only=True)
class Value:
    """Something that stands in a document."""

    where: str
    """The file with the line (YAML) or the way to it (JSON), for messages."""
    content: "str | float | bool | tuple[Value, ...] | dict[str, Value] | None"
    """Whole numbers are floats too: nothing here counts."""

    def text(self, what: str) -> str:
        """The text that this is; raises InputError naming `what` was wanted for anything else."""
        if not isinstance(self.content, str):
            raise InputError(f"{self.where}: {self.shown} is no {what}: write text, in quotes")
        return self.content

    @property
    def shown(self) -> str:
        """What an error calls it."""
        match self.content:
            case None:
                return "nothing"
            case bool():
                return str(self.content).lower()
            case float():
                return f"{self.content:g}"
            case str():
                return repr(self.content if len(self.content) < 80 else f"{self.content[:77]}...")
            case tuple():
                return "a list"
            case _:
                return "a mapping"


def read_text(path: Path, what: str) -> str:
    """The text of a file.

    Raises InputError naming the file, and `what` it should be, where there is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{str(path)!r}, line {line}: is not UTF-8: save {what} as UTF-8 text"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{str(path)!r}: there is no such file; give {what}") from error
    except (OSError, ValueError) as error:
        # A folder, no permission, a name too long or with a null byte.
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{str(path)!r}: cannot be read ({why}); give {what}") from error


def read_document(path: Path, what: str) -> Value:
    """Parse a `.json` file, or YAML under any other suffix; nothing is executed.

    Raises InputError naming the file, the place and what would do.
    """
    text = read_text(path, what)
    try:
        if path.suffix.lower() == ".json":
            return _of_json(
                json.loads(text, object_pairs_hook=_Pairs, parse_int=float), f"{str(path)!r}", ""
            )
        return _of_yaml(yaml.compose(text, Loader=yaml.SafeLoader), f"{str(path)!r}", {})
    except json.JSONDecodeError as error:
        raise InputError(f"{str(path)!r}, line {error.lineno}: not JSON: {error.msg}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        hint = "; put text with braces in quotes" if "{" in text else ""
        raise InputError(
            f"{str(path)!r}{line}: not YAML: {error.problem or error.context}{hint}"
        ) from error
    except yaml.reader.ReaderError as error:
        line = f", line {text[: error.position].count(chr(10)) + 1}"
        raise InputError(
            f"{str(path)!r}{line}: not YAML: a character that cannot be printed"
        ) from error
    except RecursionError as error:
        raise InputError(f"{str(path)!r}: {TOO_DEEP}") from error


class _Pairs(list[tuple[str, Any]]):
    """A JSON object; a dictionary would hide a key that stands twice."""


def _of_json(value: Any, file: str, way: str) -> Value:
    where = f"{file}, at {way}" if way else file
    if isinstance(value, _Pairs):
        members = ((key, item, f"{where}: the key {key!r}") for key, item in value)
        unique = _unique((key, item, said) for key, item, said in members)
        found = {key: _of_json(item, file, f"{way}[{key!r}]") for key, item in unique}
        return Value(where=where, content=found)
    if isinstance(value, list):
        items = (_of_json(item, file, f"{way}[{index}]") for index, item in enumerate(value))
        return Value(where=where, content=tuple(items))
    return Value(where=where, content=value)


def _of_yaml(node: yaml.Node | None, file: str, known: dict[int, Value]) -> Value:
    """`known` holds what was made of each node, as aliases can name one any number of times."""
    if node is None:
        return Value(where=file, content=None)
    if id(node) not in known:
        where = f"{file}, line {node.start_mark.line + 1}"
        known[id(node)] = Value(where=where, content=_content(node, file, where, known))
    return known[id(node)]


def _content(node: yaml.Node, file: str, where: str, known: dict[int, Value]) -> Any:
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return tuple(_of_yaml(item, file, known) for item in node.value)
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        members = (
            (
                _key(key, file),
                item,
                f"{file}, line {key.start_mark.line + 1}: the key {key.value!r}",
            )
            for key, item in node.value
        )
        return {key: _of_yaml(item, file, known) for key, item in _unique(members)}
    # The tag of a plain scalar is what YAML 1.1 would make of it, or what an author wrote there.
    if isinstance(node, yaml.ScalarNode) and node.tag in PLAIN_TAGS:
        return node.value if node.style else _scalar(node.value)
    raise InputError(f"{where}: the tag {node.tag} is not taken: write the value without a tag")


PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "bool", "int", "float", "null", "timestamp", "value", "merge")
)


def _key(node: yaml.Node, file: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise InputError(f"{file}, line {node.start_mark.line + 1}: a key of several values")
    return str(node.value)


def _scalar(text: str) -> str | float | bool | None:
    if NUMBER.fullmatch(text):
        return _number(text)
    return WORDS.get(text, text)


def _number(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf"))


def _unique(members: Iterator[tuple[str, Any, str]]) -> Iterator[tuple[str, Any]]:
    """Refuse a key that stands twice."""
    seen: set[str] = set()
    for key, item, said in members:
        if key in seen:
            raise InputError(f"{said} stands twice: keep one")
        seen.add(key)
        yield key, item
