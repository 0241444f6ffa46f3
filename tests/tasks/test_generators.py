"""Every generator keeps its contract, and DDPM does what its papers say."""

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
from tasks.generators import ddpm, dvae, vae, vqvae
from tasks.networks.averaging import update_average
from tasks.networks.denoiser import drop_labels, guided_noise
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
    "ddpm": ddpm.Config(channels=(8, 16), timesteps=20, steps=6, batch_size=16),
    "dvae": dvae.Config(channels=(8, 16), latent_size=4, steps=6, batch_size=16),
    "vae": vae.Config(channels=(8, 16), latent_size=4, steps=6, batch_size=16),
    "vqvae": vqvae.Config(width=16, codes=16, code_size=8, steps=6, batch_size=16),
}
"""Settings that fit in a moment; a generator without an entry is tested with a few of its steps."""
TINY_SAMPLINGS: dict[str, Any] = {
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ddpm.Config(channels=()), "no resolution"),
        (lambda: ddpm.Config(channels=(12,)), "multiple of 8"),
        (lambda: ddpm.Config(schedule="linear", timesteps=50), "cosine"),
        (lambda: ddpm.Sampling(sampler="ddpm", eta=0.5), "only sampler='ddim'"),
        (lambda: ddpm.Sampling(guidance=0.0), "greater than 0"),
        (lambda: ddpm.check(ddpm.Config(), ddpm.Sampling(steps=2000)), "timesteps=1000"),
        (lambda: ddpm.check(ddpm.Config(), ddpm.Sampling(steps=30)), "use 25"),
        (
            lambda: ddpm.check(ddpm.Config(label_dropout=0.0), ddpm.Sampling(guidance=2.0)),
            "label_dropout > 0",
        ),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_ddpm_samplers_with_respaced_steps_are_not_bound_to_divisors() -> None:
    ddpm.check(ddpm.Config(), ddpm.Sampling(sampler="ddpm", steps=30))
    scheduler, _ = small_ddpm()._sampler(ddpm.Sampling(sampler="ddpm", steps=7))
    assert len(scheduler.timesteps) == 7
    assert scheduler.timesteps[0] == 19


def test_too_many_halvings_are_refused() -> None:
    info = ImageInfo(channels=1, height=28, width=28, num_classes=10)
    check_image(info, num_halvings=2)
    with pytest.raises(InputError, match="multiples of 8"):
        check_image(info, num_halvings=3)


def test_pixels_survive_the_way_to_the_network_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_signed(levels)), levels)
    assert to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def small_ddpm(num_classes: int = 3, **settings: Any) -> ddpm.Ddpm:
    config = replace(TINY_FITS["ddpm"], **settings)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        info = ImageInfo(channels=1, height=8, width=8, num_classes=num_classes)
        return ddpm.Ddpm(config, info)


def test_cosine_schedule_is_that_of_nichol_and_dhariwal() -> None:
    alpha_bar = small_ddpm(schedule="cosine", timesteps=1000)._noising.alphas_cumprod

    def f(t: float) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = torch.tensor([f(t) / f(0) for t in range(1, 1000)])
    assert torch.allclose(alpha_bar[:-1], expected, rtol=1e-3, atol=1e-6)
    assert 0 < alpha_bar[-1] < 1e-6


def test_linear_schedule_is_that_of_ho() -> None:
    alpha_bar = small_ddpm(schedule="linear", timesteps=1000)._noising.alphas_cumprod
    betas = np.linspace(1e-4, 0.02, 1000)
    assert np.allclose(alpha_bar.numpy(), np.cumprod(1 - betas), rtol=1e-3)


def test_dropped_labels_are_replaced_by_the_null_label() -> None:
    labels = torch.arange(10).repeat(400)
    seen = drop_labels(labels, 10, 0.1, torch.Generator().manual_seed(0))
    assert torch.equal(seen[seen != 10], labels[seen != 10])
    assert 0.08 < (seen == 10).float().mean() < 0.12
    assert torch.equal(drop_labels(labels, 10, 0.0, torch.Generator()), labels)


def test_a_step_feeds_the_null_label_and_trains_its_embedding() -> None:
    generator = small_ddpm(label_dropout=0.5)
    embedding = generator._network.get_submodule("class_embedding")
    fed: list[int] = []
    embedding.register_forward_pre_hook(lambda _, labels: fed.extend(labels[0].tolist()))
    before = embedding.get_parameter("weight")[3].detach().clone()
    images = torch.zeros(16, 1, 8, 8, dtype=torch.uint8)
    generator.step(images, torch.zeros(16, dtype=torch.int64), torch.Generator().manual_seed(0))

    assert set(fed) == {0, 3}
    assert not torch.equal(embedding.get_parameter("weight")[3], before)


def test_guidance_follows_its_formula_and_weight_one_skips_the_null_pass() -> None:
    calls: list[list[int]] = []

    def denoise(noisy: torch.Tensor, _: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(labels.tolist())
        return noisy * labels.float().view(-1, 1, 1, 1)

    noisy, times = torch.randn(2, 1, 4, 4, generator=torch.Generator()), torch.zeros(2)
    labels = torch.tensor([1, 2])
    plain = guided_noise(denoise, noisy, times, labels, 9, 1.0)
    guided = guided_noise(denoise, noisy, times, labels, 9, 3.0)

    assert calls == [[1, 2], [1, 2, 9, 9]]
    assert torch.equal(plain, noisy * labels.view(-1, 1, 1, 1))
    assert torch.allclose(guided, 9 * noisy + 3 * (plain - 9 * noisy))


def test_ddim_without_eta_depends_on_the_first_noise_alone() -> None:
    generator = small_ddpm()

    def made(eta: float) -> tuple[torch.Tensor, torch.Tensor]:
        rng = torch.Generator().manual_seed(0)
        sampling = ddpm.Sampling(steps=10, eta=eta)
        image = generator.sample(torch.tensor([1]), [rng], sampling)
        return image, torch.rand(1, generator=rng)

    first_noise = torch.Generator().manual_seed(0)
    torch.randn((1, 8, 8), generator=first_noise)
    still, after = made(0.0)
    assert torch.equal(after, torch.rand(1, generator=first_noise))
    noisy, later = made(1.0)
    assert not torch.equal(after, later)
    assert not torch.equal(still, noisy)


def test_ddim_steps_follow_song() -> None:
    generator = small_ddpm()
    scheduler, settings = generator._sampler(ddpm.Sampling(steps=10))
    alpha_bar = scheduler.alphas_cumprod
    noise = torch.full((1, 1, 2, 2), 0.1)
    now = torch.full((1, 1, 2, 2), 0.2)
    a, b = alpha_bar[9], alpha_bar[7]
    clean = ((now - (1 - a).sqrt() * noise) / a.sqrt()).clamp(-1, 1)
    expected = b.sqrt() * clean + (1 - b).sqrt() * noise
    assert torch.allclose(scheduler.step(noise, 9, now, **settings).prev_sample, expected)


def test_averages_warm_up_and_then_decay() -> None:
    average = [torch.zeros(1)]
    update_average(average, [torch.ones(1)], 0.5, 0)
    assert average[0].item() == pytest.approx(0.9)
    update_average(average, [torch.zeros(1)], 0.5, 1000)
    assert average[0].item() == pytest.approx(0.45)


def test_images_are_sampled_from_the_average() -> None:
    generator = small_ddpm()
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (16, 1, 8, 8), dtype=torch.uint8, generator=rng)
    for _ in range(3):
        generator.step(images, torch.zeros(16, dtype=torch.int64), rng)
    trained = dict(generator._network.named_parameters())
    saved = generator.sampler_state()
    assert trained.keys() == saved.keys()
    assert any(not torch.equal(trained[key], saved[key]) for key in saved)


def test_files_of_generators_load_without_torch() -> None:
    names = ", ".join(f"tasks.generators.{name}" for name in GENERATORS)
    code = f"import sys, {names}; print({{'torch', 'diffusers', 'numpy'}} & sys.modules.keys())"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT)
    assert loaded.strip() == "set()"
