"""Images in tables: Parquet files and whatever the `datasets` library reads."""

import hashlib
import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.datasets import huggingface, parquet
from tasks.errors import InputError
from tasks.reading import DataMissing, Reader
from tests.tasks.test_datasets import (
    identified,
    pixels_of,
    png,
    save,
    small_huggingface,
    small_parquet,
    sources_of,
    write_parquet,
)

datasets: Any = importlib.import_module("datasets")  # It ships no types.
IMAGES = [pixels_of(index, 4, 4, 3) for index in range(10)]
LABELS = [index % 2 for index in range(10)]
CELLS = [png(image) for image in IMAGES]


def tables(root: Path, **settings: Any) -> Reader:
    return parquet.build(parquet.Config(root=str(root), **settings))


def write(path: Path, /, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


# Splits


def test_names_of_files_say_the_split(tmp_path: Path) -> None:
    info = identified(parquet.build(small_parquet(tmp_path)))
    assert {name: split.counts for name, split in info.splits.items()} == {
        "train": (5, 5),
        "val": (1, 1),
        "test": (2, 2),
    }
    assert not info.undivided


def test_names_of_folders_say_it_too(tmp_path: Path) -> None:
    small_parquet(tmp_path / "flat")
    for split in ("train", "validation", "test"):
        path = tmp_path / "deep" / "default" / split / "0000.parquet"
        path.parent.mkdir(parents=True)
        shutil.copy(tmp_path / "flat" / f"{split}-00000-of-00001.parquet", path)
    assert identified(tables(tmp_path / "deep")) == identified(tables(tmp_path / "flat"))


def test_a_dataset_is_the_same_in_any_number_of_files(tmp_path: Path) -> None:
    names = ("a", "b")
    write_parquet(tmp_path / "one" / "train.parquet", IMAGES, LABELS, names=names)
    write_parquet(tmp_path / "two" / "train-0.parquet", IMAGES[:3], LABELS[:3], names=names)
    write_parquet(tmp_path / "two" / "train-1.parquet", IMAGES[3:], LABELS[3:], names=names)
    one, two = identified(tables(tmp_path / "one")), identified(tables(tmp_path / "two"))
    assert one == two
    assert one.undivided
    assert one.splits["test"].counts == (1, 1)
    assert identified(tables(tmp_path / "one" / "train.parquet")) == one


@pytest.mark.parametrize("column", ["split", "part"])
def test_a_column_may_say_the_split(column: str, tmp_path: Path) -> None:
    parts = ["train", "test", "validation", "train"] * 2 + ["train", "train"]
    write(tmp_path / "a.parquet", image=CELLS, label=LABELS, **{column: parts})
    info = identified(tables(tmp_path, split=column))
    assert {name: sum(split.counts) for name, split in info.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    assert sources_of(tables(tmp_path, split=column), "train") == [f"{n:06d}" for n in range(6)]
    found = [example.sha256 for example in tables(tmp_path, split=column).read("test")]
    assert found == [hashlib.sha256(CELLS[index]).hexdigest() for index in (1, 5)]
    if column == "split":
        assert identified(tables(tmp_path)) == info


def test_without_either_a_fixed_part_is_the_test_split(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", image=CELLS, label=LABELS)
    info = identified(tables(tmp_path, test_fraction=0.4))
    assert info.undivided
    assert info.splits["test"].counts == (2, 2)
    assert sorted(
        sources_of(tables(tmp_path), "train") + sources_of(tables(tmp_path), "test")
    ) == sources_of(tables(tmp_path), "all")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("train-0", "more"), r"the name of '.*more\.parquet' says no split"),
        (("test-0",), r"holds no train-\*\.parquet"),
    ],
)
def test_names_must_say_all_splits(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in files:
        write(tmp_path / f"{name}.parquet", image=CELLS, label=LABELS)
    with pytest.raises(InputError, match=f"^parquet: .*{message}"):
        identified(tables(tmp_path))


def test_renamed_files_are_looked_at_again(tmp_path: Path) -> None:
    """Though all of their bytes are remembered."""
    values: dict[tuple[str, str], str] = {}

    def facts(path: Path, what: str, compute: Any) -> str:
        return values.setdefault((str(path), what), compute(path))

    small_parquet(tmp_path)
    (tmp_path / "validation-00000-of-00001.parquet").rename(tmp_path / "zzz")
    before = tables(tmp_path).identify(facts)
    (tmp_path / "test-00000-of-00001.parquet").rename(tmp_path / "val.parquet")
    after = tables(tmp_path).identify(facts)
    assert (set(before.splits), after.undivided) == ({"train", "test"}, True)


# Columns


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("labels", [LABELS, ["b" if n else "a" for n in LABELS]])
def test_columns_are_told_by_type_and_name(kind: Any, labels: Any, tmp_path: Path) -> None:
    cells = pa.array(CELLS, kind)
    write(tmp_path / "a.parquet", id=list(range(10)), picture=cells, label=labels, note=["x"] * 10)
    info = identified(tables(tmp_path))
    assert info.classes == (("0", "1") if labels is LABELS else ("a", "b"))
    assert info.splits["all"].counts == (5, 5)
    found = list(tables(tmp_path).read("all"))
    assert np.array_equal(found[3].pixels, IMAGES[3])
    assert found[3].sha256 == hashlib.sha256(CELLS[3]).hexdigest()


def test_columns_can_be_named(tmp_path: Path) -> None:
    columns = {"x": CELLS, "y": CELLS[::-1], "age": LABELS, "size": list(range(10))}
    write(tmp_path / "a.parquet", **columns)
    with pytest.raises(InputError, match=r"column holds the images: say `image: NAME`, one of x,"):
        identified(tables(tmp_path))
    with pytest.raises(InputError, match=r"column holds the labels: say `label: NAME`, one of x,"):
        identified(tables(tmp_path, image="x"))
    assert identified(tables(tmp_path, image="x", label="age")).classes == ("0", "1")
    for setting in ("image", "label", "split"):
        with pytest.raises(InputError, match="has no column 'sizes'; did you mean 'size'"):
            identified(tables(tmp_path, **{"image": "x", "label": "age", setting: "sizes"}))
    with pytest.raises(InputError, match=r"'age' holds int64; bytes, a struct .* would do"):
        identified(tables(tmp_path, image="age", label="age"))
    with pytest.raises(InputError, match="'x' holds binary; integers or text would do"):
        identified(tables(tmp_path, image="x", label="x"))


def test_dictionaries_of_text_are_text(tmp_path: Path) -> None:
    labels = pa.array(["b", "a"] * 5).dictionary_encode()
    write(tmp_path / "a.parquet", image=CELLS, label=labels)
    assert identified(tables(tmp_path)).classes == ("a", "b")


def test_numbers_without_names_are_classes_in_their_order(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", image=CELLS, label=[10, 9] * 5)
    assert identified(tables(tmp_path)).classes == ("9", "10")


def test_paths_in_cells_are_files_below_the_folder(tmp_path: Path) -> None:
    for index, image in enumerate(IMAGES):
        save(tmp_path / "images" / f"{index}.png", image)
    paths = [f"images/{index}.png" for index in range(10)]
    write(tmp_path / "a.parquet", path=paths, label=LABELS)
    asked: list[tuple[str, str]] = []

    def facts(path: Path, what: str, compute: Any) -> str:
        asked.append((path.name, what))
        return str(compute(path))

    info = tables(tmp_path).identify(facts)
    assert ("3.png", "sha256") in asked
    found = list(tables(tmp_path).read("all"))
    assert np.array_equal(found[3].pixels, IMAGES[3])
    # A struct without bytes says the same.
    write(tmp_path / "a.parquet", image=[{"bytes": None, "path": p} for p in paths], label=LABELS)
    assert identified(tables(tmp_path)) == info


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a.png", "gone.png"], r"row 1: there is no file .*gone\.png"),
        (["a.png", "../a.png"], r"row 1: '\.\./a\.png' leads out of"),
        (["a.png", "/a.png"], r"row 1: '/a\.png' leads out of"),
        (["a.png", "./a.png"], r"row 1: .*a\.png' is in row 0 already"),
    ],
)
def test_a_wrong_path_is_named(paths: list[str], message: str, tmp_path: Path) -> None:
    save(tmp_path / "a.png", IMAGES[0])
    write(tmp_path / "t.parquet", path=paths, label=[0, 1])
    with pytest.raises(InputError, match=rf"^parquet: .*t\.parquet, {message}"):
        identified(tables(tmp_path))


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 2], ("a", "b"), "row 1: label 2; 0 to 1 would do"),
        ([0, -1], ("a", "b"), r"row 1: label -1 \(-1 stands for .* not published\); 0 to 1"),
        ([0, None], ("a", "b"), "row 1: label None; a, b would do"),
        ([0, -5], None, "row 1: label -5; 0 would do"),
        (["a", None], None, "row 1: label None; a would do"),
    ],
)
def test_a_wrong_label_is_named(labels: Any, names: Any, message: str, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", IMAGES[:2], labels, names=names)
    with pytest.raises(InputError, match=rf"^parquet: .*t\.parquet, {message}"):
        identified(tables(path))


def test_a_test_label_that_nobody_trains_on_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", image=CELLS, label=["a"] * 10)
    write(tmp_path / "test.parquet", image=CELLS[:2], label=["a", "b"])
    with pytest.raises(InputError, match=r"test\.parquet, row 1: label 'b'; a would do"):
        identified(tables(tmp_path))


def test_a_class_without_a_training_image_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", IMAGES[:2], [0, 1], names=("a", "b", "c"))
    with pytest.raises(InputError, match=r"^parquet: class 'c' has no training image"):
        identified(tables(path))


def test_a_wrong_split_is_named(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", image=CELLS[:2], label=[0, 1], split=["train", "x"])
    with pytest.raises(InputError, match=r"row 1: split 'x'; train, val, .* would do"):
        identified(tables(tmp_path))
    write(tmp_path / "t.parquet", image=CELLS[:2], label=[0, 1], split=["test", "test"])
    with pytest.raises(InputError, match=r"'split' says `train` of no row; it says test"):
        identified(tables(tmp_path))


@pytest.mark.parametrize("bad", [b"", b"no image", CELLS[3][:50], None])
def test_bad_images_are_named_or_left_out(bad: bytes | None, tmp_path: Path) -> None:
    cells = [*CELLS[:3], bad, *CELLS[4:]]
    write(tmp_path / "t.parquet", image=pa.array(cells, pa.binary()), label=LABELS)
    with pytest.raises(InputError, match=r"t\.parquet, row 3: not a readable image"):
        list(tables(tmp_path).read("all"))
    reader = tables(tmp_path, skip_bad=True)
    info = identified(reader)
    assert info.splits["all"].skipped == ("000003",)
    assert info.splits["all"].counts == (5, 4)
    for name, split in info.splits.items():
        assert len(sources_of(reader, name)) == sum(split.counts)
    assert "000003" not in sources_of(reader, "train")


def test_every_form_of_image_is_decoded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(pixels_of(0, 5, 7, 3))
    path = save(tmp_path / "turned.png", image, exif=exif)
    write(tmp_path / "t" / "a.parquet", image=[path.read_bytes()], label=["a"])
    assert next(iter(tables(tmp_path / "t").read("all"))).pixels.shape == (7, 5, 3)


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="there is no Parquet file at"):
        identified(tables(tmp_path))
    path = write(tmp_path / "a.parquet", image=CELLS, label=LABELS)
    whole = path.read_bytes()
    for data in (b"", b"no table", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a\.parquet' is no whole Parquet file"):
            identified(tables(tmp_path))


def test_all_files_must_have_the_columns(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", image=CELLS, label=LABELS)
    write(tmp_path / "test.parquet", image=CELLS, labels=LABELS)
    with pytest.raises(InputError, match=r"test\.parquet' has no column 'label', others have"):
        identified(tables(tmp_path))


# The `datasets` library


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def hub(path: Path | str, **settings: Any) -> Reader:
    return huggingface.build(huggingface.Config(path=str(path), **settings))


def in_memory(count: int = 10, names: tuple[str, ...] = ("a", "b")) -> Any:
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    )
    cells = [{"bytes": cell, "path": None} for cell in CELLS[:count]]
    columns = {"img": cells, "label": LABELS[:count]}
    return datasets.Dataset.from_dict(columns, features=features)


def test_a_saved_dataset_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    parts = {"train": in_memory(), "validation": in_memory(4), "extra": in_memory(2)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    capfd.readouterr()
    info = identified(hub(tmp_path / "saved"))
    assert info.undivided
    assert info.classes == ("a", "b")
    assert {name: split.counts for name, split in info.splits.items()} == {
        "all": (5, 5),
        "train": (4, 4),
        "test": (1, 1),
        "val": (2, 2),
    }
    found = list(hub(tmp_path / "saved").read("val"))
    assert np.array_equal(found[3].pixels, IMAGES[3])
    assert found[3].sha256 == hashlib.sha256(CELLS[3]).hexdigest()
    assert capfd.readouterr() == ("", "")


def test_a_saved_dataset_of_one_split_is_undivided(tmp_path: Path) -> None:
    in_memory().save_to_disk(tmp_path / "saved")
    assert identified(hub(tmp_path / "saved")).undivided


def test_the_same_images_have_the_same_digest_as_in_parquet(tmp_path: Path) -> None:
    in_memory().save_to_disk(tmp_path / "saved")
    write_parquet(tmp_path / "t.parquet", IMAGES, LABELS, names=("a", "b"))
    assert identified(hub(tmp_path / "saved")) == identified(tables(tmp_path / "t.parquet"))


def test_a_folder_of_images_is_read_and_watched(tmp_path: Path) -> None:
    small_huggingface(tmp_path / "images")
    before = identified(hub(tmp_path / "images"))
    assert before.splits["train"].counts == (5, 5)
    assert before.splits["test"].counts == (2, 2)
    save(tmp_path / "images" / "train" / "a" / "0.png", pixels_of(99, 6, 6, 3))
    after = identified(hub(tmp_path / "images"))
    assert after.splits["train"].digest != before.splits["train"].digest
    assert after.splits["test"] == before.splits["test"]


def test_splits_need_a_training_part(tmp_path: Path) -> None:
    parts = {"a": in_memory(), "test": in_memory(4)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match="has the splits a, test; one called train is needed"):
        identified(hub(tmp_path / "saved"))


def test_what_was_not_fetched_is_missing(tmp_path: Path) -> None:
    for path in ("some/name", str(tmp_path / "gone")):
        with pytest.raises(DataMissing, match=r"there is no folder .*, and no dataset of that"):
            identified(hub(path))
    with pytest.raises(DataMissing, match=r"there is no folder '/.*gone'$"):
        hub(tmp_path / "gone").fetch()


def test_a_dataset_of_the_hub_is_fetched_once_and_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(path: str, config: str | None, *, revision: str | None, cache_dir: str) -> Any:
        asked.append((path, config, revision))
        return datasets.DatasetDict(train=in_memory(), test=in_memory(4))

    monkeypatch.setattr(datasets, "load_dataset", load)
    reader = hub("user/name", config="small", revision="v1")
    reader.fetch()
    reader.fetch()
    assert asked == [("user/name", "small", "v1")]
    assert identified(reader).splits["test"].counts == (2, 2)
    assert len(list((cache / "huggingface").iterdir())) == 1
    with pytest.raises(DataMissing):
        identified(hub("user/name", config="small", revision="v2"))


def test_a_failed_fetch_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Couldn't reach 'user/name' on the Hub\nand much more")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataMissing, match=r"'user/name' cannot be fetched \(Couldn't .* Hub\)$"):
        hub("user/name").fetch()
    assert list((cache / "huggingface").iterdir()) == []


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"^huggingface: .*empty' cannot be loaded \("):
        identified(hub(tmp_path / "empty"))


def test_without_the_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install augury\[huggingface\]$"):
        identified(hub(tmp_path))
