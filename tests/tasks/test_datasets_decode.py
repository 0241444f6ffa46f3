"""Bytes of images become pixels, whatever form they are in; what is damaged is refused."""

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.datasets._decode import decode
from tasks.errors import InputError
from tasks.packs import Pixels
from tests.tasks.test_datasets import pixels_of


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
