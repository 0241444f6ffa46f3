"""Every generator keeps its contract; DDPM and VAE do what their papers say."""

import hashlib
import io
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file

from tasks import plugins
from tasks.errors import InputError
from tasks.fit import FitDiverged, batch_positions, fit
from tasks.generate import image_seed, sample
from tasks.generation import ImageInfo, check_image, image_info, needs_sources, to_pixels, to_signed
from tasks.generators import ddpm, vae
from tasks.networks.averaging import update_average
from tasks.networks.denoiser import drop_labels, guided_noise
from tasks.packs import Example, Pack, read_all, select, write_pack
from tasks.specs import FitSpec, ImagesSpec, Plugin, SampleSpec, SetSpec

GENERATORS = plugins.names("generators")
TRAINING = (6,) * 10
COUNTS = (3, 0, 5, 2, 1, 1, 1, 1, 1, 1)

TINY_FITS: dict[str, Any] = {
    "ddpm": ddpm.Config(channels=(8, 16), timesteps=20, steps=6, batch_size=16),
    "vae": vae.Config(channels=(8, 16), latent_size=4, steps=6, batch_size=16),
}
"""Settings that fit in a moment; a generator that is not named here is tested with its defaults."""
TINY_SAMPLINGS: dict[str, Any] = {
    "ddpm": ddpm.Sampling(steps=5, batch_size=4, eta=1.0),
    "vae": vae.Sampling(batch_size=4),
}


class Memory:
    """Checkpoints that keep the last state as bytes, as a file would."""

    def __init__(self) -> None:
        self.saved: bytes | None = None

    def load(self) -> dict[str, Any] | None:
        if self.saved is None:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(self.saved), weights_only=True)
        return state

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        buffer = io.BytesIO()
        torch.save(state(), buffer)
        self.saved = buffer.getvalue()


def write_images(path: Path, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Path:
    path.mkdir()
    examples = [
        Example(
            pixels=image,
            label=int(label),
            source=str(index),
            sha256=hashlib.sha256(image.tobytes() + str(index).encode()).hexdigest(),
        )
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True))
    ]
    classes = [str(label) for label in range(10)]
    read_all(write_pack(path, lambda: examples, classes, None, len(examples)))
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of 200 real digits, 8 x 8."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images[:200] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
    return write_images(tmp_path_factory.mktemp("digits") / "pack", pixels, labels[:200])


def real_images() -> ImagesSpec:
    return ImagesSpec(pack="p", split_seed=0, validation=(1,) * 10, training=TRAINING)


def tiny(name: str) -> Plugin:
    return plugins.plugin("generators", name, TINY_FITS.get(name))


def tiny_sampling(name: str) -> Any:
    found = TINY_SAMPLINGS.get(name)
    return plugins.module("generators", name).Sampling(batch_size=4) if found is None else found


def fitted(
    generator: Plugin, pack: Path, out: Path, checkpoints: Memory | None = None, seed: int = 0
) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    spec = FitSpec(generator=generator, images=real_images(), seed=seed)
    read_all(fit(spec, pack, out, checkpoints or Memory(), "cpu"))
    return out


@pytest.fixture(scope="module")
def fits(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tiny fit of each generator, made once."""
    root = tmp_path_factory.mktemp("fits")

    def made(name: str) -> Path:
        out = root / name
        return out if out.exists() else fitted(tiny(name), digits, out)

    return made


def a_set(name: str, sampling: Any = None, seed: int = 0) -> SetSpec:
    return SetSpec(
        fit="f",
        sampling=tiny_sampling(name) if sampling is None else sampling,
        counts=COUNTS,
        seed=seed,
        generator=tiny(name),
        images=real_images(),
    )


def rows_of(synthetic: SetSpec, cuts: list[int], weights: Path, pack: Path, out: Path) -> list[Any]:
    rows = []
    for start, stop in itertools.pairwise(cuts):
        shard = out / f"{start}-{stop}"
        shard.mkdir(parents=True)
        spec = SampleSpec(synthetic=synthetic, start=start, stop=stop)
        read_all(sample(spec, weights, pack, shard, "cpu"))
        rows += pq.read_table(shard / "shard.parquet").to_pylist()
    return rows


def pixels_of(rows: list[Any]) -> npt.NDArray[np.int64]:
    images = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]
    return np.stack(images).astype(np.int64)


@pytest.mark.parametrize("name", GENERATORS)
def test_sampled_rows_are_the_images_asked_for(
    name: str, digits: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = rows_of(a_set(name), [0, 16], fits(name), digits, tmp_path)

    assert tuple(np.bincount([row["label"] for row in rows], minlength=10)) == COUNTS
    assert [row["index"] for row in rows] == list(range(16))
    assert [row["class_index"] for row in rows] == [n for count in COUNTS for n in range(count)]
    assert len({row["seed"] for row in rows}) == 16
    assert {row["source"] for row in rows} == {""}
    pixels = pixels_of(rows)
    assert pixels.shape == (16, 8, 8)
    assert pixels.min() < 100 < 155 < pixels.max()
    result = json.loads((tmp_path / "0-16" / "result.json").read_text())
    assert result["images"] == 16
    assert result["images_per_s"] > 0


@pytest.mark.parametrize("name", GENERATORS)
def test_bytes_do_not_depend_on_shards(
    name: str, digits: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    one = rows_of(a_set(name), [0, 16], fits(name), digits, tmp_path / "one")
    three = rows_of(a_set(name), [0, 4, 12, 16], fits(name), digits, tmp_path / "three")

    assert one == three


@pytest.mark.parametrize("name", GENERATORS)
def test_another_batch_size_moves_pixels_by_rounding_alone(
    name: str, digits: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    wider = replace(tiny_sampling(name), batch_size=16)
    rows = rows_of(a_set(name), [0, 16], fits(name), digits, tmp_path / "four")
    wide = rows_of(a_set(name, wider), [0, 16], fits(name), digits, tmp_path / "sixteen")

    assert [row["seed"] for row in rows] == [row["seed"] for row in wide]
    moved = np.abs(pixels_of(rows) - pixels_of(wide))
    assert moved.max() <= 1
    assert np.mean(moved > 0) <= 0.01


@pytest.mark.parametrize("name", GENERATORS)
def test_the_set_seed_changes_every_image(
    name: str, digits: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    first = rows_of(a_set(name, seed=0), [0, 16], fits(name), digits, tmp_path / "0")
    second = rows_of(a_set(name, seed=1), [0, 16], fits(name), digits, tmp_path / "1")

    assert (pixels_of(first) != pixels_of(second)).any(axis=(1, 2)).all()


@pytest.mark.parametrize("name", GENERATORS)
def test_saved_weights_make_the_same_images(
    name: str, digits: Path, fits: Callable[[str], Path]
) -> None:
    state = load_file(fits(name) / "weights.safetensors")
    images = []
    for _ in range(2):
        generator = plugins.build("generators", tiny(name), image_info(Pack(digits))[0])
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
    name: str, digits: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    checkpoints = Memory()
    spec = FitSpec(generator=tiny(name), images=real_images(), seed=0)
    work = fit(spec, digits, tmp_path, checkpoints, "cpu")
    total = next(work).total
    for progress in work:
        if progress.done >= total // 2:
            break
    del work
    assert not (tmp_path / "weights.safetensors").exists()
    torch.rand(7)  # whoever used torch's global state in between must not matter
    rest = list(fit(spec, digits, tmp_path, checkpoints, "cpu"))
    assert rest[0].done > total // 2
    assert rest[-1].done == total

    whole, resumed = (load_file(at / "weights.safetensors") for at in (fits(name), tmp_path))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    histories = [(at / "losses.json").read_text() for at in (fits(name), tmp_path)]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_fit_leaves_its_figures_and_the_global_state_alone(
    name: str, digits: Path, tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    fitted(tiny(name), digits, tmp_path)

    assert torch.equal(torch.get_rng_state(), before)
    history = json.loads((tmp_path / "losses.json").read_text())
    assert history[-1]["step"] == tiny(name).config.steps
    result = json.loads((tmp_path / "result.json").read_text())
    assert {"step": history[-1]["step"], **result["losses"]} == history[-1]
    assert result["num_parameters"] > 0
    assert result["peak_memory_bytes"] > 0
    assert result["seconds"] > 0


@pytest.mark.parametrize("name", GENERATORS)
def test_the_fit_seed_matters(
    name: str, digits: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    other = load_file(fitted(tiny(name), digits, tmp_path, seed=1) / "weights.safetensors")
    first = load_file(fits(name) / "weights.safetensors")

    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", GENERATORS)
def test_colour_and_other_sides(name: str) -> None:
    for channels, height, width in ((3, 8, 12), (1, 28, 28)):
        info = ImageInfo(channels=channels, height=height, width=width, num_classes=3)
        with torch.random.fork_rng(devices=[]):
            generator = plugins.build("generators", tiny(name), info)
            real = torch.randint(256, (4, channels, height, width), dtype=torch.uint8)
            labels = torch.tensor([0, 1, 2, 0])
            losses = generator.step(real, labels, torch.Generator().manual_seed(0))
        rngs = [torch.Generator().manual_seed(seed) for seed in range(4)]
        made = generator.sample(labels, rngs, tiny_sampling(name))

        assert all(math.isfinite(float(loss)) for loss in losses.values())
        assert made.shape == real.shape


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 30, 30), (3, 256, 256), (1, 4, 4)])
def test_images_that_cannot_be_made_are_refused(name: str, shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    info = ImageInfo(channels=channels, height=height, width=width, num_classes=10)
    with pytest.raises(InputError, match=r"channels|dataset\.size"):
        plugins.build("generators", tiny(name), info)


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


@pytest.mark.parametrize("name", GENERATORS)
def test_a_class_without_training_images_cannot_be_sampled(
    name: str, digits: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    unseen = replace(real_images(), training=(0, *TRAINING[1:]))
    with pytest.raises(InputError, match="class '0'"):
        rows_of(replace(a_set(name), images=unseen), [0, 16], fits(name), digits, tmp_path)


def test_shards_are_whole_batches(
    digits: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    for index, cuts in enumerate(([2, 8], [0, 6], [0, 20])):
        with pytest.raises(InputError, match="whole batches of 4"):
            rows_of(a_set("vae"), cuts, fits("vae"), digits, tmp_path / str(index))


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
        (lambda: vae.Config(cycles=2), "cyclical"),
        (lambda: vae.Config(annealing="constant", ramp=0.2), "linear or cyclical"),
        (lambda: vae.Config(annealing="cyclical", steps=3), "exceeds"),
        (lambda: vae.Config(beta=0.0), "greater than 0"),
        (lambda: vae.Sampling(posterior="mean"), "reconstruct"),
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


def test_a_fit_that_diverges_says_so_and_leaves_its_history(digits: Path, tmp_path: Path) -> None:
    config = replace(TINY_FITS["vae"], lr=1e30)
    with pytest.raises(FitDiverged, match="lower its lr"):
        fitted(plugins.plugin("generators", "vae", config), digits, tmp_path)
    history = json.loads((tmp_path / "losses.json").read_text())
    assert None in history[-1].values()
    assert not (tmp_path / "result.json").exists()


def test_batches_see_every_image_equally_often() -> None:
    seen = torch.cat([batch_positions(10, 4, step, 0) for step in range(5)])
    assert torch.bincount(seen).tolist() == [2] * 10
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert not torch.equal(seen[:10], seen[10:])
    small = batch_positions(3, 8, 0, 0)
    assert torch.bincount(small).tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


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


def test_pixels_survive_the_way_to_the_network_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_signed(levels)), levels)
    assert to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_ragged_packs_are_read_as_the_largest_square(tmp_path: Path) -> None:
    tmp_path.joinpath("pack").mkdir()
    examples = [
        Example(pixels=np.zeros(shape, np.uint8), label=0, source=str(shape), sha256=str(shape))
        for shape in ((40, 22, 3), (23, 30, 3))
    ]
    read_all(write_pack(tmp_path / "pack", lambda: examples, ["a"], 22, 2))
    info, side = image_info(Pack(tmp_path / "pack"))
    assert side == 20
    assert info == ImageInfo(channels=3, height=20, width=20, num_classes=1)


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


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (vae.Config(beta=0.8, annealing="constant", steps=80), {0: 0.8, 40: 0.8, 79: 0.8}),
        (
            vae.Config(beta=0.8, annealing="linear", ramp=0.5, steps=80),
            {0: 0.0, 20: 0.4, 40: 0.8, 79: 0.8},
        ),
        (
            vae.Config(beta=0.8, annealing="cyclical", steps=80),
            {0: 0.0, 5: 0.4, 10: 0.8, 19: 0.8, 20: 0.0, 25: 0.4, 65: 0.4, 79: 0.8},
        ),
    ],
)
def test_beta_follows_its_schedule(config: vae.Config, expected: dict[int, float]) -> None:
    for step, beta in expected.items():
        assert vae.beta_at(step, config) == pytest.approx(beta)


def test_the_loss_adds_the_weighted_divergence() -> None:
    info = ImageInfo(channels=1, height=8, width=8, num_classes=3)
    config = replace(TINY_FITS["vae"], annealing="constant", beta=0.25, likelihood="bernoulli")
    with torch.random.fork_rng(devices=[]):
        generator = vae.Vae(config, info)
    images = torch.full((4, 1, 8, 8), 255, dtype=torch.uint8)
    losses = generator.step(images, torch.tensor([0, 1, 2, 0]), torch.Generator())
    assert losses["divergence"] > 0
    expected = losses["reconstruction"] + 0.25 * losses["divergence"]
    assert losses["loss"].item() == pytest.approx(expected.item())


def test_divergence_and_likelihood_are_those_of_the_papers() -> None:
    info = ImageInfo(channels=1, height=8, width=8, num_classes=1)
    with torch.random.fork_rng(devices=[]):
        generator = vae.Vae(TINY_FITS["vae"], info)
    logits, clean = torch.full((2, 1, 8, 8), 2.0), torch.full((2, 1, 8, 8), 0.5)
    calibrated = generator._nats(logits, clean).item()
    assert calibrated == pytest.approx(32 * math.log((math.tanh(1) - 0.5) ** 2), rel=1e-5)
    generator._config = replace(TINY_FITS["vae"], likelihood="bernoulli")
    p = 1 / (1 + math.exp(-2))
    nats = -64 * (0.75 * math.log(p) + 0.25 * math.log(1 - p))
    assert generator._nats(logits, clean).item() == pytest.approx(nats, rel=1e-5)


def test_reconstructions_name_their_sources_and_samples_have_none(
    digits: Path, tmp_path: Path
) -> None:
    config = replace(TINY_FITS["vae"], steps=300, lr=3e-3, beta=0.1)
    generator = plugins.plugin("generators", "vae", config)
    weights = fitted(generator, digits, tmp_path / "fit")
    means = vae.Sampling(mode="reconstruct", posterior="mean", batch_size=4)
    synthetic = replace(a_set("vae", means), generator=generator)
    rows = rows_of(synthetic, [0, 16], weights, digits, tmp_path / "means")
    drawn = replace(a_set("vae"), generator=generator)
    samples = rows_of(drawn, [0, 16], weights, digits, tmp_path / "samples")

    pack = Pack(digits)
    training = select(pack, real_images())[1]
    by_hash = {pack.hashes[index]: index for index in training}
    sources = [by_hash[row["source"]] for row in rows]
    assert len(set(sources)) == 16
    assert [int(pack.labels[index]) for index in sources] == [row["label"] for row in rows]
    real = pack.array(np.array(sources))[..., 0].astype(np.int64)
    error = np.abs(pixels_of(rows) - real).mean()
    assert error < 0.7 * np.abs(pixels_of(samples) - real).mean()
    assert needs_sources(means)
    assert not needs_sources(vae.Sampling())
    assert not needs_sources(ddpm.Sampling())


def test_more_reconstructed_draws_than_images_go_round_and_means_are_refused(
    digits: Path, fits: Callable[[str], Path], tmp_path: Path
) -> None:
    drawn = replace(a_set("vae", vae.Sampling(mode="reconstruct", batch_size=16)), counts=(8,) * 10)
    rows = rows_of(drawn, [0, 16], fits("vae"), digits, tmp_path / "draws")
    first_class = rows[:8]
    assert first_class[0]["source"] == first_class[6]["source"]
    assert len({row["source"] for row in first_class}) == 6
    assert first_class[0]["image"]["bytes"] != first_class[6]["image"]["bytes"]
    means = vae.Sampling(mode="reconstruct", posterior="mean", batch_size=16)
    with pytest.raises(InputError, match="each image once"):
        rows_of(replace(drawn, sampling=means), [0, 16], fits("vae"), digits, tmp_path / "means")


def test_samples_take_no_sources() -> None:
    with torch.random.fork_rng(devices=[]):
        info = ImageInfo(channels=1, height=8, width=8, num_classes=3)
        generator = vae.Vae(TINY_FITS["vae"], info)
    rngs = [torch.Generator()]
    with pytest.raises(ValueError, match="mode='reconstruct' with no sources"):
        generator.sample(torch.tensor([0]), rngs, vae.Sampling(mode="reconstruct"))
    real = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="mode='sample' with sources"):
        generator.sample(torch.tensor([0]), rngs, vae.Sampling(), real)


def test_files_of_generators_load_without_torch() -> None:
    names = ", ".join(f"tasks.generators.{name}" for name in GENERATORS)
    code = f"import sys, {names}; print({{'torch', 'diffusers', 'numpy'}} & sys.modules.keys())"
    root = Path(__file__).parents[2]
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=root)
    assert loaded.strip() == "set()"
