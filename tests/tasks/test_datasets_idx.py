"""IDX files: gzipped or plain, whole or refused; MNIST in Parquet too."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.datasets import fashion_mnist, mnist
from tasks.errors import InputError
from tasks.reading import DataMissing, Reader
from tests.tasks.test_datasets import (
    identified,
    make_idx,
    pixels_of,
    small_fashion,
    write_idx,
    write_parquet,
)


def fashion(root: Path) -> Reader:
    return fashion_mnist.build(fashion_mnist.Config(root=str(root)))


def test_gzipped_or_plain_the_data_is_the_same(tmp_path: Path) -> None:
    for folder, suffix in (("packed", ".gz"), ("plain", "")):
        make_idx(tmp_path / folder, "train", [*range(10)], suffix)
        make_idx(tmp_path / folder, "test", [1, 2], suffix)
    packed, plain = (identified(fashion(tmp_path / name)) for name in ("packed", "plain"))
    assert packed == plain
    assert packed.splits["test"].counts == (0, 1, 1, 0, 0, 0, 0, 0, 0, 0)


def test_pixels_and_labels_are_those_of_the_files(tmp_path: Path) -> None:
    small_fashion(tmp_path)
    found = list(fashion(tmp_path).read("test"))
    assert [example.label for example in found] == [9, 1, 5]
    pixels = np.stack([example.pixels for example in found])
    assert np.array_equal(pixels[..., 0], pixels_of(3, 3, 28, 28))


def test_changed_labels_are_noticed(tmp_path: Path) -> None:
    """Though the file of images, whose facts are remembered, stays as it is."""
    remembered: dict[tuple[Path, str], str] = {}

    def facts(path: Path, what: str, compute: Callable[[Path], str]) -> str:
        if (path, what) not in remembered:
            remembered[path, what] = compute(path)
        return remembered[path, what]

    small_fashion(tmp_path)
    before = fashion(tmp_path).identify(facts)
    path = write_idx(
        tmp_path, "test", "labels-idx1", struct.pack(">2I", 0x801, 3) + bytes([9, 1, 6])
    )
    del remembered[path, "sha256"]  # as the cache does for a file that changed
    after = fashion(tmp_path).identify(facts)
    assert after.splits["test"].digest != before.splits["test"].digest
    assert after.splits["train"] == before.splits["train"]


IMAGES = struct.pack(">4I", 0x803, 3, 28, 28) + bytes(3 * 28 * 28)


@pytest.mark.parametrize(
    ("part", "data", "message"),
    [
        ("images-idx3", IMAGES[:-1], r"holds 2351 bytes, its header says 2352"),
        ("images-idx3", IMAGES + b"x", r"holds 2353 bytes, its header says 2352"),
        ("images-idx3", IMAGES[:10], r"is no IDX file of 3-d unsigned bytes"),
        ("images-idx3", b"", r"is no IDX file"),
        ("images-idx3", b"\0\0\x0d\3" + IMAGES[4:], r"is no IDX file of 3-d unsigned bytes"),
        (
            "images-idx3",
            struct.pack(">4I", 0x803, 2, 28, 28) + IMAGES[16:-784],
            "2 test images but 3",
        ),
        (
            "labels-idx1",
            struct.pack(">2I", 0x801, 3) + b"\1\x0a\2",
            "label 1 is 10; 0 to 9 would do",
        ),
        ("labels-idx1", IMAGES, r"is no IDX file of 1-d unsigned bytes"),
    ],
)
@pytest.mark.parametrize("suffix", [".gz", ""])
def test_what_is_no_whole_idx_file_is_refused(
    part: str, data: bytes, message: str, suffix: str, tmp_path: Path
) -> None:
    make_idx(tmp_path, "train", [*range(10)], suffix)
    make_idx(tmp_path, "test", [9, 1, 5], suffix)
    write_idx(tmp_path, "test", part, data, suffix)
    with pytest.raises(InputError, match=f"^fashion_mnist: .*{message}"):
        identified(fashion(tmp_path))


@pytest.mark.parametrize("damage", ["cut short", "a byte changed", "no gzip"])
def test_a_damaged_archive_is_refused(damage: str, tmp_path: Path) -> None:
    small_fashion(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    damaged = {
        "cut short": [whole[:length] for length in range(1, len(whole), 61)],
        "a byte changed": [
            whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
            for at in range(10, len(whole), 61)
        ],
        "no gzip": [gzip.decompress(whole)],
    }
    for data in damaged[damage]:
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"^fashion_mnist: .*t10k-images-idx3-ubyte\.gz"):
            identified(fashion(tmp_path))


def test_without_a_root_the_cache_holds_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path))
    small_fashion(tmp_path / "fashion_mnist")
    reader = fashion_mnist.build(fashion_mnist.Config())
    assert sum(identified(reader).splits["train"].counts) == 12


def test_mnist_reads_both_published_forms(tmp_path: Path) -> None:
    for split, labels in (("train", [*range(10)]), ("test", [7, 2])):
        make_idx(tmp_path / "idx", split, labels)
        images = pixels_of(len(labels), len(labels), 28, 28)
        path = tmp_path / "hub" / "mnist" / f"{split}-00000-of-00001.parquet"
        write_parquet(path, list(images), labels, names=mnist.CLASSES, image="image")
    idx, hub = (
        mnist.build(mnist.Config(root=str(tmp_path / form), mirror="http://127.0.0.1:9"))
        for form in ("idx", "hub")
    )
    for split in ("train", "test"):
        assert identified(idx).splits[split].counts == identified(hub).splits[split].counts
        pairs = zip(idx.read(split), hub.read(split), strict=True)
        assert all(np.array_equal(a.pixels, b.pixels) and a.label == b.label for a, b in pairs)
    hub.fetch()


def test_mnist_that_is_not_there_is_missing(tmp_path: Path) -> None:
    reader = mnist.build(mnist.Config(root=str(tmp_path)))
    with pytest.raises(DataMissing, match=r"^mnist: .*IDX files .*/ylecun/mnist"):
        identified(reader)


def test_a_class_without_a_training_image_is_named(tmp_path: Path) -> None:
    make_idx(tmp_path, "train", [*range(9)])
    make_idx(tmp_path, "test", [0])
    with pytest.raises(InputError, match="class 'Ankle boot' has no training image"):
        identified(fashion(tmp_path))
