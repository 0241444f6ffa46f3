"""Every dataset says what it holds before it is read, and reads just that; bad files are named."""

import dataclasses
import gzip
import hashlib
import http.server
import io
import random
import shutil
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tasks import plugins
from tasks.datasets import digits, fashion_mnist, image_folder
from tasks.datasets._decode import decode
from tasks.errors import InputError
from tasks.packs import Example, Pixels, split_digest
from tasks.reading import DataMissing, Reader
from tasks.specs import DatasetInfo, Plugin, canonical


def unremembered(path: Path, what: str, compute: Callable[[Path], str]) -> str:
    """Facts of files without a cache."""
    return compute(path)


def identified(reader: Reader) -> DatasetInfo:
    return reader.identify(unremembered)


def pixels_of(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, image: Image.Image | npt.NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


# What holds for every file


def make_idx(root: Path, split: str, labels: list[int], suffix: str = ".gz") -> None:
    images = pixels_of(len(labels), len(labels), 28, 28)
    header = struct.pack(">4I", 0x803, len(labels), 28, 28)
    write_idx(root, split, "images-idx3", header + images.tobytes(), suffix)
    body = struct.pack(">2I", 0x801, len(labels)) + bytes(labels)
    write_idx(root, split, "labels-idx1", body, suffix)


def write_idx(root: Path, split: str, part: str, data: bytes, suffix: str = ".gz") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{fashion_mnist.PREFIXES[split]}-{part}-ubyte{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    return path


def small_fashion(root: Path) -> fashion_mnist.Config:
    make_idx(root, "train", [*range(10), 3, 3])
    make_idx(root, "test", [9, 1, 5])
    return fashion_mnist.Config(root=str(root))


def small_folder(root: Path) -> image_folder.Config:
    for index in range(20):
        save(root / "ab"[index % 2] / f"{index}.png", pixels_of(index, 6, 5 + index % 3))
    return image_folder.Config(root=str(root))


SMALL: dict[str, Callable[[Path], Any]] = {
    "digits": lambda root: digits.Config(),
    "fashion_mnist": small_fashion,
    "image_folder": small_folder,
}
"""How to make a little of each dataset; a new file of `tasks/datasets` belongs here too."""


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
    if source.name != "fashion_mnist":  # its files number their images from 0 each
        assert not set(train) & set(test)


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
    assert sum(digits.SPLITS["train"].counts) == 1000
    assert sum(digits.SPLITS["test"].counts) == digits.NUM_TEST == 797


def test_digits_use_the_whole_range() -> None:
    examples = list(digits.build(digits.Config()).read("train"))
    values = np.stack([example.pixels for example in examples])
    assert values.shape == (1000, 8, 8, 1)
    assert (values.min(), values.max()) == (0, 255)
    assert len(np.unique(values)) == 17


# Fashion-MNIST


def fashion(root: Path, mirror: str = "http://127.0.0.1:9") -> fashion_mnist.FashionMNIST:
    return fashion_mnist.build(fashion_mnist.Config(root=str(root), mirror=mirror))


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
    make_idx(tmp_path, "train", [0], suffix)
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


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and keeps no log."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A real server on loopback, and the folder that it serves."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put small files where the published ones would be."""
    small_fashion(folder)
    sums = {n: hashlib.md5((folder / n).read_bytes()).hexdigest() for n in fashion_mnist.MD5}
    monkeypatch.setattr(fashion_mnist, "MD5", sums)


def test_missing_files_are_downloaded_once(
    mirror: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = mirror
    publish(folder, monkeypatch)
    reader = fashion(tmp_path / "mine", url)
    with pytest.raises(DataMissing, match=r"train-images-idx3-ubyte\.gz is not in"):
        identified(reader)
    reader.fetch()
    assert identified(reader) == identified(fashion(folder))
    assert {path.name for path in (tmp_path / "mine").iterdir()} == set(fashion_mnist.MD5)
    shutil.rmtree(folder)
    reader.fetch()


def test_a_download_with_a_wrong_sum_is_not_kept(
    mirror: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = mirror
    publish(folder, monkeypatch)
    write_idx(folder, "train", "images-idx3", b"something else")
    with pytest.raises(InputError, match=r"gave md5 [0-9a-f]{32}, published is [0-9a-f]{32}"):
        fashion(tmp_path / "mine", url).fetch()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_file_that_is_not_published_there_is_named(
    mirror: tuple[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        DataMissing, match=r"train-images-idx3-ubyte\.gz .* cannot be fetched .*404"
    ):
        fashion(tmp_path / "mine", mirror[0]).fetch()
    assert list((tmp_path / "mine").iterdir()) == []


def test_without_a_root_the_cache_holds_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path))
    small_fashion(tmp_path / "fashion_mnist")
    reader = fashion_mnist.build(fashion_mnist.Config())
    assert sum(identified(reader).splits["train"].counts) == 12


# Folders


def folder(root: Path, **settings: Any) -> image_folder.ImageFolder:
    return image_folder.build(image_folder.Config(root=str(root), **settings))


def sources_of(reader: Reader, split: str) -> list[str]:
    return [example.source for example in reader.read(split)]


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


def test_settings_of_an_image_folder_are_in_no_key(tmp_path: Path) -> None:
    """Its digests say all; how a split was made is no part of it."""
    assert canonical(folder(tmp_path, skip_bad=True, test_fraction=0.5, test="x").config) == {}


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


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


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


# Decoding


def decoded(image: Image.Image, kind: str = "PNG", **options: Any) -> Pixels:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return decode(buffer.getvalue(), "test")


RGB = pixels_of(0, 5, 7, 3)
GREY = pixels_of(1, 5, 7)


def test_grey_has_one_channel_and_colour_three() -> None:
    assert np.array_equal(decoded(Image.fromarray(GREY)), GREY[..., None])
    assert np.array_equal(decoded(Image.fromarray(RGB)), RGB)


def test_rotation_by_exif_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    assert np.array_equal(decoded(Image.fromarray(RGB), exif=exif), np.rot90(RGB, -1))


def test_a_palette_is_resolved() -> None:
    image = Image.fromarray(RGB).quantize(4)
    assert np.array_equal(decoded(image), np.asarray(image.convert("RGB")))


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 128, 255)
    assert decoded(Image.fromarray(rgba))[0].tolist() == [[255] * 3, [127] * 3, [0] * 3]
    grey = np.zeros((1, 2, 2), np.uint8)
    grey[0, :, 1] = (0, 255)
    assert decoded(Image.fromarray(grey, "LA"))[0].tolist() == [[255], [0]]


def test_a_transparent_colour_is_laid_on_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert decoded(palette, transparency=1)[0].tolist() == [[10, 20, 30], [255, 255, 255]]
    grey = Image.fromarray(np.array([[7, 9]], np.uint8))
    assert decoded(grey, transparency=9)[0].tolist() == [[7], [255]]


def test_sixteen_bits_are_scaled_by_their_range() -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert decoded(Image.fromarray(values))[0].tolist() == [[0], [1], [128], [255]]
    # However dark an image is: one scale for all images.
    dark = np.array([[0, 100, 255]], np.uint16)
    assert decoded(Image.fromarray(dark))[0].tolist() == [[0], [0], [1]]


def test_one_bit_is_black_and_white() -> None:
    bits = Image.fromarray(np.array([[True, False]]))
    assert bits.mode == "1"
    assert decoded(bits)[0].tolist() == [[255], [0]]


def test_cmyk_becomes_colour() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    found = decoded(cmyk, "JPEG", quality=100)
    assert found.shape == (8, 8, 3)
    assert np.abs(found[0, 0].astype(int) - (255, 0, 0)).max() < 8


def test_what_is_huge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"test: not a readable image .*decompression bomb"):
        decoded(Image.fromarray(GREY))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM"])
def test_damaged_bytes_are_an_image_or_an_error(kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind)
    whole, rng = buffer.getvalue(), random.Random(0)
    refused = 0
    for length in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        for data in (whole[:length], bytes(damaged)):
            try:
                found = decode(data, "some/path")
            except InputError:
                refused += 1
            else:
                assert found.dtype == np.uint8
                assert found.shape[2] in (1, 3)
    assert refused > 2


def test_examples_hash_the_file_and_not_the_pixels(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "1.png", GREY)
    (example,) = folder(tmp_path).read("all")
    assert isinstance(example, Example)
    assert example.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
