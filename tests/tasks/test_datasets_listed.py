"""Datasets whose text files say what is where: CUB-200, Tiny ImageNet, CSV."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.datasets import csv, cub200, tiny_imagenet
from tasks.errors import InputError
from tasks.reading import DataMissing, Reader
from tasks.specs import canonical
from tests.tasks.test_datasets import (
    identified,
    pixels_of,
    save,
    small_csv,
    small_cub200,
    small_folder,
    small_tiny_imagenet,
    sources_of,
    truncate,
)


def replace_line(path: Path, number: int, line: str) -> None:
    """Put `line` in place of a line, counted from 1, or append it."""
    lines = path.read_text().splitlines()
    lines[number - 1 : number] = [line]
    path.write_text("\n".join(lines) + "\n")


# CUB-200-2011


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    small_cub200(tmp_path)
    return tmp_path / "CUB_200_2011"


def cub(root: Path, **settings: Any) -> Reader:
    return cub200.build(cub200.Config(root=str(root), **settings))


def test_birds_are_divided_as_published_and_all_in_colour(birds: Path) -> None:
    info = identified(cub(birds))
    assert info.classes == ("001.Bird_1", "002.Bird_2")
    assert info.splits["train"].counts == (3, 3)
    assert info.splits["test"].counts == (1, 1)
    found = list(cub(birds).read("train"))
    assert {example.pixels.shape for example in found} == {(20, 30, 3)}
    assert found[0].source == "001.Bird_1/0.jpg"
    assert np.ptp(found[0].pixels, axis=2).max() == 0
    assert identified(cub(birds.parent)) == info


def test_birds_are_cut_out_where_that_is_asked_for(birds: Path) -> None:
    whole, cut = list(cub(birds).read("train")), list(cub(birds, crop=True).read("train"))
    assert cut[1].pixels.shape == (12, 11, 3)
    assert np.array_equal(cut[1].pixels, whole[1].pixels[3:15, 2:13])
    assert [example.sha256 for example in cut] == [example.sha256 for example in whole]
    # So the setting must be part of the key.
    assert canonical(cub200.Config(root="x", crop=True)) == {"crop": True}


def test_a_box_at_the_edge_is_cut_and_one_outside_is_refused(birds: Path) -> None:
    replace_line(birds / "bounding_boxes.txt", 1, "1 25.0 15.0 50.0 50.0")
    assert next(iter(cub(birds, crop=True).read("train"))).pixels.shape == (5, 5, 3)
    replace_line(birds / "bounding_boxes.txt", 1, "1 30.0 0.0 5.0 5.0")
    with pytest.raises(InputError, match=r"0\.jpg: the bounding box .* outside its 30 × 20"):
        list(cub(birds, crop=True).read("train"))


def test_a_copy_with_some_of_the_images_is_those(birds: Path) -> None:
    (birds / "images" / "002.Bird_2" / "1.jpg").unlink()
    assert identified(cub(birds)).splits["train"].counts == (3, 2)
    shutil.rmtree(birds / "images" / "001.Bird_1")
    info = identified(cub(birds))
    assert info.classes == ("002.Bird_2",)
    assert {example.label for example in cub(birds).read("train")} == {0}
    shutil.rmtree(birds / "images")
    with pytest.raises(DataMissing, match="holds none of the listed images; expected images"):
        identified(cub(birds))


@pytest.mark.parametrize(
    ("name", "number", "line", "message"),
    [
        ("images.txt", 2, "2 ../../secret.jpg", r"images\.txt', row 2: '../../secret\.jpg' leads"),
        ("images.txt", 2, "2 /secret.jpg", r"images\.txt', row 2: '/secret\.jpg' leads out"),
        ("images.txt", 2, "2 001.Bird_1/0.jpg", "row 2: '001.Bird_1/0.jpg' is in row 1 already"),
        ("images.txt", 2, "1 001.Bird_1/1.jpg", "row 2: '1' is in row 1 already"),
        ("images.txt", 2, "2", "row 2: '2' has no second part"),
        ("images.txt", 9, "9 001.Bird_1/9.jpg", r"class_labels\.txt' has no row for image 9"),
        ("image_class_labels.txt", 3, "3 201", r"labels\.txt', row 3: '201'; 1 to 2 would do"),
        ("train_test_split.txt", 3, "3 2", r"split\.txt', row 3: '2'; 1 to 0 would do"),
        ("bounding_boxes.txt", 3, "3 1 2 3", "row 3: '1 2 3' is no left, top, width and height"),
        ("train_test_split.txt", 99, "", ""),
    ],
)
def test_what_is_wrong_with_the_lists_is_named(
    name: str, number: int, line: str, message: str, birds: Path
) -> None:
    if not message:  # an empty line is no row
        replace_line(birds / name, number, line)
        identified(cub(birds, crop=True))
        return
    replace_line(birds / name, number, line)
    with pytest.raises(InputError, match=f"^cub200: .*{message}") as error:
        identified(cub(birds, crop=True))
    assert "\n" not in str(error.value)


def test_a_species_without_training_images_is_named(birds: Path) -> None:
    for index in range(3):
        (birds / "images" / "002.Bird_2" / f"{index}.jpg").unlink()
    with pytest.raises(InputError, match=r"^cub200: class '002\.Bird_2' has no training image"):
        identified(cub(birds))


def test_lists_that_are_not_there_are_missing(birds: Path) -> None:
    (birds / "classes.txt").unlink()
    with pytest.raises(DataMissing, match=r"there is no .*classes\.txt'; expected images\.txt, "):
        identified(cub(birds))


def test_bad_birds_are_named_or_left_out(birds: Path) -> None:
    truncate(birds / "images" / "001.Bird_1" / "2.jpg")
    with pytest.raises(InputError, match=r"001\.Bird_1/2\.jpg: not a readable image"):
        list(cub(birds).read("train"))
    info = identified(cub(birds, skip_bad=True))
    assert info.splits["train"].skipped == ("001.Bird_1/2.jpg",)
    assert sum(info.splits["train"].counts) == len(sources_of(cub(birds, skip_bad=True), "train"))


# Tiny ImageNet


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    small_tiny_imagenet(tmp_path)
    return tmp_path / "tiny-imagenet-200"


def imagenet(root: Path, **settings: Any) -> Reader:
    return tiny_imagenet.build(tiny_imagenet.Config(root=str(root), **settings))


def test_classes_are_named_by_their_first_word_where_it_is_theirs_alone(tiny: Path) -> None:
    info = identified(imagenet(tiny))
    assert info.classes == ("crane (n03)", "crane (n01)", "goldfish")
    assert info.splits["train"].counts == (3, 3, 3)
    assert info.splits["test"].counts == (1, 1, 1)
    assert not info.undivided
    assert identified(imagenet(tiny.parent)) == info


def test_validation_images_are_the_test_split_and_grey_ones_get_colour(tiny: Path) -> None:
    assert sources_of(imagenet(tiny), "test") == ["val_0.JPEG", "val_1.JPEG", "val_2.JPEG"]
    shapes = {example.pixels.shape for example in imagenet(tiny).read("train")}
    assert shapes == {(64, 64, 3)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val_9.JPEG\tn01\t0\t0\t1\t1", r"row 2: there is no file .*val_9\.JPEG"),
        ("val_1.JPEG\tn99\t0\t0\t1\t1", "row 2: 'n99' is not in wnids.txt"),
        ("../val_1.JPEG\tn01\t0\t0\t1\t1", r"row 2: '\.\./val_1\.JPEG' leads out of"),
        ("val_0.JPEG\tn01\t0\t0\t1\t1", r"row 2: 'val_0\.JPEG' is in row 1 already"),
        ("val_1.JPEG", "row 2: 'val_1.JPEG' has no second part"),
    ],
)
def test_a_wrong_annotation_is_named(line: str, message: str, tiny: Path) -> None:
    replace_line(tiny / "val" / "val_annotations.txt", 2, line)
    with pytest.raises(InputError, match=rf"^tiny_imagenet: .*val_annotations\.txt', {message}"):
        identified(imagenet(tiny))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("n03", "row 2: 'n03' is there already"),
        ("..", r"row 2: '\.\.' leads out of"),
        ("n07", r"train/n07/images' holds no image"),
    ],
)
def test_a_wrong_wnid_is_named(line: str, message: str, tiny: Path) -> None:
    replace_line(tiny / "wnids.txt", 2, line)
    with pytest.raises(InputError, match=f"^tiny_imagenet: .*{message}"):
        identified(imagenet(tiny))


def test_lists_of_wnids_that_are_not_there_are_missing(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"wnids\.txt'; expected wnids\.txt, .*cs231n"):
        identified(imagenet(tmp_path))


# CSV


@pytest.fixture
def table(tmp_path: Path) -> Path:
    small_folder(tmp_path)
    return tmp_path / "images.csv"


def listed(file: Path, *lines: str, **settings: Any) -> Reader:
    if lines:
        file.write_text("\n".join(lines) + "\n")
    return csv.build(csv.Config(file=str(file), **settings))


def test_rows_without_a_split_are_divided_as_folders_are(tmp_path: Path) -> None:
    reader = csv.build(small_csv(tmp_path))
    info = identified(reader)
    assert info.undivided
    assert info.classes == ("a", "b")
    assert {name: split.counts for name, split in info.splits.items()} == {
        "all": (10, 10),
        "train": (8, 8),
        "test": (2, 2),
    }
    assert sorted(sources_of(reader, "train") + sources_of(reader, "test")) == sorted(
        sources_of(reader, "all")
    )


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_splits_are_those_of_the_rows(validation: str, table: Path) -> None:
    reader = listed(
        table,
        "\ufeffsplit,path,note,label",
        'train,a/0.png,,"cat, small"',
        "train,b/1.png,x,dog",
        f"{validation},a/2.png,,dog",
        "test,./b/3.png,,dog",
    )
    info = identified(reader)
    assert not info.undivided
    assert info.classes == ("cat, small", "dog")
    assert {name: split.counts for name, split in info.splits.items()} == {
        "train": (1, 1),
        "val": (0, 1),
        "test": (0, 1),
    }
    assert sources_of(reader, "test") == ["b/3.png"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,class", "a/0.png,a"], "the header of .* is 'path,class'; path,label or"),
        (["path,label,label", "a/0.png,a,b"], "the header of .* is 'path,label,label'"),
        (["path,label", "a/0.png,a", "a/9.png,a"], r"row 3: there is no file .*a/9\.png'"),
        (["path,label", "a/0.png,a", "a/0.png,b"], r"row 3: 'a/0\.png' is in row 2 already"),
        (["path,label", "a/0.png,a", "b/../a/0.png,a"], "row 3: .* is in row 2 already"),
        (["path,label", "a/0.png,a,b"], "row 2: has another number of fields"),
        (["path,label", "a/0.png"], "row 2: has another number of fields"),
        (["path,label", "a/0.png,"], "row 2: has no label"),
        (["path,label", ",a"], "row 2: there is no file"),
        (["path,label", "../x.png,a"], r"row 2: '\.\./x\.png' leads out of .*; set `root`"),
        (["path,label,split", "a/0.png,a,training"], "row 2: split 'training'; train, val,"),
        (["path,label,split", "a/0.png,a,test"], "holds no training image"),
        (["path,label"], "holds no training image"),
        (
            ["path,label,split", "a/0.png,a,train", "b/1.png,b,test"],
            "row 3: no training image has label 'b'; a would do",
        ),
        (["path,label", '"a/0.png,a'], "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_row_is_named(lines: list[str], message: str, table: Path) -> None:
    with pytest.raises(InputError, match=f"^csv: .*{message}") as error:
        identified(listed(table, *lines))
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_refused(table: Path) -> None:
    table.write_bytes(b"path,label\n\xff\xfe,a\n")
    with pytest.raises(InputError, match=r"^csv: .*images\.csv' cannot be read"):
        identified(listed(table))


def test_a_list_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"there is no file .*gone\.csv'; expected one with"):
        identified(listed(tmp_path / "gone.csv"))


def test_digests_know_nothing_of_where_files_are(tmp_path: Path) -> None:
    """Whether paths are relative to the list, to a root, or whole."""
    infos = []
    for name in ("one", "two"):
        small_csv(tmp_path / name)
        infos.append(identified(listed(tmp_path / name / "images.csv")))
    (tmp_path / "lists").mkdir()
    moved = tmp_path / "lists" / "images.csv"
    shutil.copy(tmp_path / "one" / "images.csv", moved)
    infos.append(identified(listed(moved, root=str(tmp_path / "two"))))
    infos.append(identified(listed(moved, root=os.path.relpath(tmp_path / "two"))))
    assert infos.count(infos[0]) == 4
    lines = (tmp_path / "one" / "images.csv").read_text().splitlines()[1:]
    whole = [
        identified(listed(moved, "path,label", *(f"{tmp_path}/{d}/{line}" for line in lines)))
        for d in ("one", "two")
    ]
    assert whole[0] == whole[1]


def test_a_file_outside_is_never_taken_for_one_inside(table: Path) -> None:
    outside = table.parent.parent / f"{table.parent.name}-other" / "a" / "0.png"
    save(outside, pixels_of(77, 4, 4))
    reader = listed(table, "path,label", "a/0.png,a", f"{outside},a", f"{table.parent}/a/2.png,a")
    assert sources_of(reader, "all") == ["a/0.png", "/0.png", "a/2.png"]


def test_bad_files_of_a_list_are_named_or_left_out(table: Path) -> None:
    truncate(table.parent / "a" / "2.png")
    lines = ["path,label", "a/0.png,a", "a/2.png,a", "a/4.png,a"]
    with pytest.raises(InputError, match=r"a/2\.png: not a readable image"):
        list(listed(table, *lines).read("all"))
    reader = listed(table, *lines, skip_bad=True)
    assert identified(reader).splits["all"].skipped == ("a/2.png",)
    assert sources_of(reader, "all") == ["a/0.png", "a/4.png"]
