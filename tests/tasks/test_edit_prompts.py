"""Prompts from files: which images get which, and what is refused."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.edits.prompts import Prompt, Prompts, chosen, read_prompts
from tasks.errors import InputError

CLASSES = ("black_cat", "dog")


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def texts(prompts: Prompts, class_name: str) -> list[str]:
    return [prompt.text for prompt in prompts.of(class_name)]


def test_a_text_file_holds_one_prompt_a_line(tmp_path: Path) -> None:
    lines = "\ufeff# of weather\n\n  a {class} in snow \r\n\t\na photo at night\n"
    found = read_prompts(written(tmp_path, "p.txt", lines), CLASSES)
    assert texts(found, "black_cat") == ["a black cat in snow", "a photo at night"]
    assert texts(found, "dog") == ["a dog in snow", "a photo at night"]
    snow, night = found.of("dog")
    assert len(snow.id) == 11
    assert snow.id != night.id
    assert [prompt.weight for prompt in found.of("dog")] == [None, None]
    assert [prompt.id for prompt in found.of("black_cat")] == [snow.id, night.id]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", '["a {class} in snow", "at night"]'),
        ("p.yaml", "- a {class} in snow\n- at night\n"),
        ("p.yml", '["a {class} in snow", at night]'),
        ("p.YAML", "black_cat: ['a {class} in snow', at night]\ndog: [a dog in snow, at night]\n"),
        ("p.txt", "a {class} in snow\nat night"),
    ],
)
def test_all_files_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    found = read_prompts(written(tmp_path, name, text), CLASSES)
    assert texts(found, "black_cat") == ["a black cat in snow", "at night"]
    assert texts(found, "dog") == ["a dog in snow", "at night"]


def test_a_class_has_one_prompt_or_several_or_weights(tmp_path: Path) -> None:
    text = "black_cat: on a mat\ndog: {in snow: 3, at night: 0.5}\n0: [a, b]\nno: c\n"
    found = read_prompts(written(tmp_path, "p.yaml", text), (*CLASSES, "0", "no"))
    assert texts(found, "black_cat") == ["on a mat"]
    assert [(each.text, each.weight) for each in found.of("dog")] == [
        ("in snow", 3.0),
        ("at night", 0.5),
    ]
    assert texts(found, "0") == ["a", "b"]
    assert texts(found, "no") == ["c"]


def test_weights_for_all_classes(tmp_path: Path) -> None:
    found = read_prompts(written(tmp_path, "p.json", '{"a {class}": 1, "night": 2e0}'), CLASSES)
    assert [(each.text, each.weight) for each in found.of("dog")] == [("a dog", 1), ("night", 2)]


def test_images_without_classes(tmp_path: Path) -> None:
    found = read_prompts(written(tmp_path, "p.txt", "in snow"), ())
    assert texts(found, "") == ["in snow"]
    with pytest.raises(InputError, match=r"line 1: \{class\} in 'a \{class\}', and the images lie"):
        read_prompts(written(tmp_path, "p.txt", "a {class}"), ())
    with pytest.raises(InputError, match="unknown class 'dog'; there are none"):
        read_prompts(written(tmp_path, "p.yaml", "dog: in snow"), ())


def test_what_prompts_are_is_told_by_content(tmp_path: Path) -> None:
    one = read_prompts(written(tmp_path, "p.txt", "a {class}\nnight\n"), CLASSES)
    other = read_prompts(written(tmp_path, "q.json", '["night", "a {class}"]'), CLASSES)
    assert one.digest == other.digest
    assert {each.id for each in one.of("dog")} == {each.id for each in other.of("dog")}
    more = read_prompts(written(tmp_path, "p.txt", "a {class}\nnight\nday"), CLASSES)
    assert more.digest != one.digest
    assert more.of("dog")[:2] == one.of("dog")
    weighted = read_prompts(written(tmp_path, "p.json", '{"a {class}": 1, "night": 1}'), CLASSES)
    heavier = read_prompts(written(tmp_path, "p.json", '{"a {class}": 1, "night": 2}'), CLASSES)
    assert len({one.digest, weighted.digest, heavier.digest}) == 3


WRONG = [
    ("p.txt", "", r"p.txt': holds no prompt; write one a line"),
    ("p.txt", "# only\n\n", r"p.txt': holds no prompt"),
    (
        "p.txt",
        "a\n\na {klass} b",
        r"p.txt', line 3: '\{klass\}' in 'a \{klass\} b': only \{class\}",
    ),
    ("p.txt", "a {class}} b", r"line 1: '\}' in"),
    ("p.txt", "a {", r"line 1: '\{' in"),
    ("p.txt", "a {{class}}", r"line 1: '\{\}' in"),
    ("p.txt", "a\nb\na\n", r"line 3: 'a' is the prompt of '.*p.txt', line 1 again: keep one"),
    ("p.txt", "a dog\na {class}\n", r"line 2: 'a dog' is the prompt of '.*', line 1 again"),
    ("p.yaml", "", r"p.yaml': nothing is no prompt"),
    ("p.yaml", "[]", r"p.yaml', line 1: holds no prompt"),
    ("p.yaml", "{}", r"line 1: holds no prompt"),
    ("p.yaml", "dog: []\nblack_cat: a", r"line 1: holds no prompt"),
    ("p.yaml", "- a\n- 5\n", r"p.yaml', line 2: 5 is no prompt: write text, in quotes"),
    ("p.yaml", "- a\n- [b]\n", r"line 2: a list is no prompt"),
    ("p.yaml", "- a\n- true\n", r"line 2: true is no prompt"),
    ("p.yaml", "- a\n-\n", r"line 2: nothing is no prompt"),
    ("p.yaml", "- a\n- ' '\n", r"line 2: an empty prompt; write what to edit"),
    ("p.yaml", "dog: 5\nblack_cat: a\n", r"line 1: 5 is no prompt: write text, a list of"),
    ("p.yaml", "dog: 5\n", r"no prompt for class 'black_cat'|line 1: 5 is no prompt"),
    ("p.yaml", "dog: a\n", r"p.yaml', line 1: no prompt for class 'black_cat': write one for each"),
    ("p.yaml", "dog: a\nblack cat: b\n", r"line 2: prompts for unknown class 'black cat'; did you"),
    ("p.yaml", "dog: a\ndog: b\n", r"line 2: the key 'dog' stands twice: keep one"),
    ("p.yaml", "dog: {a: 0}\nblack_cat: b", r"line 1: the weight of 'a' is 0; a number above 0"),
    ("p.yaml", "dog: {a: -1}\nblack_cat: b", r"the weight of 'a' is -1;"),
    ("p.yaml", "dog: {a: .inf}\nblack_cat: b", r"the weight of 'a' is inf;"),
    ("p.yaml", "dog: {a: .nan}\nblack_cat: b", r"the weight of 'a' is nan;"),
    ("p.yaml", "dog: {a: '2'}\nblack_cat: b", r"the weight of 'a' is '2';"),
    ("p.yaml", "dog: {a: true}\nblack_cat: b", r"the weight of 'a' is true;"),
    ("p.yaml", "- !!python/name:os.system x\n", r"line 1: the tag .*python/name.* is not taken"),
    ("p.yaml", "- a\n\tb: c\n- [", r"p.yaml', line \d: not YAML"),
    ("p.yaml", "- {class} in snow", r"line 1: not YAML: .*; put text with braces in quotes"),
    ("p.yaml", "- {class}", r"line 1: a mapping is no prompt: write text, in quotes"),
    ("p.yaml", "&a [*a]", r"p.yaml': is nested too deeply|line 1: a list is no prompt"),
    ("p.json", '["a", 5]', r"p.json', at \[1\]: 5 is no prompt: write text"),
    (
        "p.json",
        '{"dog": ["a", null], "black_cat": "b"}',
        r"at \['dog'\]\[1\]: nothing is no prompt",
    ),
    ("p.json", '{"dog": "a", "dog": "b"}', r"p.json': the key 'dog' stands twice: keep one"),
    (
        "p.json",
        '{"dog": {"a": NaN}, "black_cat": "b"}',
        r"at \['dog'\]\['a'\]: the weight of 'a' is",
    ),
    ("p.json", '["a",\n]', r"p.json', line \d: not JSON: "),
    ("p.yaml", "[" * 5_000, r"p.yaml': is nested too deeply"),
    (
        "p.yaml",
        "- &a0 [x]\n" + "".join(f"- &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(40)),
        r"line 1: a list is no prompt",
    ),
    ("p.yaml", "--- a\n--- b\n", r"line 2: not YAML: but found another document"),
    ("p.json", "[" * 100_000, r"p.json': is nested too deeply"),
    ("p.json", "", r"p.json', line 1: not JSON"),
]


@pytest.mark.parametrize(("name", "text", "message"), WRONG)
def test_wrong_files_are_refused_in_one_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_prompts(written(tmp_path, name, text), CLASSES)
    assert "\n" not in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file; give a text file of one prompt"):
        read_prompts(tmp_path / "none.txt", CLASSES)
    with pytest.raises(InputError, match=r"cannot be read .*directory"):
        read_prompts(tmp_path, CLASSES)
    (tmp_path / "p.txt").write_bytes(b"good\nch\xe2teau\n")
    with pytest.raises(InputError, match=r"line 2: is not UTF-8: save a text file"):
        read_prompts(tmp_path / "p.txt", CLASSES)


def test_without_weights_every_prompt_is_made() -> None:
    prompts = [Prompt(id="pa", text="a"), Prompt(id="pb", text="b")]
    pairs = [(prompt.id, replica) for prompt, replica in chosen(prompts, "00", 2, 0)]
    assert pairs == [("pa", 0), ("pa", 1), ("pb", 0), ("pb", 1)]
    with pytest.raises(ValueError, match="per_image=0"):
        chosen(prompts, "00", 0, 0)


WEIGHTED = [
    Prompt(id="pa", text="a", weight=1.0),
    Prompt(id="pb", text="b", weight=3.0),
    Prompt(id="pc", text="c", weight=1e-12),
]


def test_weights_decide_how_often_a_prompt_is_drawn() -> None:
    drawn = Counter(
        prompt.id for image in range(2000) for prompt, _ in chosen(WEIGHTED, f"{image}", 2, 0)
    )
    assert drawn["pc"] == 0
    # 4,000 draws: three standard deviations are 82.
    assert abs(drawn["pa"] - 1000) < 82


@given(
    source=st.text("0123456789abcdef", min_size=1, max_size=8),
    per_image=st.integers(1, 9),
    seed=st.integers(0, 99),
    order=st.permutations(WEIGHTED),
)
def test_draws_are_the_same_in_any_order_and_go_on(
    source: str, per_image: int, seed: int, order: list[Prompt]
) -> None:
    found = chosen(WEIGHTED, source, per_image, seed)
    assert found == chosen(order, source, per_image, seed)
    assert len(set(found)) == len(found) == per_image
    assert chosen(WEIGHTED, source, per_image + 1, seed)[:per_image] == found
    for prompt in WEIGHTED:
        replicas = [replica for each, replica in found if each == prompt]
        assert replicas == list(range(len(replicas)))


def test_draws_depend_on_image_and_seed() -> None:
    even = [Prompt(id=f"p{number}", text=f"{number}", weight=1.0) for number in range(50)]
    drawn = {
        json.dumps([prompt.id for prompt, _ in chosen(even, source, 8, seed)])
        for source in ("aa", "ab")
        for seed in (0, 1)
    }
    assert len(drawn) == 4


def test_an_id_is_the_hash_of_the_prompt_as_written(tmp_path: Path) -> None:
    """Output files are called by it, so it may never change."""
    found = read_prompts(written(tmp_path, "p.txt", "a {class} in snow"), CLASSES)
    assert found.of("dog")[0].id == found.of("black_cat")[0].id == "p8e58d43908"
