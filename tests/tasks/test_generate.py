"""Sets are made in whole batches of images that can be asked for one by one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks import plugins
from tasks.errors import InputError
from tasks.generate import Sampler, image_seed, is_flat, shard_schema, shard_table
from tasks.generation import needs_sources
from tasks.generators import ddpm, vae
from tasks.packs import Pack, select
from tasks.results import read_result
from tasks.specs import SampleSpec, SetSpec
from tests.tasks.synthesis import IMAGES, a_set, fitted, make_shard, pixels_of, read_rows, rows_of

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = vae.Config(channels=(8, 16), latent_size=4, steps=200, lr=3e-3, beta=0.1, batch_size=16)
VAE = plugins.plugin("generators", "vae", TINY)


@pytest.fixture(scope="module")
def weights(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(VAE, real, tmp_path_factory.mktemp("vae"))


def a_vae_set(**sampling: Any) -> SetSpec:
    return a_set(VAE, vae.Sampling(**{"batch_size": 4, **sampling}))


def test_shards_are_whole_batches(real: Path, weights: Path, tmp_path: Path) -> None:
    for index, cuts in enumerate(([2, 8], [0, 6], [0, 20])):
        with pytest.raises(InputError, match="whole batches of 4"):
            rows_of(a_vae_set(), cuts, weights, real, tmp_path / str(index))


def test_an_image_seed_ignores_the_batch_size_alone() -> None:
    sampling = ddpm.Sampling()
    seed = image_seed(sampling, 0, 3, 5)
    assert seed == image_seed(replace(sampling, batch_size=7), 0, 3, 5)
    others = [
        image_seed(replace(sampling, eta=0.5), 0, 3, 5),
        image_seed(sampling, 1, 3, 5),
        image_seed(sampling, 0, 4, 5),
        image_seed(sampling, 0, 3, 6),
    ]
    assert len({seed, *others}) == 5
    assert all(0 <= number < 2**63 for number in others)


def test_any_image_can_be_drawn_and_written_as_a_shard(
    real: Path, weights: Path, tmp_path: Path
) -> None:
    rows = rows_of(a_vae_set(), [0, 16], weights, real, tmp_path / "set")
    sampler = Sampler(a_vae_set(), weights, real, "cpu")
    behind = sampler.make(sampler.places([(0, 3), (1, 0), (9, 70)]))
    again = sampler.make(sampler.places([(row["label"], row["class_index"]) for row in rows[:4]]))

    table = shard_table([*again, *behind], 5, sampler.classes)
    pq.write_table(table, tmp_path / "own.parquet")
    assert table.schema.equals(shard_schema(Pack(real).classes), check_metadata=True)
    own = pq.read_table(tmp_path / "own.parquet").to_pylist()
    assert [row["index"] for row in own] == list(range(5, 12))
    assert own[0] == {**rows[0], "index": 5}
    assert [row["image"] for row in own[:4]] == [row["image"] for row in rows[:4]]
    assert [(row["label"], row["class_index"]) for row in own[4:]] == [(0, 3), (1, 0), (9, 70)]
    assert np.array_equal(behind[0].pixels[..., 0], pixels_of(own)[4])
    assert len({row["image"]["bytes"] for row in own}) == 7


def test_a_batch_holds_no_more_than_the_sampling_says(real: Path, weights: Path) -> None:
    sampler = Sampler(a_vae_set(), weights, real, "cpu")
    for num in (0, 5):
        with pytest.raises(ValueError, match=f"{num} images in a batch of at most 4"):
            sampler.make(sampler.places([(0, n) for n in range(num)]))


@pytest.mark.parametrize("num_images", [7, 8])
def test_a_shard_of_flat_images_alone_is_a_failure(
    num_images: int, real: Path, weights: Path, tmp_path: Path
) -> None:
    collapsed = tmp_path / "collapsed"
    collapsed.mkdir()
    state = load_file(weights / "weights.safetensors")
    save_file({k: t.zero_() for k, t in state.items()}, collapsed / "weights.safetensors")
    whole = replace(a_vae_set(batch_size=num_images), counts=(num_images, *(0,) * 9))
    spec = SampleSpec(synthetic=whole, start=0, stop=num_images)

    if num_images < 8:  # a few may be flat by chance
        assert read_result(make_shard(spec, collapsed, real, tmp_path / "few"))["images"] == 7
        return
    with pytest.raises(ValueError, match=r"nothing but flat images \(8 of 8\)"):
        make_shard(spec, collapsed, real, tmp_path / "all")
    assert not (tmp_path / "all" / "result.json").exists()


def test_one_picture_among_flat_images_is_no_failure(
    real: Path, weights: Path, tmp_path: Path
) -> None:
    partly = tmp_path / "partly"
    partly.mkdir()
    state = load_file(weights / "weights.safetensors")
    for name, tensor in state.items():
        if name.endswith("bias"):
            tensor.zero_()
    state["expand.weight"][:, : TINY.latent_size] = 0
    state["decoder_label.weight"][0] = 0  # nothing is left of the first class
    save_file(state, partly / "weights.safetensors")
    whole = replace(a_vae_set(batch_size=9), counts=(8, 1, *(0,) * 8))
    shard = make_shard(
        SampleSpec(synthetic=whole, start=0, stop=9), partly, real, tmp_path / "shard"
    )
    flat = [is_flat(image[..., None]) for image in pixels_of(read_rows(shard))]
    assert flat == [True] * 8 + [False]


def test_flat_means_one_colour_and_not_one_level() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    assert is_flat(red)
    red[3, 3, 1] = 1
    assert not is_flat(red)


def test_reconstructions_name_their_sources_and_samples_have_none(
    real: Path, weights: Path, tmp_path: Path
) -> None:
    means = a_vae_set(mode="reconstruct", posterior="mean")
    rows = rows_of(means, [0, 16], weights, real, tmp_path / "means")
    samples = rows_of(a_vae_set(), [0, 16], weights, real, tmp_path / "samples")

    pack = Pack(real)
    by_hash = {pack.hashes[index]: index for index in select(pack, IMAGES)[1]}
    sources = [by_hash[row["source"]] for row in rows]
    assert len(set(sources)) == 16
    assert [int(pack.labels[index]) for index in sources] == [row["label"] for row in rows]
    seen = pack.array(np.array(sources))[..., 0].astype(np.int64)
    error = np.abs(pixels_of(rows) - seen).mean()
    assert error < 0.7 * np.abs(pixels_of(samples) - seen).mean()
    assert {row["source"] for row in samples} == {""}
    assert needs_sources(means.sampling)
    assert not needs_sources(vae.Sampling())
    assert not needs_sources(ddpm.Sampling())


def test_more_reconstructed_draws_than_images_go_round_and_means_are_refused(
    real: Path, weights: Path, tmp_path: Path
) -> None:
    drawn = replace(a_vae_set(mode="reconstruct", batch_size=16), counts=(8,) * 10)
    rows = rows_of(drawn, [0, 16], weights, real, tmp_path / "draws")
    first_class = rows[:8]
    assert first_class[0]["source"] == first_class[6]["source"]
    assert len({row["source"] for row in first_class}) == 6
    assert first_class[0]["image"]["bytes"] != first_class[6]["image"]["bytes"]
    means = replace(drawn, sampling=replace(drawn.sampling, posterior="mean"))
    with pytest.raises(
        InputError, match=r"each image once.*6 training.*8 are .*posterior='sample'"
    ):
        rows_of(means, [0, 16], weights, real, tmp_path / "means")


def test_a_set_that_cannot_be_made_to_its_end_is_refused_by_its_first_shard(
    real: Path, weights: Path
) -> None:
    means = vae.Sampling(mode="reconstruct", posterior="mean", batch_size=4)
    late = replace(a_set(VAE, means), counts=(1,) * 9 + (7,))
    with pytest.raises(InputError, match="class '9' has 6"):
        Sampler(late, weights, real, "cpu")
    sampler = Sampler(replace(late, counts=(1,) * 10), weights, real, "cpu")
    with pytest.raises(InputError, match="class '3' has 6"):
        sampler.places([(3, 5), (3, 6)])


def test_the_global_state_is_left_alone(real: Path, weights: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    rows_of(a_vae_set(), [0, 16], weights, real, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
