"""A pack gives back the pixels it was given, in any shape, and subsets of it nest."""

import hashlib
import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks import plugins
from tasks.datasets import image_folder
from tasks.errors import InputError
from tasks.pack import gather, pack
from tasks.packs import (
    SHORT_SIDE,
    Example,
    Pack,
    held_out,
    read_all,
    resized,
    select,
    select_first,
    squared,
    write_pack,
)
from tasks.results import read_result
from tasks.specs import GatherSpec, ImagesSpec, PackSpec

CLASSES = ("a", "b")


def pixels_of(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def examples_of(*shapes: tuple[int, ...]) -> list[Example]:
    """Images of these shapes, of both classes by turns."""
    return [
        Example(
            pixels=(image := pixels_of(index, *shape)),
            label=index % 2,
            source=f"{index:03d}",
            sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        )
        for index, shape in enumerate(shapes)
    ]


def written(out: Path, examples: Sequence[Example], size: int | None = None) -> Pack:
    out.mkdir(parents=True)
    read_all(write_pack(out, lambda: examples, CLASSES, size, len(examples)))
    return Pack(out)


def test_uniform_images_come_back_as_they_were(tmp_path: Path) -> None:
    examples = examples_of(*[(6, 4, 3)] * 5)
    found = written(tmp_path / "pack", examples)
    assert (found.shape, found.channels, found.side, len(found)) == ((3, 6, 4), 3, 4, 5)
    assert found.classes == CLASSES
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert found.sources == [e.source for e in examples]
    assert found.hashes == [e.sha256 for e in examples]
    for index, example in enumerate(examples):
        assert np.array_equal(found.image(index), example.pixels)
    array = found.array(np.array([3, 1, 1]))
    assert np.array_equal(array, np.stack([examples[i].pixels for i in (3, 1, 1)]))
    batch = found.batch(np.array([3]))
    assert tuple(batch.shape) == (1, 3, 6, 4)
    assert np.array_equal(batch[0].numpy(), examples[3].pixels.transpose(2, 0, 1))


def test_images_that_differ_are_scaled_to_one_short_side(tmp_path: Path) -> None:
    found = written(tmp_path / "pack", examples_of((300, 400, 1), (512, 300, 1), (256, 256, 1)))
    assert found.shape is None
    assert found.side == SHORT_SIDE
    assert [found.image(i).shape for i in range(3)] == [
        (256, 341, 1),
        (437, 256, 1),
        (256, 256, 1),
    ]
    with pytest.raises(ValueError, match="differ in shape: give a side"):
        found.array(np.array([0]))
    assert found.array(np.array([0, 1, 2]), 16).shape == (3, 16, 16, 1)
    assert found.array(np.array([], np.int64), 16).shape == (0, 16, 16, 1)


def test_a_size_scales_all_images_and_keeps_their_aspect(tmp_path: Path) -> None:
    examples = examples_of((10, 20, 3), (8, 8, 3))
    found = written(tmp_path / "pack", examples, size=16)
    assert [found.image(i).shape for i in range(2)] == [(16, 32, 3), (16, 16, 3)]
    assert np.array_equal(found.image(0), resized(examples[0].pixels, 16))
    square = written(tmp_path / "square", examples_of((8, 8, 1), (4, 4, 1)), size=8)
    assert square.shape == (1, 8, 8)


@pytest.mark.parametrize("colour", [0, 1, 2])
def test_grey_images_become_colour_beside_coloured_ones(colour: int, tmp_path: Path) -> None:
    shapes = [(4, 4, 1)] * 3
    shapes[colour] = (4, 4, 3)
    examples = examples_of(*shapes)
    found = written(tmp_path / "pack", examples)
    assert (found.shape, found.channels) == ((3, 4, 4), 3)
    for index, example in enumerate(examples):
        assert np.array_equal(found.image(index), np.broadcast_to(example.pixels, (4, 4, 3)))


@pytest.mark.parametrize(
    "shapes",
    [
        [(300, 300, 1), (300, 310, 1), (300, 300, 3)],
        [(300, 300, 1), (300, 300, 3), (300, 310, 1)],
        [(300, 300, 3), (300, 310, 1), (300, 300, 3)],
    ],
)
def test_images_may_differ_in_shape_and_channels(
    shapes: list[tuple[int, ...]], tmp_path: Path
) -> None:
    found = written(tmp_path / "pack", examples_of(*shapes))
    assert (found.shape, found.channels, found.side) == (None, 3, SHORT_SIDE)
    assert (tmp_path / "pack" / "pixels.bin").stat().st_size == sum(
        found.image(i).size for i in range(3)
    )


def test_a_pack_may_hold_nothing(tmp_path: Path) -> None:
    found = written(tmp_path / "pack", [])
    assert (len(found), found.classes) == (0, CLASSES)


def test_squares_are_cut_from_the_middle() -> None:
    wide = np.zeros((4, 8, 1), np.uint8)
    wide[:, 2:6] = 200
    assert squared(wide, 4).tolist() == np.full((4, 4, 1), 200).tolist()
    assert squared(wide.transpose(1, 0, 2), 4).tolist() == np.full((4, 4, 1), 200).tolist()
    assert squared(pixels_of(0, 9, 5, 3), 3).shape == (3, 3, 3)


def test_a_side_of_its_own_is_no_change() -> None:
    image = pixels_of(0, 6, 9, 3)
    assert resized(image, 6) is image


def test_nothing_reaches_the_file(tmp_path: Path) -> None:
    examples = examples_of(*[(4, 4, 1)] * 4)
    found = written(tmp_path / "pack", examples)
    before = (tmp_path / "pack" / "pixels.bin").read_bytes()
    for image in (found.image(0), found.array(np.arange(4)), found.batch(np.arange(4)).numpy()):
        image[:] = 0
    del found
    assert (tmp_path / "pack" / "pixels.bin").read_bytes() == before
    assert np.array_equal(Pack(tmp_path / "pack").image(0), examples[0].pixels)


# Subsets


def spec_of(validation: int, training: int, seed: int = 0) -> ImagesSpec:
    return ImagesSpec(
        pack="p", split_seed=seed, validation=(validation,) * 2, training=(training,) * 2
    )


@pytest.fixture
def twenty(tmp_path: Path) -> Pack:
    return written(tmp_path / "twenty", examples_of(*[(4, 4, 1)] * 20))


def test_subsets_nest_beside_one_validation(twenty: Pack) -> None:
    validation, largest = select(twenty, spec_of(2, 8))
    assert len(validation) == 4
    assert sorted([*validation, *largest]) == list(range(20))
    for count in range(9):
        same, smaller = select(twenty, spec_of(2, count))
        assert same.tolist() == validation.tolist()
        for label in (0, 1):
            mine = [i for i in largest if twenty.labels[i] == label]
            assert [i for i in smaller if twenty.labels[i] == label] == mine[:count]


def test_a_selection_follows_content_and_not_order(tmp_path: Path, twenty: Pack) -> None:
    examples = [
        Example(pixels=twenty.image(i), label=int(twenty.labels[i]), source=s, sha256=h)
        for i, (s, h) in enumerate(zip(twenty.sources, twenty.hashes, strict=True))
    ]
    other = written(tmp_path / "other", examples[::-1])
    for index in (0, 1):
        here = [twenty.hashes[i] for i in select(twenty, spec_of(2, 4))[index]]
        there = [other.hashes[i] for i in select(other, spec_of(2, 4))[index]]
        assert here == there


def test_the_split_seed_decides(twenty: Pack) -> None:
    drawn = {tuple(select(twenty, spec_of(2, 4, seed))[0].tolist()) for seed in range(10)}
    assert len(drawn) > 5


def test_equal_images_are_told_apart_by_name(tmp_path: Path) -> None:
    same = [replace(examples_of((4, 4, 1))[0], source=name) for name in ("c", "a", "b")]
    found = written(tmp_path / "pack", same)
    spec = ImagesSpec(pack="p", split_seed=0, validation=(1, 0), training=(2, 0))
    validation, training = select(found, spec)
    assert [found.sources[i] for i in (*validation, *training)] == ["a", "b", "c"]


def test_more_than_a_class_holds_is_refused(twenty: Pack) -> None:
    with pytest.raises(ValueError, match=r"class 'a' holds 10 images, 3 \+ 8 were asked for"):
        select(twenty, spec_of(3, 8))


def test_the_first_of_a_set_nest(twenty: Pack) -> None:
    whole = select_first(twenty, (10, 10))
    assert sorted(whole) == list(range(20))
    assert select_first(twenty, (3, 0)).tolist() == whole[:3].tolist()
    assert select_first(twenty, (0, 4)).tolist() == whole[10:14].tolist()


# Folds and validation images of their own


@pytest.mark.parametrize("of", [2, 3, 5, 10])
def test_folds_hold_out_each_image_once(of: int, twenty: Pack) -> None:
    seen: list[int] = []
    for index in range(of):
        spec = replace(spec_of(0, 0), fold=(index, of))
        mine = held_out(twenty, spec).tolist()
        left = (20 - len(mine)) // 2
        validation, training = select(twenty, replace(spec, training=(left,) * 2))
        assert len(validation) == 0
        assert sorted([*mine, *training]) == list(range(20))
        assert abs(len(mine) - 20 / of) < 2
        seen += mine
    assert sorted(seen) == list(range(20))


def test_a_fold_is_neither_validated_nor_trained_on(twenty: Pack) -> None:
    for index in range(4):
        spec = replace(spec_of(2, 3), fold=(index, 4))
        tested, (validation, training) = held_out(twenty, spec), select(twenty, spec)
        assert len({*tested, *validation, *training}) == len(tested) + 4 + 6
        _, fewer = select(twenty, replace(spec, training=(1, 1)))
        assert set(fewer) <= set(training)


def test_without_folds_nothing_is_held_out(twenty: Pack) -> None:
    assert held_out(twenty, spec_of(2, 3)).tolist() == []


def test_a_fold_leaves_fewer_to_ask_for(twenty: Pack) -> None:
    with pytest.raises(ValueError, match=r"class 'a' holds 5 images, 2 \+ 4 were asked for"):
        select(twenty, replace(spec_of(2, 4), fold=(0, 2)))


def test_validation_images_of_their_own_take_none_away(twenty: Pack) -> None:
    spec = replace(spec_of(7, 10), validation_pack="v")
    validation, training = select(twenty, spec)
    assert len(validation) == 0
    assert sorted(training) == list(range(20))


# The steps


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for index in range(10):
        path = tmp_path / "images" / CLASSES[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels_of(index, 6, 6)).save(path)
    return tmp_path / "images"


def pack_spec(root: Path, **changes: Any) -> PackSpec:
    reader = plugins.plugin("datasets", "image_folder", image_folder.Config(root=str(root)))
    info = plugins.build("datasets", reader).identify(lambda path, _, compute: compute(path))
    spec = PackSpec(
        reader=reader,
        split="train",
        size=None,
        digest=info.splits["train"].digest,
        classes=info.classes,
    )
    return replace(spec, **changes)


def packed(spec: PackSpec, out: Path) -> Pack:
    out.mkdir()
    read_all(pack(spec, out, 8))
    return Pack(out)


def test_a_split_is_packed_once_for_all(images: Path, tmp_path: Path) -> None:
    found = packed(pack_spec(images), tmp_path / "one")
    assert (len(found), found.shape, found.classes) == (8, (1, 6, 6), CLASSES)
    assert read_result(tmp_path / "one")["images"] == 8
    again = packed(pack_spec(images), tmp_path / "two")
    for name in ("pixels.bin", "pack.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert again.hashes == found.hashes
    assert packed(pack_spec(images, size=12), tmp_path / "three").shape == (1, 12, 12)


def test_data_that_changed_after_it_was_looked_at_is_refused(images: Path, tmp_path: Path) -> None:
    spec = pack_spec(images)
    for path in sorted(images.rglob("*.png")):
        Image.fromarray(pixels_of(99, 6, 6)).save(path)
    with pytest.raises(InputError, match=r"image_folder: the train images changed .* run it again"):
        packed(spec, tmp_path / "pack")
    assert not (tmp_path / "pack" / "result.json").exists()


def test_a_class_that_appeared_after_it_was_looked_at_is_refused(
    images: Path, tmp_path: Path
) -> None:
    spec = pack_spec(images)
    shutil.copytree(images / "b", images / "c")
    with pytest.raises(InputError, match=r"the train images changed"):
        packed(spec, tmp_path / "pack")


def shard(out: Path, rows: Sequence[tuple[int, int, npt.NDArray[np.uint8]]]) -> Path:
    """A shard as `tasks.generate` writes it: label, index in the class, pixels."""
    out.mkdir()
    table = []
    for label, index, image in rows:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        table.append({"image": {"bytes": buffer.getvalue()}, "label": label, "class_index": index})
    pq.write_table(pa.Table.from_pylist(table), out / "shard.parquet")
    return out


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3)])
def test_shards_are_gathered_in_their_order(shape: tuple[int, ...], tmp_path: Path) -> None:
    made = [pixels_of(index, *shape) for index in range(5)]
    shards = [
        shard(tmp_path / "one", [(0, 0, made[0]), (0, 1, made[1]), (1, 0, made[2])]),
        shard(tmp_path / "two", [(1, 1, made[3]), (1, 2, made[4])]),
    ]
    spec = GatherSpec(synthetic="s", shards=("1", "2"), classes=CLASSES, size=None)
    out = tmp_path / "gathered"
    out.mkdir()
    read_all(gather(spec, shards, out, 5))
    found = Pack(out)
    assert found.labels.tolist() == [0, 0, 1, 1, 1]
    assert found.sources == ["0/000000", "0/000001", "1/000000", "1/000001", "1/000002"]
    for index, image in enumerate(made):
        assert np.array_equal(found.image(index), image.reshape(4, 4, -1))
    assert read_result(out)["images"] == 5
