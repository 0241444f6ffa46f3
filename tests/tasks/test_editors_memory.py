"""Where pipelines are placed, what they compute in, and how many images they take at once."""

from collections.abc import Sequence

import pytest
import torch

from tasks.editors._batches import Batches
from tasks.editors._memory import (
    EDIT_BYTES_PER_PIXEL,
    MOST_AT_ONCE,
    WORKING_BYTES,
    decode_bytes,
    first_batch_size,
    placement,
    resolved_dtype,
)
from tasks.errors import InputError

GIB = 2**30


def test_placement_follows_what_is_free() -> None:
    flux = {"transformer": 24 * GIB, "text_encoder_2": 10 * GIB, "vae": GIB // 4}
    assert placement(flux, 80 * GIB) == "whole"
    assert placement(flux, sum(flux.values()) + WORKING_BYTES) == "whole"
    assert placement(flux, sum(flux.values()) + WORKING_BYTES - 1) == "by model"
    assert placement(flux, 26 * GIB) == "by model"
    assert placement(flux, 26 * GIB - 1) == "by layer"
    assert placement({}, WORKING_BYTES) == "whole"


def test_a_decoder_of_sdxl_takes_about_four_gib() -> None:
    assert 3 * GIB < decode_bytes(128, 1024**2, 2) < 5 * GIB


def test_first_batches_follow_what_is_free_and_the_size() -> None:
    assert [first_batch_size(None, side**2) for side in (28, 1024)] == [1, 1]
    one = EDIT_BYTES_PER_PIXEL * 512**2
    found = [first_batch_size(free, 512**2) for free in (0, one, 2 * one, 3 * one, 100 * one)]
    assert found == [1, 1, 2, 2, MOST_AT_ONCE]


def test_dtypes() -> None:
    cpu = torch.device("cpu")
    assert resolved_dtype("auto", cpu) is torch.float32
    assert resolved_dtype("bfloat16", cpu) is torch.bfloat16
    with pytest.raises(InputError, match="float16 needs a GPU"):
        resolved_dtype("float16", cpu)


def test_batches_shrink_once_and_for_good() -> None:
    asked: list[int] = []

    def work(part: Sequence[int]) -> list[int]:
        asked.append(len(part))
        if len(part) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return [2 * each for each in part]

    batches = Batches(8)
    assert list(batches.run(range(10), work)) == [2 * each for each in range(10)]
    assert asked == [8, 4, 2, 2, 2, 2, 2]
    assert list(batches.run(range(4), work)) == [0, 2, 4, 6]
    assert asked[7:] == [2, 2]


def test_one_image_too_many_is_the_users_to_mend_and_other_errors_are_not() -> None:
    def out(part: Sequence[int]) -> list[int]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def wrong(part: Sequence[int]) -> list[int]:
        raise RuntimeError("sizes do not match")

    with pytest.raises(InputError, match="out of memory with one image: lower size"):
        list(Batches(4).run([1, 2], out))
    with pytest.raises(RuntimeError, match="sizes do not match"):
        list(Batches(4).run([1, 2], wrong))
