"""Every generator keeps its contract."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from tasks import plugins
from tasks.errors import InputError
from tasks.fit import fit
from tasks.generation import ImageInfo, check_image, image_info, to_pixels, to_signed
from tasks.generators import (
    biggan,
    cgan,
    clip_guided,
    ddpm,
    dvae,
    lsgan,
    vae,
    vanilla_gan,
    vqvae,
    wgan_gp,
)
from tasks.networks.averaging import update_average
from tasks.packs import Pack
from tasks.results import read_result
from tasks.specs import FitSpec, Plugin, SampleSpec, SetSpec
from tests.tasks.synthesis import (
    COUNTS,
    IMAGES,
    ROOT,
    TRAINING,
    Job,
    a_set,
    fitted,
    make_shard,
    make_shards_elsewhere,
    pixels_of,
    read_rows,
    rows_of,
)
from tests.tasks.trials import Memory

pytestmark = pytest.mark.usefixtures("one_thread")

GENERATORS = plugins.names("generators")
TINY_FITS: dict[str, Any] = {
    "biggan": biggan.Config(channels=8, latent_size=8, steps=6, batch_size=16),
    "cgan": cgan.Config(channels=8, latent_size=8, steps=6, batch_size=16),
    "clip_guided": clip_guided.Config(
        channels=(8, 16), clip_width=8, timesteps=20, steps=6, batch_size=16
    ),
    "ddpm": ddpm.Config(channels=(8, 16), timesteps=20, steps=6, batch_size=16),
    "dvae": dvae.Config(channels=(8, 16), latent_size=4, steps=6, batch_size=16),
    "lsgan": lsgan.Config(channels=8, latent_size=8, steps=6, batch_size=16),
    "vae": vae.Config(channels=(8, 16), latent_size=4, steps=6, batch_size=16),
    "vanilla_gan": vanilla_gan.Config(channels=8, latent_size=8, steps=6, batch_size=16),
    "vqvae": vqvae.Config(width=16, codes=16, code_size=8, steps=6, batch_size=16),
    "wgan_gp": wgan_gp.Config(channels=8, latent_size=8, steps=6, batch_size=8),
}
"""Settings that fit in a moment; a generator without an entry is tested with a few of its steps."""
TINY_SAMPLINGS: dict[str, Any] = {
    "biggan": biggan.Sampling(truncation=1.0, batch_size=4),
    "clip_guided": clip_guided.Sampling(steps=5, batch_size=4, eta=1.0),
    "ddpm": ddpm.Sampling(steps=5, batch_size=4, eta=1.0),
}


def tiny(name: str) -> Plugin:
    config = TINY_FITS.get(name)
    if config is None:
        config = replace(plugins.module("generators", name).Config(), steps=6, batch_size=16)
    return plugins.plugin("generators", name, config)


def tiny_sampling(name: str) -> Any:
    found = TINY_SAMPLINGS.get(name)
    return plugins.module("generators", name).Sampling(batch_size=4) if found is None else found


def tiny_set(name: str, seed: int = 0) -> SetSpec:
    return a_set(tiny(name), tiny_sampling(name), seed)


@pytest.fixture(scope="module")
def fits(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tiny fit of each generator, made once."""
    root = tmp_path_factory.mktemp("fits")

    def made(name: str) -> Path:
        out = root / name
        return out if out.exists() else fitted(tiny(name), real, out)

    return made


@pytest.fixture(scope="module")
def shards(
    real: Path, fits: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The tiny set of each generator as one shard, made once."""
    root = tmp_path_factory.mktemp("shards")

    def made(name: str) -> Path:
        out = root / name
        spec = SampleSpec(synthetic=tiny_set(name), start=0, stop=16)
        return out if out.exists() else make_shard(spec, fits(name), real, out)

    return made


@pytest.mark.parametrize("name", GENERATORS)
def test_sampled_rows_are_the_images_asked_for(name: str, shards: Callable[[str], Path]) -> None:
    rows = read_rows(shards(name))

    assert tuple(np.bincount([row["label"] for row in rows], minlength=10)) == COUNTS
    assert [row["index"] for row in rows] == list(range(16))
    assert [row["class_index"] for row in rows] == [n for count in COUNTS for n in range(count)]
    assert len({row["seed"] for row in rows}) == 16
    assert {row["source"] for row in rows} == {""}
    pixels = pixels_of(rows)
    assert pixels.shape == (16, 8, 8)
    assert (pixels.std((1, 2)) > 0).all()
    result = read_result(shards(name))
    assert result["images"] == 16
    assert result["images_per_s"] == pytest.approx(16 / result["seconds"])
    assert result["peak_memory_bytes"] > 0


@pytest.mark.parametrize("name", GENERATORS)
def test_bytes_do_not_depend_on_shards(
    name: str,
    real: Path,
    fits: Callable[[str], Path],
    shards: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    three = rows_of(tiny_set(name), [0, 4, 12, 16], fits(name), real, tmp_path)

    assert three == read_rows(shards(name))


def test_bytes_do_not_depend_on_the_process(
    real: Path, fits: Callable[[str], Path], shards: Callable[[str], Path], tmp_path: Path
) -> None:
    jobs: list[Job] = []
    for name in GENERATORS:
        spec = SampleSpec(synthetic=tiny_set(name), start=8, stop=16)
        jobs.append((spec, fits(name), real, tmp_path / name))
    make_shards_elsewhere(jobs)

    for name in GENERATORS:
        assert read_rows(tmp_path / name) == read_rows(shards(name))[8:], name


@pytest.mark.parametrize("name", GENERATORS)
def test_another_batch_size_moves_pixels_by_rounding_alone(
    name: str,
    real: Path,
    fits: Callable[[str], Path],
    shards: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    wider = replace(tiny_sampling(name), batch_size=16)
    rows = read_rows(shards(name))
    wide = rows_of(a_set(tiny(name), wider), [0, 16], fits(name), real, tmp_path)

    assert [row["seed"] for row in rows] == [row["seed"] for row in wide]
    moved = np.abs(pixels_of(rows) - pixels_of(wide))
    assert moved.max() <= 1
    assert np.mean(moved > 0) <= 0.01


@pytest.mark.parametrize("name", GENERATORS)
def test_the_set_seed_changes_every_image(
    name: str,
    real: Path,
    fits: Callable[[str], Path],
    shards: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    other = rows_of(tiny_set(name, seed=1), [0, 16], fits(name), real, tmp_path)

    assert (pixels_of(read_rows(shards(name))) != pixels_of(other)).any(axis=(1, 2)).all()


@pytest.mark.parametrize("name", GENERATORS)
def test_saved_weights_make_the_same_images(
    name: str, real: Path, fits: Callable[[str], Path]
) -> None:
    state = load_file(fits(name) / "weights.safetensors")
    images = []
    for seed in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            generator = plugins.build("generators", tiny(name), image_info(Pack(real))[0])
        generator.load_sampler_state(state)
        rngs = [torch.Generator().manual_seed(seed) for seed in range(4)]
        images.append(generator.sample(torch.arange(4), rngs, tiny_sampling(name)))

    assert images[0].dtype == torch.uint8
    assert images[0].shape == (4, 1, 8, 8)
    assert torch.equal(*images)
    saved = generator.sampler_state()
    assert saved.keys() == state.keys()
    assert all(torch.equal(saved[key], state[key]) for key in state)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_fit_that_was_interrupted_equals_one_that_was_not(
    name: str, real: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    checkpoints = Memory(saves=True)
    spec = FitSpec(generator=tiny(name), images=IMAGES, seed=0)
    work = fit(spec, real, tmp_path, checkpoints, "cpu")
    total = next(work).total
    for progress in work:
        if progress.done >= total // 2:
            break
    del work
    assert not (tmp_path / "weights.safetensors").exists()
    torch.rand(7)  # whoever used torch's global state in between must not matter
    rest = list(fit(spec, real, tmp_path, checkpoints, "cpu"))
    assert rest[0].done > total // 2
    assert rest[-1].done == total

    for written in ("weights.safetensors", "losses.json"):
        assert (tmp_path / written).read_bytes() == (fits(name) / written).read_bytes()
    whole, resumed = (np.load(at / "visuals.npz") for at in (fits(name), tmp_path))
    assert all(np.array_equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_fit_depends_on_its_seed_and_leaves_its_figures_and_the_global_state_alone(
    name: str, real: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    fitted(tiny(name), real, tmp_path, seed=1)

    assert torch.equal(torch.get_rng_state(), before)
    first, other = (load_file(at / "weights.safetensors") for at in (fits(name), tmp_path))
    assert any(not torch.equal(first[key], other[key]) for key in first)
    history = json.loads((tmp_path / "losses.json").read_text())
    assert history[-1]["step"] == tiny(name).config.steps
    result = read_result(tmp_path)
    last = {key: value for key, value in history[-1].items() if value is not None}
    assert last.items() <= {"step": history[-1]["step"], **result["losses"]}.items()
    assert all(row.keys() == {"step", *result["losses"]} for row in history)
    assert None not in result["losses"].values()
    assert any(key.endswith("norm") for key in result["losses"])
    assert result["num_parameters"] > 0
    assert result["peak_memory_bytes"] > 0
    assert result["seconds"] > 0
    assert result.keys() == {"losses", "num_parameters", "peak_memory_bytes", "seconds"}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_fit_draws_pictures_of_how_it_works(name: str, fits: Callable[[str], Path]) -> None:
    pictures = dict(np.load(fits(name) / "visuals.npz"))

    assert pictures
    assert pictures.keys() <= {"interpolation", "denoising", "reconstruction"}
    for array in pictures.values():
        assert array.dtype == np.uint8
        assert array.shape == (10, array.shape[1], 8, 8, 1)
        assert 2 <= array.shape[1] <= 16
        assert (array[:, 0] != array[:, -1]).any()


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("shape", [(3, 8, 12), (1, 28, 28)])
def test_colour_and_other_sides(name: str, shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    info = ImageInfo(channels=channels, height=height, width=width, num_classes=3)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        generator = plugins.build("generators", tiny(name), info)
        real = torch.randint(256, (4, *shape), dtype=torch.uint8)
        labels = torch.tensor([0, 1, 2, 0])
        losses = generator.step(real, labels, torch.Generator().manual_seed(0))
    rngs = [torch.Generator().manual_seed(seed) for seed in range(4)]
    made = generator.sample(labels, rngs, tiny_sampling(name))
    pictures = generator.illustrate(labels, rngs, real)

    assert all(math.isfinite(float(loss)) for loss in losses.values())
    assert made.shape == real.shape
    assert all(each.shape[2:] == shape for each in pictures.values())


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 30, 30), (3, 256, 256), (1, 4, 4)])
def test_images_that_cannot_be_made_are_refused(name: str, shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    info = ImageInfo(channels=channels, height=height, width=width, num_classes=10)
    with pytest.raises(InputError, match=r"channels|dataset\.size") as refusal:
        plugins.build("generators", tiny(name), info)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", GENERATORS)
def test_files_state_settings_that_stand_on_their_own(name: str) -> None:
    module = plugins.module("generators", name)
    assert isinstance(module.VERSION, int)
    module.check(module.Config(), module.Sampling())
    for part in ("Config", "Sampling"):
        validator = plugins.adapter("generators", name, part)
        with pytest.raises(ValidationError, match="bacth_size"):
            validator.validate_json('{"bacth_size": 4}')
        with pytest.raises(ValidationError, match="valid integer"):
            validator.validate_json('{"batch_size": 4.0}')
        with pytest.raises(ValidationError, match="greater than 0"):
            validator.validate_json('{"batch_size": 0}')


@pytest.mark.parametrize("name", GENERATORS)
def test_a_class_without_training_images_cannot_be_sampled(
    name: str, real: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    unseen = replace(IMAGES, training=(0, *TRAINING[1:]))
    with pytest.raises(InputError, match="class '0'"):
        rows_of(replace(tiny_set(name), images=unseen), [0, 16], fits(name), real, tmp_path)


def test_too_many_halvings_are_refused() -> None:
    info = ImageInfo(channels=1, height=28, width=28, num_classes=10)
    check_image(info, num_halvings=2)
    with pytest.raises(InputError, match="multiples of 8"):
        check_image(info, num_halvings=3)


def test_pixels_survive_the_way_to_the_network_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_signed(levels)), levels)
    assert to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_averages_warm_up_and_then_decay() -> None:
    average = [torch.zeros(1)]
    update_average(average, [torch.ones(1)], 0.5, 0)
    assert average[0].item() == pytest.approx(0.9)
    update_average(average, [torch.zeros(1)], 0.5, 1000)
    assert average[0].item() == pytest.approx(0.45)


def test_files_of_generators_load_without_torch() -> None:
    names = ", ".join(f"tasks.generators.{name}" for name in GENERATORS)
    code = f"import sys, {names}; print({{'torch', 'diffusers', 'numpy'}} & sys.modules.keys())"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT)
    assert loaded.strip() == "set()"


@pytest.mark.parametrize(
    ("height", "width", "remedy"),
    [
        (30, 30, "for example to 28$"),
        (6, 6, "for example to 8$"),
        (640, 480, "for example to 96$"),  # of 128 high and 96 wide
        (250, 167, "for example to 80$"),  # 120 by 80: most sides leave the other one odd
        (1000, 10, "cut the images to squares first$"),
    ],
)
def test_a_size_is_proposed_at_which_both_sides_can_be_made(
    height: int, width: int, remedy: str
) -> None:
    info = ImageInfo(channels=1, height=height, width=width, num_classes=2)
    with pytest.raises(InputError, match=remedy):
        check_image(info, num_halvings=2)
