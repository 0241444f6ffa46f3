"""CIFAR's batches, plain, packed or in Parquet; a pickle that is a program is refused unrun."""

import hashlib
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.datasets import cifar10, cifar100
from tasks.datasets._pickles import Bytes, load_batch
from tasks.errors import InputError
from tasks.reading import DataMissing, Reader
from tasks.specs import canonical
from tests.tasks.test_datasets import (
    identified,
    pixels_of,
    small_cifar10,
    small_cifar100,
    sources_of,
    write_batch,
    write_parquet,
)


def cifar(root: Path) -> Reader:
    return cifar10.build(cifar10.Config(root=str(root)))


def hundred(root: Path, **settings: Any) -> Reader:
    return cifar100.build(cifar100.Config(root=str(root), **settings))


def test_batches_are_read_in_their_order_with_colours_last(tmp_path: Path) -> None:
    small_cifar10(tmp_path)
    found = list(cifar(tmp_path).read("train"))
    assert [example.label for example in found] == [*range(10)]
    assert sources_of(cifar(tmp_path), "train") == [f"{index:05d}" for index in range(10)]
    planes = pixels_of(2, 2, 3072)[1].reshape(3, 32, 32)
    assert np.array_equal(found[3].pixels, planes.transpose(1, 2, 0))
    inside = identified(cifar(tmp_path / "cifar-10-batches-py"))
    assert inside == identified(cifar(tmp_path))
    assert (inside.image_bytes, inside.undivided) == (3072, False)


def test_the_hash_is_of_the_bytes_of_the_row(tmp_path: Path) -> None:
    """As they are stored, not as they are shown: keys rest on it."""
    small_cifar10(tmp_path)
    example = next(iter(cifar(tmp_path).read("train")))
    assert example.sha256 == hashlib.sha256(pixels_of(1, 2, 3072)[0].tobytes()).hexdigest()


def test_packed_or_plain_the_data_is_the_same(tmp_path: Path) -> None:
    small_cifar10(tmp_path / "plain")
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "plain" / "cifar-10-batches-py", "cifar-10-batches-py")
    assert identified(cifar(tmp_path / "packed")) == identified(cifar(tmp_path / "plain"))


@pytest.mark.parametrize("stated", [True, False])
def test_parquet_of_the_hub_is_read(stated: bool, tmp_path: Path) -> None:
    names = ("plane", *cifar10.CLASSES[1:]) if stated else None
    for split in ("train", "test"):
        path = tmp_path / "plain_text" / f"{split}-00000-of-00001.parquet"
        write_parquet(path, list(pixels_of(1, 10, 32, 32, 3)), [*range(10)], names=names)
    info = identified(cifar(tmp_path))
    assert info.classes == (names or cifar10.CLASSES)
    assert [example.label for example in cifar(tmp_path).read("test")] == [*range(10)]


def test_fine_and_coarse_labels_are_other_datasets(tmp_path: Path) -> None:
    small_cifar100(tmp_path)
    fine, coarse = (identified(hundred(tmp_path, labels=each)) for each in ("fine", "coarse"))
    assert (len(fine.classes), len(coarse.classes)) == (100, 20)
    assert (fine.classes[99], coarse.classes[1]) == ("worm", "fish")
    assert coarse.splits["train"].counts == (5,) * 20
    assert fine.splits["train"].digest != coarse.splits["train"].digest
    assert canonical(cifar100.Config(root="x", labels="coarse")) == {"labels": "coarse"}


def test_parquet_holds_both_labels_too(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for split in ("train", "test"):
        path = tmp_path / f"{split}-00000-of-00001.parquet"
        images = list(pixels_of(1, 100, 32, 32, 3))
        write_parquet(path, images, [*range(100)], label="fine_label")
        table = pq.read_table(path)
        table = table.append_column("coarse_label", [[label % 20 for label in range(100)]])
        pq.write_table(table, path)
    assert identified(hundred(tmp_path)).classes == cifar100.FINE
    assert identified(hundred(tmp_path, labels="coarse")).splits["test"].counts == (5,) * 20


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"holds neither .* nor .*kriz.* nor .*uoft-cs/cifar10"):
        identified(cifar(tmp_path))
    small_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataMissing, match=r"data_batch_3 is not in .*; expected data_batch_1, "):
        identified(cifar(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": pixels_of(0, 2, 3072), "labels": [0, 10]}, "label 11 is 10; 0 to 9 would do"),
        ({"data": pixels_of(0, 2, 3072), "labels": [0, -1]}, "label 11 is -1; 0 to 9 would do"),
        ({"data": pixels_of(0, 2, 3072), "labels": [0]}, "2 images but 1 labels"),
        ({"data": pixels_of(0, 2, 3072), "labels": [0, 2**70]}, "no list of small integers"),
        ({"data": pixels_of(0, 2, 3072), "labels": [0, True]}, "no list of small integers"),
        ({"data": pixels_of(0, 2, 3072)}, "no list of small integers"),
        ({"data": pixels_of(0, 2, 3071), "labels": [0, 1]}, "no array of N × 3072 bytes"),
        ({"data": np.zeros((2, 3072)), "labels": [0, 1]}, "no array of N × 3072 bytes"),
        ({"data": np.array([[{}]], object), "labels": [0]}, "no array of N × 3072 bytes"),
        ({"data": [0], "labels": [0]}, "no array of N × 3072 bytes"),
        ([1, 2], "holds no mapping of data and labels"),
    ],
)
def test_what_is_no_batch_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    small_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_5"
    write_batch(path.with_name("data_batch_5"), 5, labels=[8, 9])
    if isinstance(content, dict) and len(content.get("labels", ())) == 2:
        # Indices count the rows of all batches: 8 come before these, and 2 more.
        write_batch(path.with_name("data_batch_4"), 4, labels=[6, 7, 8, 9])
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=f"^cifar10: .*{message}"):
        identified(cifar(tmp_path))


class Bomb:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("packed", [False, True])
def test_a_pickle_that_is_a_program_is_not_run(protocol: int, packed: bool, tmp_path: Path) -> None:
    small_cifar10(tmp_path)
    folder, mark = tmp_path / "cifar-10-batches-py", tmp_path / "exploded"
    bomb = pickle.dumps({b"data": Bomb(mark), b"labels": [0]}, protocol=protocol)
    (folder / "data_batch_1").write_bytes(bomb)
    if packed:
        with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
            archive.add(folder, folder.name)
        for path in folder.iterdir():
            path.unlink()
    with pytest.raises(InputError, match=r"asks for (posix|os)\.mkdir, .* nothing of it was run"):
        identified(cifar(tmp_path))
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.is_dir()  # It would have.


@pytest.mark.parametrize(
    "name", ["builtins eval", "numpy load", "numpy.core.multiarray fromfile", "numpy save"]
)
def test_only_what_an_array_needs_can_be_named(name: str) -> None:
    program = f"c{name.replace(' ', chr(10))}\n.".encode()
    with pytest.raises(InputError, match=rf"asks for {name.replace(' ', '.')}"):
        load_batch(program, "here")


def test_no_other_codec_can_be_named() -> None:
    with pytest.raises(InputError, match="asks for the codec 'zip'"):
        load_batch(b"c_codecs\nencode\n(Vx\nVzip\ntR.", "here")


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_of_every_protocol_are_read(protocol: int) -> None:
    pixels = pixels_of(0, 2, 3072)
    found = load_batch(pickle.dumps({"data": pixels}, protocol=protocol), "here")["data"]
    assert isinstance(found, Bytes)
    assert np.array_equal(found.array(3072, "here"), pixels)


def test_damaged_batches_are_refused_in_one_line() -> None:
    whole = pickle.dumps({b"data": pixels_of(0, 1, 3072), b"labels": [0]}, protocol=2)
    rng, refused = np.random.default_rng(0), []
    for length in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[int(rng.integers(200))] = int(rng.integers(256))
        for data in (whole[:length], bytes(damaged)):
            try:
                load_batch(data, "here")
            except InputError as error:
                refused.append(str(error))
    assert len(refused) > 20
    assert all(text.startswith("here: ") and "\n" not in text for text in refused)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz' is damaged"):
        identified(cifar(tmp_path))
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(InputError, match="holds no cifar-10-batches-py/data_batch_1"):
        identified(cifar(tmp_path))


def test_what_python_2_wrote_is_read() -> None:
    """The opcodes of the published files: text is bytes, and NumPy is that of 2009."""
    pixels = pixels_of(0, 2, 3072)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
        b"(K\x01K\x02M\0\x0c\x86cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T" + struct.pack("<I", pixels.size)
    )
    data = b"\x80\x02}(U\x04data" + array + pixels.tobytes() + b"tbU\x06labels](K\x03K\x07eu."
    found = load_batch(data, "here")
    assert found["labels"] == [3, 7]
    assert np.array_equal(found["data"].array(3072, "here"), pixels)
