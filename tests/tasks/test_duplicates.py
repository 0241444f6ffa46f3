"""Copies of training images among the test images are found, and what is only alike is not."""

import hashlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageEnhance

from tasks import plugins
from tasks.duplicates import Pair, duplicates, excluded, pairs
from tasks.packs import Example, Pixels, read_all, write_pack
from tasks.results import read_result
from tasks.specs import DuplicatesSpec

SPEC = DuplicatesSpec(train="0" * 64, test="1" * 64)
NUM_TRAIN, NUM_TEST = 300, 40


def scene(seed: int, side: int = 48, channels: int = 3) -> Pixels:
    """A picture with forms of all sizes, as photographs have them."""
    generator = np.random.default_rng(seed)
    total = np.zeros((side, side, channels))
    for cells in (2, 4, 8, 16):
        noise = generator.integers(0, 256, (cells, cells, channels), np.uint8)
        image = Image.fromarray(noise[..., 0] if channels == 1 else noise)
        scaled = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float64)
        total += scaled.reshape(side, side, channels) / cells**0.5
    total -= total.min()
    pixels: Pixels = np.rint(total * (255 / total.max())).astype(np.uint8)
    return pixels


def example(pixels: Pixels, source: str, data: bytes = b"") -> Example:
    sha = hashlib.sha256(data or pixels.tobytes()).hexdigest()
    return Example(pixels=pixels, label=0, source=source, sha256=sha)


def packed(out: Path, examples: Iterable[Example]) -> Path:
    out.mkdir()
    found = list(examples)
    read_all(write_pack(out, lambda: found, ["a"], None, len(found)))
    return out


def searched(folder: Path, train: Iterable[Example], test: Iterable[Example]) -> tuple[Pair, ...]:
    out = folder / "out"
    out.mkdir()
    old, new = packed(folder / "train", train), packed(folder / "test", test)
    read_all(duplicates(SPEC, old, new, out))
    return pairs(out)


def trained() -> list[Example]:
    return [example(scene(seed), f"train {seed}") for seed in range(NUM_TRAIN)]


def honest() -> list[Example]:
    return [example(scene(1000 + seed), f"test {seed}") for seed in range(NUM_TEST)]


def as_jpeg(pixels: Pixels) -> Pixels:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=40)
    return np.asarray(Image.open(data))


def brighter(pixels: Pixels) -> Pixels:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(1.3))


def cropped(pixels: Pixels) -> Pixels:
    side = pixels.shape[0]
    box = (side * 0.03, side * 0.03, side * 0.95, side * 0.95)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, box)
    return np.asarray(image)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "jpeg": as_jpeg,
    "mirrored": lambda pixels: pixels[:, ::-1],
    "brighter": brighter,
    "cropped": cropped,
    "moved": lambda pixels: np.roll(pixels, 2, axis=(0, 1)),
    "mirrored jpeg": lambda pixels: as_jpeg(pixels[:, ::-1].copy()),
}


def test_equal_pixels_and_equal_files_are_exact(tmp_path: Path) -> None:
    train, test = trained(), honest()
    test[3] = example(train[7].pixels, "pixels", b"another file of equal pixels")
    # A file that decodes to other pixels here is the same file nevertheless.
    test[9] = example(scene(5000), "file", train[8].pixels.tobytes())
    found = searched(tmp_path, train, test)
    assert found == (
        Pair(
            test=3, train=7, test_source="pixels", train_source="train 7", kind="exact", distance=0
        ),
        Pair(test=9, train=8, test_source="file", train_source="train 8", kind="exact", distance=0),
    )


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_near(change: str, tmp_path: Path) -> None:
    train, test = trained(), honest()
    copied = {2: 11, 20: 299, 39: 0}
    for row, of in copied.items():
        test[row] = example(CHANGES[change](train[of].pixels), f"copy of {of}")
    found = searched(tmp_path, train, test)
    assert {pair.test: pair.train for pair in found} == copied
    assert {pair.kind for pair in found} == {"near"}
    assert all(0 <= pair.distance < 0.3 for pair in found)


def test_mirrored_copies_are_found_at_any_size(tmp_path: Path) -> None:
    """28 pixels are no multiple of the thumbnails' 8, which must be symmetrical all the same."""
    train = [example(scene(seed, 28, 1), f"{seed}") for seed in range(NUM_TRAIN)]
    test = [example(train[seed].pixels[:, ::-1], f"{seed}") for seed in range(NUM_TEST)]
    found = searched(tmp_path, train, test)
    assert [(pair.test, pair.train) for pair in found] == [(n, n) for n in range(NUM_TEST)]
    assert max(pair.distance for pair in found) < 1e-4


def test_what_was_found_is_counted_and_can_be_left_out(tmp_path: Path) -> None:
    train, test = trained(), honest()
    test[30] = example(train[4].pixels, "exact")
    test[5] = example(as_jpeg(train[6].pixels), "near")
    assert [pair.test for pair in searched(tmp_path, train, test)] == [5, 30]
    rows = excluded(tmp_path / "out")
    assert rows.tolist() == [5, 30]
    assert rows.dtype == np.int64
    result = read_result(tmp_path / "out")
    assert result.pop("seconds") > 0
    assert result == {"num_exact": 1, "num_near": 1, "num_test": 40, "num_train": 300}


def test_honest_images_give_none(tmp_path: Path) -> None:
    assert searched(tmp_path, trained(), honest()) == ()
    assert excluded(tmp_path / "out").tolist() == []


def test_images_of_different_shapes_are_compared(tmp_path: Path) -> None:
    train = [example(scene(seed, 64 + 8 * (seed % 2)), f"{seed}") for seed in range(60)]
    test = honest()
    small = Image.fromarray(train[9].pixels).resize((40, 40), Image.Resampling.LANCZOS)
    test[1] = example(np.asarray(small), "smaller")
    assert [(pair.test, pair.train) for pair in searched(tmp_path, train, test)] == [(1, 9)]


def test_flat_images_are_near_to_nothing(tmp_path: Path) -> None:
    def flat(value: int) -> npt.NDArray[np.uint8]:
        return np.full((48, 48, 3), value, np.uint8)

    train = [*trained(), example(flat(0), "black")]
    test = [*honest(), example(flat(255), "white"), example(flat(0), "black too")]
    assert [(p.test, p.kind) for p in searched(tmp_path, train, test)] == [(NUM_TEST + 1, "exact")]


@pytest.mark.parametrize(("num_train", "num_test"), [(0, 3), (3, 0), (1, 3), (0, 0)])
def test_few_images_do_no_harm(num_train: int, num_test: int, tmp_path: Path) -> None:
    assert searched(tmp_path, trained()[:num_train], honest()[:num_test]) == ()


def test_digits_hold_none(tmp_path: Path) -> None:
    """No two of the 1,797 images are equal, and 8 × 8 pixels cannot show more than that."""
    reader = plugins.build("datasets", plugins.plugin("datasets", "digits"))
    assert searched(tmp_path, reader.read("train"), reader.read("test")) == ()


def test_copies_of_digits_are_found(tmp_path: Path) -> None:
    reader = plugins.build("datasets", plugins.plugin("datasets", "digits"))
    train = list(reader.read("train"))
    faint = np.rint(train[5].pixels * 0.8).astype(np.uint8)
    found = searched(tmp_path, train, [*reader.read("test"), example(faint, "faint")])
    assert [(pair.test_source, pair.train, pair.kind) for pair in found] == [("faint", 5, "near")]
