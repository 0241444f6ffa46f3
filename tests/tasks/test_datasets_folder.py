"""Class folders, and flat folders with labels: what is found, what is divided, what is refused."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.datasets import image_folder
from tasks.datasets._files import images_below
from tasks.errors import InputError
from tasks.packs import Example
from tasks.reading import DataMissing, Reader
from tasks.specs import canonical
from tests.tasks.test_datasets import (
    identified,
    pixels_of,
    save,
    small_folder,
    sources_of,
    truncate,
)


def folder(root: Path, **settings: Any) -> Reader:
    return image_folder.build(image_folder.Config(root=str(root), **settings))


def test_images_are_found_at_any_depth_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/deep/er/2.PNG", "b/3.jpg", "b/sub.dir/4.bmp"):
        save(tmp_path / name, pixels_of(1, 4, 4))
    (tmp_path / "a" / "notes.txt").write_text("text")
    (tmp_path / "README.png").write_text("at the top")
    for hidden in (
        "a/.5.png",
        "a/._1.png",
        "a/.ipynb_checkpoints/1-checkpoint.png",
        ".git/6.png",
    ):
        save(tmp_path / hidden, pixels_of(2, 4, 4))
    reader = folder(tmp_path)
    assert identified(reader).classes == ("a", "b")
    assert sources_of(reader, "all") == ["a/1.png", "a/deep/er/2.PNG", "b/3.jpg", "b/sub.dir/4.bmp"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    for name in ("elsewhere/deep/1.png", "in/b/2.png", "in/c/4.png", "in/a.png"):
        save(tmp_path / name, pixels_of(1, 4, 4))
    save(tmp_path / "elsewhere" / ".3.png", pixels_of(1, 4, 4))
    for link, target in {
        "in/a": "../elsewhere",
        "in/.hidden": "../elsewhere",
        "in/alias": "b",
        "in/b/back": "..",
        "in/b/itself": "itself",
        "in/b/nothing.png": "nowhere.png",
        "in/c/b": "../b",
        "in/b/c": "../c",
    }.items():
        (tmp_path / link).symlink_to(target)
    found = images_below(tmp_path / "in")
    assert found == sorted(found)
    assert [path.relative_to(tmp_path / "in").as_posix() for path in found] == [
        *("a/deep/1.png", "a.png", "alias/2.png", "alias/c/4.png"),
        *("b/2.png", "b/c/4.png", "c/4.png", "c/b/2.png"),
    ]


def test_a_root_that_is_hidden_itself_is_as_good(tmp_path: Path) -> None:
    small_folder(tmp_path / ".data" / "images")
    assert len(sources_of(folder(tmp_path / ".data" / "images"), "all")) == 20


def test_the_fixed_test_part_is_stratified_and_follows_the_content(tmp_path: Path) -> None:
    small_folder(tmp_path)
    reader = folder(tmp_path)
    info = identified(reader)
    assert info.splits["test"].counts == (2, 2)
    assert info.splits["train"].counts == (8, 8)
    assert info.splits["all"].counts == (10, 10)
    chosen = sources_of(reader, "test")
    assert sorted(sources_of(reader, "train") + chosen) == sorted(sources_of(reader, "all"))
    # Another image moves at most one of those chosen: it takes a place or it does not.
    save(tmp_path / "a" / "new.png", pixels_of(99, 4, 4))
    after = set(sources_of(folder(tmp_path), "test"))
    assert len(set(chosen) - after) <= 1
    assert identified(folder(tmp_path, test_fraction=0.5)).splits["test"].counts == (5, 5)


def test_train_and_test_folders_are_splits(tmp_path: Path) -> None:
    small_folder(tmp_path / "train")
    save(tmp_path / "test" / "a" / "1.png", pixels_of(1, 4, 4))
    save(tmp_path / "test" / "b" / "2.png", pixels_of(2, 4, 4))
    inside = identified(folder(tmp_path))
    assert inside.classes == ("a", "b")
    assert inside.splits["test"].counts == (1, 1)
    assert inside.splits["train"].counts == (10, 10)
    beside = identified(folder(tmp_path / "train", test=str(tmp_path / "test")))
    assert beside == inside


def test_settings_of_an_image_folder_are_in_no_key() -> None:
    """Its digests say all; how a split was made is no part of it."""
    config = image_folder.Config(root="a", skip_bad=True, test_fraction=0.5, test="x", val="y")
    assert canonical(config) == {}


def test_classes_of_test_and_training_must_be_the_same(tmp_path: Path) -> None:
    small_folder(tmp_path / "train")
    save(tmp_path / "test" / "a" / "1.png", pixels_of(1, 4, 4))
    with pytest.raises(InputError, match=r"/test' has no folder for class 'b'"):
        identified(folder(tmp_path))
    save(tmp_path / "test" / "b" / "1.png", pixels_of(1, 4, 4))
    save(tmp_path / "test" / "c" / "1.png", pixels_of(1, 4, 4))
    with pytest.raises(InputError, match=r"class 'c' of .*/test' is not in .*/train', .* a, b"):
        identified(folder(tmp_path))


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    small_folder(tmp_path)
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match=r"/c' holds no image: add some .* or remove the folder"):
        identified(folder(tmp_path))


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"there is no folder .*gone"):
        identified(folder(tmp_path / "gone"))
    small_folder(tmp_path)
    with pytest.raises(DataMissing, match="there is no test folder 'gone'"):
        identified(folder(tmp_path, test="gone"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no class folders"):
        identified(folder(tmp_path / "empty"))


def test_a_bad_image_is_named(tmp_path: Path) -> None:
    small_folder(tmp_path)
    truncate(tmp_path / "b" / "3.png")
    with pytest.raises(InputError, match=r"/b/3\.png: not a readable image") as error:
        list(folder(tmp_path).read("all"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("empty.png", b"", "an empty file"),
        ("text.png", b"no image at all", "an unknown format"),
        ("half.bmp", None, "image file is truncated"),
    ],
)
def test_a_bad_image_comes_with_what_to_do(
    name: str, data: bytes | None, why: str, tmp_path: Path
) -> None:
    small_folder(tmp_path)
    path = tmp_path / "b" / name
    save(path, pixels_of(1, 16, 16))
    path.write_bytes(path.read_bytes()[:200] if data is None else data)
    with pytest.raises(InputError) as error:
        list(folder(tmp_path).read("all"))
    said = str(error.value)
    assert said.startswith(f"{path}: not a readable image ({why}")
    assert said.endswith("): mend or remove it, or say skip_bad: true")
    assert "object at" not in said
    assert "0x" not in said.removeprefix(str(path))


def test_bad_images_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    small_folder(tmp_path / "good")
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    truncate(tmp_path / "bad" / "b" / "3.png")
    (tmp_path / "good" / "b" / "3.png").unlink()
    reader = folder(tmp_path / "bad", skip_bad=True)
    info, expected = identified(reader), identified(folder(tmp_path / "good"))
    assert info.splits["all"].skipped == ("b/3.png",)
    for name, split in info.splits.items():
        assert (split.digest, split.counts) == (
            expected.splits[name].digest,
            expected.splits[name].counts,
        )
        assert sources_of(reader, name) == sources_of(folder(tmp_path / "good"), name)


def test_examples_hash_the_file_and_not_the_pixels(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "1.png", pixels_of(1, 5, 7))
    (example,) = folder(tmp_path).read("all")
    assert isinstance(example, Example)
    assert example.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# Validation, and folders without classes


def divided(root: Path) -> Path:
    """Class folders in `train` and four flat images in `test`, with labels beside."""
    small_folder(root / "train")
    for index in range(4):
        save(root / "test" / f"{index}.png", pixels_of(100 + index, 4, 4))
    write_labels(root, {f"{index}.png": "ab"[index % 2] for index in range(4)})
    return root


def write_labels(folder: Path, labels: dict[str, Any]) -> None:
    (folder / "labels.json").write_text(json.dumps(labels))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_images_are_a_split_of_their_own(name: str, tmp_path: Path) -> None:
    small_folder(tmp_path / "train")
    save(tmp_path / name / "a" / "1.png", pixels_of(1, 4, 4))
    save(tmp_path / name / "b" / "2.png", pixels_of(2, 4, 4))
    info = identified(folder(tmp_path))
    assert info.classes == ("a", "b")
    assert info.splits["val"].counts == (1, 1)
    # No test folder: a part of the training images, and none of validation.
    assert info.undivided
    assert (info.splits["train"].counts, info.splits["test"].counts) == ((8, 8), (2, 2))
    assert sources_of(folder(tmp_path), "val") == ["a/1.png", "b/2.png"]
    beside = folder(tmp_path / "train", val=str(tmp_path / name))
    assert identified(beside) == info


def test_two_folders_of_validation_images_are_one_too_many(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        small_folder(tmp_path / name)
    with pytest.raises(InputError, match=r"'val' and 'valid' in .* are both validation"):
        identified(folder(tmp_path))


def test_only_what_came_undivided_says_so(tmp_path: Path) -> None:
    small_folder(tmp_path / "train")
    assert identified(folder(tmp_path / "train")).undivided
    small_folder(tmp_path / "test")
    info = identified(folder(tmp_path))
    assert not info.undivided
    assert info.splits["all"] == info.splits["train"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_flat_test_folder_has_its_labels_beside_or_inside(inside: bool, tmp_path: Path) -> None:
    root = divided(tmp_path)
    if inside:
        (root / "labels.json").rename(root / "test" / "labels.json")
    info = identified(folder(root))
    assert info.splits["test"].counts == (2, 2)
    found = list(folder(root).read("test"))
    assert [(e.source, e.label) for e in found] == [
        ("0.png", 0),
        ("1.png", 1),
        ("2.png", 0),
        ("3.png", 1),
    ]


def test_a_flat_folder_without_labels_is_refused(tmp_path: Path) -> None:
    root = divided(tmp_path)
    (root / "labels.json").unlink()
    with pytest.raises(InputError, match=r"/test' holds no class folders and no labels\.json"):
        identified(folder(root))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"0.png": "a"}, r"has no label for: '1\.png', '2\.png', '3\.png'$"),
        ({}, r"has no label for: '0\.png', '1\.png', '2\.png' and 1 more$"),
        ({f"{n}.png": "a" for n in range(6)}, r"no image in .*/test': '4\.png', '5\.png'$"),
        ({"0.png": "cat"}, r"none of the classes a, b: 'cat'$"),
        ({"../train/a/0.png": "a"}, r"'\.\./train/a/0\.png' leads out of .*/test'"),
        ({"/0.png": "a"}, r"'/0\.png' leads out of"),
        ({"0.png": "a", "./0.png": "a"}, r"names '\./0\.png' twice"),
        ({"0.png": 3}, r"one mapping of relative path to class name would do"),
    ],
)
def test_labels_and_images_must_be_of_each_other(
    labels: dict[str, Any], message: str, tmp_path: Path
) -> None:
    root = divided(tmp_path)
    write_labels(root, labels)
    with pytest.raises(InputError, match=message) as error:
        identified(folder(root))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"0.png": "a", "0.png": "b"}', "names '0.png' twice"),
        ("{", "is no JSON"),
        ("[1]", "one mapping of relative path to class name would do"),
    ],
)
def test_labels_must_be_a_plain_mapping(text: str, message: str, tmp_path: Path) -> None:
    root = divided(tmp_path)
    (root / "labels.json").write_text(text)
    with pytest.raises(InputError, match=message):
        identified(folder(root))


def test_a_file_called_like_a_split_is_no_split(tmp_path: Path) -> None:
    small_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "train")
    (tmp_path / "test").write_text("no folder")
    assert identified(folder(tmp_path)).classes == ("b", "train")
