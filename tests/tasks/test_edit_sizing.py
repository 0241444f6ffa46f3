"""Images on their way to a model's size and back."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_sample_image

from tasks.editing import Mask
from tasks.edits.sizing import How, Takes, fit, keep_outside, resized, with_channels
from tasks.errors import InputError
from tasks.packs import Pixels

SIDES = st.integers(8, 600)
HOWS = st.sampled_from(["resize", "pad"])
MULTIPLES = st.sampled_from([1, 8, 16, 64])


def photo(height: int, width: int, channels: int = 3) -> Pixels:
    """The upper left part of a photograph, mirrored where that ends."""
    image = np.asarray(load_sample_image("flower.jpg"))[:height, :width]
    beyond = ((0, height - image.shape[0]), (0, max(0, width - image.shape[1])), (0, 0))
    return with_channels(np.pad(image, beyond, mode="reflect"), channels)


def box(height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.bool_)
    mask[height // 3 : height // 2 + 1, width // 4 : width // 2 + 1] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, channels=st.sampled_from([1, 3]), multiple=MULTIPLES, how=HOWS)
def test_shape_and_channels_come_back(
    height: int, width: int, channels: int, multiple: int, how: How
) -> None:
    image, mask = photo(height, width, channels), box(height, width)
    fitted = fit(image, mask, Takes(multiple=multiple), how)
    assert fitted.image.dtype == np.uint8
    assert fitted.image.shape[2] == 3
    assert all(side % multiple == 0 for side in fitted.image.shape[:2])
    assert fitted.mask is not None
    assert fitted.mask.shape == fitted.image.shape[:2]
    assert fitted.mask.any()
    back = fitted.restore(fitted.image)
    assert back.shape == image.shape
    assert back.dtype == np.uint8
    if how == "pad":
        assert (back == image).all()
    else:
        assert np.abs(back.astype(int) - image).mean() < 40


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, how=HOWS, budget=st.sampled_from([64**2, 200**2, 512**2]))
def test_a_budget_of_pixels_is_kept(height: int, width: int, how: How, budget: int) -> None:
    assume(max(height, width) <= 32 * min(height, width))
    image = photo(height, width)
    fitted = fit(image, None, Takes(multiple=16, pixels=budget), how)
    rows, columns = fitted.image.shape[:2]
    assert rows * columns <= budget
    assert rows % 16 == columns % 16 == 0
    if how == "resize":
        # Half a multiple on the short side is what rounding can cost.
        short = min(rows, columns)
        assert rows * columns >= budget * (1 - 24 / short) * (1 - 16 / max(rows, columns))
    assert fitted.restore(fitted.image).shape == image.shape


@settings(max_examples=40, deadline=None)
@given(
    height=SIDES, width=SIDES, size=st.sampled_from([(64, 64), (512, 512), (250, 384)]), how=HOWS
)
def test_models_of_one_size_get_it(
    height: int, width: int, size: tuple[int, int], how: How
) -> None:
    image = photo(height, width)
    fitted = fit(image, box(height, width), Takes(size=size), how)
    assert fitted.image.shape == (*size, 3)
    assert fitted.mask is not None
    assert fitted.mask.any()
    back = fitted.restore(fitted.image)
    assert back.shape == image.shape
    if how == "pad" and height <= size[0] and width <= size[1]:
        assert (back == image).all()


def test_padding_mirrors_image_and_mask_around_the_middle() -> None:
    image = np.arange(36, dtype=np.uint8).reshape(6, 6, 1)
    mask = np.zeros((6, 6), np.bool_)
    mask[1, 2] = True
    fitted = fit(image, mask, Takes(multiple=8, channels=1), "pad")
    assert fitted.image.shape == (8, 8, 1)
    assert (fitted.image[1:7, 1:7] == image).all()
    assert (fitted.image[0, 1:7] == image[1]).all()
    assert fitted.mask is not None
    # The row around the image is the one that lies one pixel inside of it.
    assert np.argwhere(fitted.mask).tolist() == [[0, 3], [2, 3]]


@settings(max_examples=60, deadline=None)
@given(
    mask=arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_a_scaled_mask_is_true_wherever_it_reaches(mask: Mask, size: tuple[int, int]) -> None:
    image = np.zeros((*mask.shape, 3), np.uint8)
    found = fit(image, mask, Takes(multiple=1, size=size)).mask
    assert found is not None
    for row, column in np.ndindex(*size):
        top, bottom = row * mask.shape[0] / size[0], (row + 1) * mask.shape[0] / size[0]
        left, right = column * mask.shape[1] / size[1], (column + 1) * mask.shape[1] / size[1]
        over = mask[
            int(np.floor(top + 1e-9)) : int(np.ceil(bottom - 1e-9)),
            int(np.floor(left + 1e-9)) : int(np.ceil(right - 1e-9)),
        ]
        assert found[row, column] == over.any()


def test_grey_images_come_back_grey_and_equal() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    fitted = fit(every, None, Takes())
    assert fitted.image.shape == (16, 16, 3)
    assert (fitted.restore(fitted.image) == every).all()
    colour = photo(16, 16)
    grey = fit(colour, None, Takes(channels=1))
    assert grey.image.shape == (16, 16, 1)
    assert grey.restore(grey.image).shape == (16, 16, 3)


def test_answers_of_another_size_are_scaled_first() -> None:
    image = photo(90, 120)
    fitted = fit(image, None, Takes(multiple=64), "pad")
    larger = resized(fitted.image, 256, 384)
    back = fitted.restore(larger)
    assert back.shape == image.shape
    assert np.abs(back.astype(int) - image).mean() < 6


def test_outside_of_the_mask_the_source_is_kept() -> None:
    source, mask = photo(40, 60), box(40, 60)
    found = keep_outside(source, 255 - source, mask)
    assert (found[~mask] == source[~mask]).all()
    assert (found[mask] == 255 - source[mask]).all()
    with pytest.raises(ValueError, match="edited"):
        keep_outside(source, source[:-1], mask)
    with pytest.raises(ValueError, match="mask"):
        keep_outside(source, source, mask[1:])


def test_a_too_narrow_image_is_refused_for_a_budget() -> None:
    with pytest.raises(InputError, match=r"an image of 400 × 8 pixels is too narrow .* 1 : 32"):
        fit(photo(8, 400), None, Takes(pixels=512**2))
    assert fit(photo(8, 400), None, Takes(), "pad").image.shape == (8, 400, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (0, 64)},
        {"size": (64, 64), "pixels": 4096},
        {"pixels": 10},
        {"channels": 4},
        {"multiple": 0},
    ],
)
def test_models_that_take_nothing(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Takes(**wrong)  # type: ignore[arg-type]
