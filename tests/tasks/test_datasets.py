"""Every dataset says what it holds before it is read, and reads just that.

The small copies that are made here, each in its published layout, serve the files beside this one.
"""

import dataclasses
import gzip
import io
import json
import pickle
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks import plugins
from tasks.datasets import (
    cifar10,
    cifar100,
    csv,
    cub200,
    digits,
    fashion_mnist,
    huggingface,
    image_folder,
    mnist,
    parquet,
    tiny_imagenet,
)
from tasks.datasets._idx import PREFIXES
from tasks.packs import split_digest
from tasks.reading import Reader, unremembered
from tasks.specs import DatasetInfo, Plugin


def identified(reader: Reader) -> DatasetInfo:
    return reader.identify(unremembered)


def sources_of(reader: Reader, split: str) -> list[str]:
    return [example.source for example in reader.read(split)]


def pixels_of(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, image: Image.Image | npt.NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def png(pixels: npt.NDArray[np.uint8], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


# A little of each dataset


def make_idx(root: Path, split: str, labels: list[int], suffix: str = ".gz") -> None:
    images = pixels_of(len(labels), len(labels), 28, 28)
    header = struct.pack(">4I", 0x803, len(labels), 28, 28)
    write_idx(root, split, "images-idx3", header + images.tobytes(), suffix)
    body = struct.pack(">2I", 0x801, len(labels)) + bytes(labels)
    write_idx(root, split, "labels-idx1", body, suffix)


def write_idx(root: Path, split: str, part: str, data: bytes, suffix: str = ".gz") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{PREFIXES[split]}-{part}-ubyte{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    return path


def small_fashion(root: Path) -> fashion_mnist.Config:
    make_idx(root, "train", [*range(10), 3, 3])
    make_idx(root, "test", [9, 1, 5])
    return fashion_mnist.Config(root=str(root))


def small_mnist(root: Path) -> mnist.Config:
    small_fashion(root)
    return mnist.Config(root=str(root))


def small_folder(root: Path) -> image_folder.Config:
    for index in range(20):
        save(root / "ab"[index % 2] / f"{index}.png", pixels_of(index, 6, 5 + index % 3))
    return image_folder.Config(root=str(root))


def write_batch(path: Path, first: int, **labels: list[int]) -> None:
    """A batch as Python 2 would have pickled it: text and keys are bytes."""
    (count,) = {len(values) for values in labels.values()}
    content = {key.encode(): values for key, values in labels.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({**content, b"data": pixels_of(first, count, 3072)}, protocol=2))


def small_cifar10(root: Path) -> cifar10.Config:
    folder = root / "cifar-10-batches-py"
    for number in range(1, 6):
        write_batch(
            folder / f"data_batch_{number}", number, labels=[2 * number - 2, 2 * number - 1]
        )
    write_batch(folder / "test_batch", 6, labels=[3, 0, 3])
    return cifar10.Config(root=str(root))


def small_cifar100(root: Path) -> cifar100.Config:
    folder = root / "cifar-100-python"
    coarse = [label % 20 for label in range(100)]
    write_batch(folder / "train", 1, fine_labels=[*range(100)], coarse_labels=coarse)
    write_batch(folder / "test", 2, fine_labels=[7, 99], coarse_labels=[1, 19])
    return cifar100.Config(root=str(root))


def small_cub200(root: Path) -> cub200.Config:
    """Two species of four images; the first of each is grey."""
    folder = root / "CUB_200_2011"
    names = [f"00{s}.Bird_{s}/{index}.jpg" for s in (1, 2) for index in range(4)]
    for number, name in enumerate(names):
        shape = (20, 30) if number % 4 == 0 else (20, 30, 3)
        save(folder / "images" / name, pixels_of(number, *shape))
    lines = {
        "classes.txt": ["1 001.Bird_1", "2 002.Bird_2"],
        "images.txt": [f"{n + 1} {name}" for n, name in enumerate(names)],
        "image_class_labels.txt": [f"{n + 1} {1 + n // 4}" for n in range(8)],
        "train_test_split.txt": [f"{n + 1} {int(n % 4 < 3)}" for n in range(8)],
        "bounding_boxes.txt": [f"{n + 1} 2.0 3.0 {10.0 + n} 12.0" for n in range(8)],
    }
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n")
    return cub200.Config(root=str(root))


def small_tiny_imagenet(root: Path) -> tiny_imagenet.Config:
    """Three wnids, of which two share their first word; some images are grey."""
    folder = root / "tiny-imagenet-200"
    wnids = ("n03", "n01", "n02")
    for number, wnid in enumerate(wnids):
        for index in range(3):
            shape = (64, 64) if index == 0 else (64, 64, 3)
            image = pixels_of(10 * number + index, *shape)
            save(folder / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", image)
    for index in range(3):
        save(folder / "val" / "images" / f"val_{index}.JPEG", pixels_of(90 + index, 64, 64, 3))
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    words = {"n00": "thing", "n01": "crane", "n02": "goldfish, Carassius auratus", "n03": "crane"}
    (folder / "words.txt").write_text("".join(f"{w}\t{text}\n" for w, text in words.items()))
    rows = [f"val_{index}.JPEG\t{wnids[index]}\t0\t0\t62\t62" for index in range(3)]
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    return tiny_imagenet.Config(root=str(root))


def small_csv(root: Path) -> csv.Config:
    small_folder(root)
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (root / "images.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return csv.Config(file=str(root / "images.csv"))


def write_parquet(
    path: Path,
    images: Sequence[npt.NDArray[np.uint8]],
    labels: Sequence[Any],
    *,
    names: Sequence[str] | None = None,
    image: str = "img",
    label: str = "label",
) -> Path:
    """A file as the `datasets` library writes it, with names of classes where there are some."""
    cells = [{"bytes": png(each), "path": f"{n}.png"} for n, each in enumerate(images)]
    table = pa.table({image: cells, label: list(labels)})
    if names is not None:
        classes = {"names": list(names), "_type": "ClassLabel"}
        features = {"features": {image: {"_type": "Image"}, label: classes}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": features})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=4)
    return path


def small_parquet(root: Path) -> parquet.Config:
    for split, count in (("train", 10), ("validation", 2), ("test", 4)):
        images = [pixels_of(count + index, 6, 6, 3) for index in range(count)]
        labels = [index % 2 for index in range(count)]
        write_parquet(root / f"{split}-00000-of-00001.parquet", images, labels, names=("a", "b"))
    return parquet.Config(root=str(root))


def small_huggingface(root: Path) -> huggingface.Config:
    for split, count in (("train", 10), ("test", 4)):
        for index in range(count):
            save(root / split / "ab"[index % 2] / f"{index}.png", pixels_of(count + index, 6, 6, 3))
    return huggingface.Config(path=str(root))


SMALL: dict[str, Callable[[Path], Any]] = {
    "cifar10": small_cifar10,
    "cifar100": small_cifar100,
    "csv": small_csv,
    "cub200": small_cub200,
    "digits": lambda root: digits.Config(),
    "fashion_mnist": small_fashion,
    "huggingface": small_huggingface,
    "image_folder": small_folder,
    "mnist": small_mnist,
    "parquet": small_parquet,
    "tiny_imagenet": small_tiny_imagenet,
}
"""How to make a little of each dataset; a new file of `tasks/datasets` belongs here too."""

NUMBERED = ("cifar10", "cifar100", "fashion_mnist", "huggingface", "mnist", "parquet")
"""Their splits number their images from 0 each."""

UNDIVIDED = ("csv", "digits", "image_folder")
"""Made here without a test split, or never published with one."""


# What holds for every file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=plugins.names("datasets"))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Plugin:
    return plugins.plugin("datasets", request.param, SMALL[request.param](tmp_path / "data"))


def test_a_file_holds_what_every_dataset_holds(source: Plugin) -> None:
    module = plugins.module("datasets", source.name)
    assert isinstance(module.VERSION, int)
    assert module.VERSION >= 1
    assert source.config.__dataclass_params__.frozen
    with pytest.raises(dataclasses.FrozenInstanceError):
        source.config.anything = 1
    with pytest.raises(ValueError, match="no_such_setting"):
        plugins.adapter("datasets", source.name).validate_python({"no_such_setting": 1})


def test_what_is_read_is_what_was_identified(source: Plugin) -> None:
    reader: Reader = plugins.build("datasets", source)
    info = identified(reader)
    assert {"train", "test"} <= set(info.splits)
    assert not info.placeholder
    assert len(set(info.classes)) == len(info.classes)
    for name, split in info.splits.items():
        found = list(reader.read(name))
        assert (
            split_digest((info.classes[e.label], e.source, e.sha256) for e in found) == split.digest
        )
        counts = Counter(example.label for example in found)
        assert tuple(counts[label] for label in range(len(info.classes))) == split.counts
        assert len({example.source for example in found}) == len(found)
        for example in found:
            assert example.pixels.dtype == np.uint8
            assert example.pixels.ndim == 3
            assert example.pixels.shape[2] in (1, 3)
            assert len(example.sha256) == 64


def test_reading_twice_gives_the_same_in_the_same_order(source: Plugin) -> None:
    def seen() -> list[tuple[int, str, str, bytes]]:
        reader: Reader = plugins.build("datasets", source)
        return [(e.label, e.source, e.sha256, e.pixels.tobytes()) for e in reader.read("train")]

    assert seen() == seen()


def test_training_and_test_images_are_others(source: Plugin) -> None:
    reader: Reader = plugins.build("datasets", source)
    train, test = ([e.source for e in reader.read(split)] for split in ("train", "test"))
    assert train
    assert test
    if source.name not in NUMBERED:
        assert not set(train) & set(test)


def test_what_is_remembered_is_what_is_found(source: Plugin) -> None:
    """And looking again computes nothing."""
    values: dict[tuple[str, str], str] = {}
    computed: list[str] = []

    def facts(path: Path, what: str, compute: Callable[[Path], str]) -> str:
        if (str(path), what) not in values:
            computed.append(what)
            values[str(path), what] = compute(path)
        return values[str(path), what]

    reader: Reader = plugins.build("datasets", source)
    assert reader.identify(facts) == identified(reader)
    computed.clear()
    assert reader.identify(facts) == identified(reader)
    assert computed == []


def test_an_undivided_dataset_offers_the_whole(source: Plugin) -> None:
    info = identified(plugins.build("datasets", source))
    assert info.undivided == (source.name in UNDIVIDED)
    if info.undivided:
        train, test, whole = (info.splits[name].counts for name in ("train", "test", "all"))
        assert [a + b for a, b in zip(train, test, strict=True)] == list(whole)


def test_nothing_is_fetched_that_is_there(source: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("httpx.stream", lambda method, url, **_: asked.append(url))
    plugins.build("datasets", source).fetch()
    assert asked == []


# Digits


def test_the_stated_facts_of_digits_are_computed_again() -> None:
    reader = digits.build(digits.Config())
    for name, stated in digits.SPLITS.items():
        found = list(reader.read(name))
        lines = [(digits.CLASSES[e.label], e.source, e.sha256) for e in found]
        assert split_digest(lines) == stated.digest
        assert tuple(Counter(e.label for e in found)[label] for label in range(10)) == stated.counts
    assert sum(digits.SPLITS["all"].counts) == 1797
    assert sum(digits.SPLITS["train"].counts) == 1000
    assert sum(digits.SPLITS["test"].counts) == digits.NUM_TEST == 797


def test_digits_use_the_whole_range() -> None:
    examples = list(digits.build(digits.Config()).read("train"))
    values = np.stack([example.pixels for example in examples])
    assert values.shape == (1000, 8, 8, 1)
    assert (values.min(), values.max()) == (0, 255)
    assert len(np.unique(values)) == 17
