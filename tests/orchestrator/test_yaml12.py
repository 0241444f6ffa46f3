"""Studies are read as YAML 1.2 says, and what is no YAML is named with its line."""

import math
from typing import Any

import pytest

from orchestrator.yaml12 import parse
from tasks.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("+1e5", 1e5),
        (".5", 0.5),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("on", "on"),
        ("no", "no"),
        ("y", "y"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("TRUE", True),
        ("'true'", "true"),
        ("~", None),
        ("", None),
        ("!!str 5", "5"),
        ("-.INF", -math.inf),
        ("[1, 1.0, '1']", [1, 1.0, "1"]),
    ],
)
def test_values(text: str, value: Any) -> None:
    found = parse(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(parse(".nan"))


def test_words_of_yaml_1_1_are_keys_like_others() -> None:
    assert parse("on: 1\nno: 2") == {"on": 1, "no": 2}


def test_merge_yields_to_the_mapping_itself_and_to_earlier_ones() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {x: 4, <<: *a}"
    found = parse(text)
    assert found["c"] == {"x": 3, "y": 1, "z": 2}
    assert found["d"] == {"x": 4, "y": 1}
    assert found["a"] == {"x": 1, "y": 1}


def test_a_mapping_may_be_merged_before_it_is_read() -> None:
    assert parse("k: &a {<<: {z: 1}, z: 2}\n<<: *a") == {"z": 2, "k": {"z": 2}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands twice: keep one"),
        ("a: 1\n'a': 3", "line 2: the key 'a' stands twice: keep one"),
        ("x:\n  - {b: 1, b: 1}", "line 2: the key 'b' stands twice: keep one"),
        ("1: x", "line 1: the key 1 is no text: write it in quotes"),
        ("a: x\ntrue: y", "line 2: the key true is no text: write it in quotes"),
        ("~: y", "line 1: the key ~ is no text: write it in quotes"),
        ("? [a, b]\n: y", "line 1: the key of several values is no text: write it in quotes"),
        ("a: [1, 2", "line 1, column 9: not YAML: expected ',' or ']', but the text ends here"),
        ("a: b: c", "line 1, column 5: not YAML: a second ':' here: quote the text or indent it"),
        ("a:\n\tb: 1", "line 2, column 1: not YAML: a tab: indent with spaces"),
        ("a: *b", "line 1, column 4: not YAML: found undefined alias 'b'"),
        ("a: &a [*a]", "line 1, column 4: not YAML: an anchor that holds itself"),
        ("a: 1\n---\nb: 2", "line 2, column 1: not YAML: a second document begins here"),
        ("- a\nb: 1", "line 2, column 1: not YAML: the indentation does not fit, before '?'"),
        ("a: 1\nb: \x00", "line 2: not YAML: a character that cannot be printed"),
        ("a: !!int x", "not YAML: a value does not fit its tag"),
        ("a: !!bool maybe", "not YAML: a value does not fit its tag"),
        ("a: " + "9" * 5000, "not YAML: a value does not fit its tag"),
        ("[" * 3000, "not YAML that can be read: it is nested too deeply"),
    ],
)
def test_errors_say_where_and_what(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.getcwd []",
        "!!python/name:os.system",
        "!!binary aGk=",
        "!!timestamp 2024-01-01",
        "!!set {a}",
        "!!omap [a: 1]",
        "!own 3",
    ],
)
def test_tags_that_make_other_things_are_refused(tag: str) -> None:
    with pytest.raises(InputError, match=r"^line 1: the tag !\S+ is not taken: write the value"):
        parse(f"a: {tag}")
