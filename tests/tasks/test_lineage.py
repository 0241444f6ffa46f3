"""Edits of test images are known by what their own files say, whatever became of the files."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.datasets import image_folder
from tasks.errors import InputError
from tasks.lineage import lineage
from tasks.origins import KEY, origins_of, pixels_sha256, read_origins
from tasks.packs import Example, Pack, Pixels, read_all, write_pack
from tasks.results import read_result
from tasks.shards import png
from tasks.specs import ImagesSpec, LineageSpec

REAL = ImagesSpec(pack="t", split_seed=0, validation=(0,), training=(0,))
SPEC = LineageSpec(images="i", tests=("t",), real=REAL, name="synthetic.x.folder")


def drawn(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def edit_of(data: bytes, seed: int) -> bytes:
    """What an editor writes for an image's file."""
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    origins = origins_of(sha(data), pixels, read_origins(data))
    return png(drawn(seed), {"augury-edit": "0" * 64, KEY: " ".join(origins)})


def folder_pack(path: Path, files: dict[str, bytes]) -> Path:
    """The pack of a folder of one class."""
    for name, data in files.items():
        (path / "images" / "a").mkdir(parents=True, exist_ok=True)
        (path / "images" / "a" / name).write_bytes(data)
    reader = image_folder.build(image_folder.Config(root=str(path / "images")))
    pack = path / "pack"
    pack.mkdir()
    read_all(write_pack(pack, lambda: reader.read("all"), ["a"], None, len(files)))
    return pack


def array_pack(path: Path, images: list[Pixels]) -> Path:
    """The pack of images that have no files, and are named by some bytes of their own."""
    path.mkdir()
    examples = [
        Example(pixels=pixels, label=0, source=str(at), sha256=sha(pixels.T.tobytes()))
        for at, pixels in enumerate(images)
    ]
    read_all(write_pack(path, lambda: examples, ["a"], None, len(examples)))
    return path


def looked(tmp_path: Path, trained: Path, test: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    read_all(lineage(SPEC, {"i": trained, "t": test}, out))


TEST, OTHER = png(drawn(0)), png(drawn(1))
LEAKS = {
    "an edit": edit_of(TEST, 2),
    "an edit of an edit": edit_of(edit_of(TEST, 2), 3),
    "an edit of other bytes of the same pixels": edit_of(png(drawn(0), {"more": "text"}), 2),
}


@pytest.mark.parametrize("arrays", [False, True], ids=["of files", "of arrays"])
@pytest.mark.parametrize("leak", LEAKS)
def test_edits_of_test_images_are_refused(leak: str, arrays: bool, tmp_path: Path) -> None:
    test = (
        array_pack(tmp_path / "test", [drawn(0), drawn(9)])
        if arrays
        else folder_pack(tmp_path / "test", {"0.png": TEST, "9.png": png(drawn(9))})
    )
    files = {"renamed.png": LEAKS[leak], "fine.png": edit_of(OTHER, 4), "real.png": OTHER}
    with pytest.raises(
        InputError,
        match=r"^synthetic\.x\.folder: 1 of 3 images are edits of .* such as a/renamed\.png: ",
    ):
        looked(tmp_path, folder_pack(tmp_path / "trained", files), test)


def test_edits_of_other_images_are_trained_on(tmp_path: Path) -> None:
    test = folder_pack(tmp_path / "test", {"0.png": TEST})
    files = {"fine.png": edit_of(OTHER, 4), "again.png": edit_of(edit_of(OTHER, 4), 5)}
    looked(tmp_path, folder_pack(tmp_path / "trained", files), test)


def test_every_test_set_is_looked_at(tmp_path: Path) -> None:
    packs = {
        "i": folder_pack(tmp_path / "trained", {"0.png": edit_of(TEST, 2)}),
        "other": folder_pack(tmp_path / "other", {"9.png": OTHER}),
        "t": folder_pack(tmp_path / "test", {"8.png": OTHER, "0.png": TEST}),
    }
    with pytest.raises(InputError, match="1 of 1 images"):
        read_all(lineage(replace(SPEC, tests=("other", "t")), packs, tmp_path))


@pytest.mark.parametrize("apart", [False, True], ids=["of the train split", "apart"])
def test_edits_of_validation_images_are_counted(apart: bool, tmp_path: Path) -> None:
    reals = {f"{seed}.png": png(drawn(seed)) for seed in range(10, 16)}
    real = folder_pack(tmp_path / "real", reals)
    trained = {name: edit_of(data, 30 + at) for at, (name, data) in enumerate(reals.items())}
    packs = {
        "i": folder_pack(tmp_path / "trained", trained),
        "t": folder_pack(tmp_path / "test", {"0.png": TEST}),
        "real": real,
        "val": folder_pack(tmp_path / "val", {"10.png": reals["10.png"], "0.png": TEST}),
    }
    images = ImagesSpec(
        pack="real",
        split_seed=0,
        validation=(2,),
        training=(0,),
        validation_pack="val" if apart else None,
    )
    read_all(lineage(replace(SPEC, real=images), packs, tmp_path))
    expected = {"images": 6, "edits": 6, "of_validation": 1 if apart else 2}
    assert read_result(tmp_path) == expected


def test_an_image_and_its_edit_are_not_divided_between_folds(tmp_path: Path) -> None:
    both = folder_pack(tmp_path / "both", {"0.png": TEST, "1.png": edit_of(TEST, 2)})
    with pytest.raises(InputError, match="1 of 2 images"):
        looked(tmp_path, both, both)


def test_a_pack_of_before_there_were_origins_has_none(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pack = folder_pack(tmp_path / "old", {"0.png": edit_of(TEST, 2)})
    manifest = pack / "manifest.parquet"
    pq.write_table(pq.read_table(manifest).drop_columns(["origins"]), manifest)
    assert Pack(pack).origins == [()]


@pytest.mark.parametrize(
    "data",
    [b"", TEST, b"\x89PNG" + KEY.encode(), TEST[:20] + KEY.encode() + TEST[20:]],
    ids=["nothing", "a plain image", "no image", "torn"],
)
def test_what_is_no_edit_has_no_origins(data: bytes) -> None:
    assert read_origins(data) == ()


def test_pixels_are_named_as_readers_of_arrays_name_them() -> None:
    from tasks.datasets import digits

    first = next(iter(digits.build(digits.Config()).read("train")))
    assert pixels_sha256(first.pixels) == first.sha256
