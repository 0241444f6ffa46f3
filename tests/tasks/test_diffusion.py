"""Diffusion models do what their papers say, with every sampler that is listed."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from tasks.errors import InputError
from tasks.generation import ImageInfo, normal, to_pixels, to_signed
from tasks.generators import clip_guided, ddpm
from tasks.generators._diffusion import (
    SAMPLERS,
    Predictor,
    Sampler,
    Schedule,
    clipped,
    noising,
    scheduler,
    signal_and_noise,
    way_out,
)
from tasks.networks.denoiser import PART_PIXELS, drop_labels, guided_noise, in_parts
from tests.tasks.tiny_clip import write_clip

pytestmark = pytest.mark.usefixtures("one_thread")

untyped: Any = diffusers
INFO = ImageInfo(channels=1, height=8, width=8, num_classes=3, classes=("cat", "dog", "bird"))
TINY = ddpm.Config(channels=(8, 16), timesteps=20, steps=6, batch_size=16)
TINY_GUIDED = clip_guided.Config(
    channels=(8, 16), clip_width=8, timesteps=20, steps=6, batch_size=16
)


def small_ddpm(**settings: Any) -> ddpm.Ddpm:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return ddpm.Ddpm(replace(TINY, **settings), INFO)


def small_guided(**settings: Any) -> clip_guided.ClipGuided:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return clip_guided.ClipGuided(replace(TINY_GUIDED, **settings), INFO)


def seeded(num: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(num)]


def noise_for(num: int) -> torch.Tensor:
    return torch.randn(num, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def walked(predict: Predictor, num: int, **changes: Any) -> list[torch.Tensor]:
    settings: dict[str, Any] = {
        "sampler": "ddim",
        "steps": 10,
        "eta": 0.0,
        "schedule": "cosine",
        "timesteps": 1000,
        **changes,
    }
    return list(way_out(predict, noise_for(num), seeded(num), **settings))


# The noise schedules


def test_cosine_schedule_is_that_of_nichol_and_dhariwal() -> None:
    alpha_bar = noising("cosine", 1000).alphas_cumprod

    def f(t: float) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = torch.tensor([f(t) / f(0) for t in range(1, 1000)])
    assert torch.allclose(alpha_bar[:-1], expected, rtol=1e-3, atol=1e-6)
    assert 0 < alpha_bar[-1] < 1e-6


def test_linear_schedule_is_that_of_ho() -> None:
    alpha_bar = noising("linear", 1000).alphas_cumprod
    betas = np.linspace(1e-4, 0.02, 1000)
    assert np.allclose(alpha_bar.numpy(), np.cumprod(1 - betas), rtol=1e-3)


def test_levels_between_timesteps_lie_between_theirs() -> None:
    alpha_bar = noising("linear", 1000).alphas_cumprod
    times = torch.tensor([0.0, 200.0, 200.5, 201.0, 999.0])
    signal, rest = (each.flatten() for each in signal_and_noise(times, "linear", 1000))
    assert torch.allclose(signal[times % 1 == 0] ** 2, alpha_bar[[0, 200, 201, 999]], rtol=1e-4)
    assert torch.allclose(signal**2 + rest**2, torch.ones(5))
    sigmas = rest / signal
    assert sigmas[2] == pytest.approx(float((sigmas[1] * sigmas[3]).sqrt()), rel=1e-4)


# The samplers


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_what_the_data_hold(sampler: Sampler, schedule: Schedule) -> None:
    """Where pixels are normal, the noise in them is known exactly."""
    mean, std = torch.linspace(-0.2, 0.2, 64).view(1, 1, 8, 8), 0.15

    def predict(noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        signal, rest = signal_and_noise(times, schedule, 1000)
        return (noisy - signal * mean) * rest / ((signal * std) ** 2 + rest**2)

    images = walked(predict, 64, sampler=sampler, steps=100, schedule=schedule)[-1]
    # 64 images leave a mean off by an eighth of their std.
    assert (images.mean(0) - mean).abs().mean() < 1.5 * math.sqrt(2 / math.pi) * std / 8
    assert 0.8 < (images - mean).std() / std < 1.25


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_sampler_lets_an_image_depend_on_its_batch(sampler: Sampler) -> None:
    generator = small_ddpm()
    sampling = ddpm.Sampling(sampler=sampler, steps=5)
    labels = torch.tensor([0, 1, 2, 0, 1])
    rngs = seeded(5)
    together = generator.sample(labels, rngs, sampling)
    # The noise of all steps is the image's own, too: the generators end where they did.
    after = [int(torch.randint(2**31, (1,), generator=rng)) for rng in rngs]
    again = seeded(5)
    apart = torch.cat(
        [generator.sample(labels[at], again[at], sampling) for at in (slice(2), slice(2, 5))]
    )
    assert [int(torch.randint(2**31, (1,), generator=rng)) for rng in again] == after
    assert (together.int() - apart.int()).abs().max() <= 1
    assert len({image.numpy().tobytes() for image in together}) == 5


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("timesteps", [2, 20])
def test_every_sampler_takes_all_timesteps_of_a_short_schedule(
    sampler: Sampler, timesteps: int
) -> None:
    generator = small_ddpm(timesteps=timesteps)
    for steps in (None, 1, 2):
        sampling = ddpm.Sampling(sampler=sampler, steps=steps)
        made = generator.sample(torch.tensor([0, 1]), seeded(2), sampling)
        assert made.float().std() > 0


def test_listed_samplers_are_all_that_diffusers_has_for_such_networks() -> None:
    """Whoever raises diffusers is told of schedulers to look at."""
    from diffusers import schedulers

    left_out = {
        *("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"),
        *("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler"),
        *("DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler", "UnCLIPScheduler"),
        *("LCMScheduler", "TCDScheduler"),
        *("EDMDPMSolverMultistepScheduler", "EDMEulerScheduler"),
    }
    found = {
        name
        for name in dir(schedulers)
        if name.endswith("Scheduler")
        and "prediction_type" in _arguments(getattr(schedulers, name))
        and _arguments(getattr(schedulers, name))["prediction_type"] == "epsilon"
    }
    assert {*SAMPLERS} - {"ddim", "ddpm"} == found - left_out


def _arguments(kind: Any) -> dict[str, Any]:
    import inspect

    return {n: p.default for n, p in inspect.signature(kind.__init__).parameters.items()}


def test_ddim_and_ddpm_walk_as_the_pipelines_of_diffusers() -> None:
    generator = small_ddpm()
    noise = noise_for(3)

    def predict(noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            labels = torch.tensor([0, 1, 2])
            found: torch.Tensor = generator._average(noisy, times, class_labels=labels).sample
            return found

    spaced: dict[str, Any] = {
        "num_train_timesteps": 20,
        "beta_schedule": "squaredcos_cap_v2",
        "timestep_spacing": "trailing",
    }
    for sampler, kind, settings in (
        ("ddpm", untyped.DDPMScheduler, {}),
        ("ddim", untyped.DDIMScheduler, {"eta": 0.5, "use_clipped_model_output": True}),
    ):
        theirs = kind(**spaced)
        theirs.set_timesteps(10)
        image, rngs = noise, seeded(3)
        for time in theirs.timesteps:
            predicted = predict(image, time.repeat(3))
            image = theirs.step(predicted, time, image, generator=rngs, **settings).prev_sample
        eta = 0.5 if sampler == "ddim" else 0.0
        ours = walked(predict, 3, sampler=sampler, steps=10, eta=eta, timesteps=20)[-1]
        assert torch.allclose(ours, image, atol=1e-4)


def test_ddim_steps_follow_song() -> None:
    alpha_bar = noising("cosine", 1000).alphas_cumprod
    predicted = torch.full((1, 1, 8, 8), 0.1)
    _, first, second, *_ = walked(lambda noisy, times: predicted, 1, steps=10)
    a, b = alpha_bar[899], alpha_bar[799]
    clean = ((first - (1 - a).sqrt() * predicted) / a.sqrt()).clamp(-1, 1)
    noise = (first - a.sqrt() * clean) / (1 - a).sqrt()
    assert torch.allclose(second, b.sqrt() * clean + (1 - b).sqrt() * noise, atol=1e-5)


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


def test_ddpm_is_not_bound_to_divisors() -> None:
    ddpm.check(ddpm.Config(), ddpm.Sampling(sampler="ddpm", steps=30))
    found = scheduler("ddpm", 7, "cosine", 20)
    assert len(found.timesteps) == 7
    assert found.timesteps[0] == 19


def test_bent_noise_leaves_an_image_within_bounds_and_is_else_as_it_was() -> None:
    times = torch.tensor([10.0, 500.0, 990.0])
    signal, rest = signal_and_noise(times, "cosine", 1000)
    clean = torch.linspace(-3, 3, 192).view(3, 1, 8, 8)
    noise = noise_for(3)
    noisy = signal * clean + rest * noise
    bent = clipped(noise, noisy, signal, rest)
    assert torch.allclose((noisy - rest * bent) / signal, clean.clamp(-1, 1), atol=1e-3)
    inside = clean.abs() < 1
    assert torch.allclose(bent[inside], noise[inside], atol=1e-4)


# Labels and guidance


def test_dropped_labels_are_replaced_by_the_null_label() -> None:
    labels = torch.arange(10).repeat(400)
    seen = drop_labels(labels, 10, 0.1, torch.Generator().manual_seed(0))
    assert torch.equal(seen[seen != 10], labels[seen != 10])
    assert 0.08 < (seen == 10).float().mean() < 0.12
    assert torch.equal(drop_labels(labels, 10, 0.0, torch.Generator()), labels)
    assert (drop_labels(labels, 10, 1.0, torch.Generator()) == 10).all()


def test_a_step_feeds_the_null_label_and_trains_its_embedding() -> None:
    generator = small_ddpm(label_dropout=0.5)
    embedding = generator._network.get_submodule("class_embedding")
    fed: list[int] = []
    embedding.register_forward_pre_hook(lambda _, labels: fed.extend(labels[0].tolist()))
    before = embedding.get_parameter("weight")[3].detach().clone()
    images = torch.zeros(16, 1, 8, 8, dtype=torch.uint8)
    losses = generator.step(
        images, torch.zeros(16, dtype=torch.int64), torch.Generator().manual_seed(0)
    )

    assert set(fed) == {0, 3}
    assert not torch.equal(embedding.get_parameter("weight")[3], before)
    assert losses.keys() == {"noise_mse", "gradient_norm"}


@pytest.mark.parametrize("part", ["denoiser", "clip"])
def test_a_step_shows_images_as_noisy_as_each_timestep_has_them(part: str) -> None:
    guided = small_guided()
    shown: Any = guided._parts()[part]
    rng = torch.Generator().manual_seed(3)
    images = torch.randint(256, (256, 1, 8, 8), dtype=torch.uint8, generator=rng)
    seen: list[Any] = []
    shown._network.register_forward_pre_hook(lambda _, given: seen.append(given))
    shown.step(images, torch.arange(256) % 3, torch.Generator().manual_seed(4))

    noisy, times, *_ = seen[0]
    assert set(times.tolist()) == set(range(20))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(4))
    kept = noising("cosine", 20).alphas_cumprod[times].view(-1, 1, 1, 1)
    expected = kept.sqrt() * to_signed(images) + (1 - kept).sqrt() * noise
    assert torch.allclose(noisy, expected, atol=1e-5)


def test_a_step_learns_the_noise() -> None:
    generator = small_ddpm(dropout=0.0, label_dropout=0.0)
    twin, seen = copy.deepcopy(generator._network).train(), list[Any]()
    generator._network.register_forward_pre_hook(lambda _, given: seen.append(given))
    images, labels = torch.full((16, 1, 8, 8), 90, dtype=torch.uint8), torch.arange(16) % 3
    losses = generator.step(images, labels, torch.Generator().manual_seed(4))

    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        error = (twin(*seen[0], class_labels=labels).sample - noise).square().mean()
    assert losses["noise_mse"].item() == pytest.approx(error.item(), rel=1e-4)


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


def test_large_batches_are_run_in_parts_and_put_together_in_order() -> None:
    sizes: list[int] = []

    def denoise(noisy: torch.Tensor, times: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(noisy))
        return noisy + (times + labels).view(-1, 1, 1, 1)

    part = PART_PIXELS // 16**2
    num = 2 * part + 3
    noisy, numbers = torch.zeros(num, 1, 16, 16), torch.arange(num)
    found = in_parts(denoise)(noisy, numbers.float(), numbers)
    assert sizes == [part, part, 3]
    assert torch.equal(found[:, 0, 0, 0], 2.0 * numbers)


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


@pytest.mark.parametrize("part", ["denoiser", "clip"])
def test_the_average_warms_up_and_follows_the_weights(part: str) -> None:
    shown: Any = small_guided(ema_decay=0.2, lr=0.1, clip_lr=0.1)._parts()[part]
    images, labels = torch.full((6, 1, 8, 8), 90, dtype=torch.uint8), torch.arange(6) % 3
    expected = parameters_to_vector(shown._average.parameters())
    for number, decay in enumerate((1 / 10, 2 / 11, 0.2, 0.2)):
        shown.step(images, labels, torch.Generator().manual_seed(number))
        now = parameters_to_vector(shown._network.parameters()).detach()
        expected = decay * expected + (1 - decay) * now
        average = parameters_to_vector(shown._average.parameters())
        assert torch.allclose(average, expected, atol=1e-5)


@pytest.mark.parametrize("make", [small_ddpm, small_guided])
def test_pictures_lead_from_noise_to_the_image(
    make: Callable[[], ddpm.Ddpm | clip_guided.ClipGuided],
) -> None:
    generator, labels = make(), torch.tensor([0, 1, 2])
    real = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    pictures = generator.illustrate(labels, seeded(3), real)["denoising"]
    sampling: Any = (ddpm if isinstance(generator, ddpm.Ddpm) else clip_guided).Sampling(
        sampler="ddpm", steps=20
    )
    assert pictures.shape == (3, 8, 1, 8, 8)
    assert torch.equal(pictures[:, -1], generator.sample(labels, seeded(3), sampling))
    assert torch.equal(pictures[:, 0], to_pixels(normal((1, 8, 8), seeded(3))))
    assert len(set(map(bytes, pictures[0].numpy()))) == 8


# CLIP


def text_of(generator: clip_guided.ClipGuided) -> torch.Tensor:
    assert generator._fitted is not None
    return generator._fitted.texts(["a photo of a cat", "a photo of a dog", "a photo of a act"])


def test_the_fitted_clip_reads_characters_in_their_order() -> None:
    texts = text_of(small_guided())
    assert torch.allclose(texts.norm(dim=1), torch.ones(3))
    assert torch.pdist(texts).min() > 1e-3
    again = text_of(small_guided())
    assert torch.equal(texts, again)


def test_an_image_is_embedded_whatever_its_batch_and_noise_counts() -> None:
    clip: Any = small_guided()._fitted
    noisy, times = noise_for(4), torch.tensor([0.0, 5.0, 10.0, 19.0])
    network = clip._average
    together = network.images(noisy, times)
    apart = torch.cat([network.images(noisy[i : i + 1], times[i : i + 1]) for i in range(4)])
    assert torch.allclose(together, apart, atol=1e-5)
    assert not torch.allclose(together, network.images(noisy, times.flip(0)), atol=1e-3)


def test_the_fitted_clip_has_nothing_to_lose_where_all_match() -> None:
    from tasks.networks.small_clip import SmallClip

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = SmallClip(INFO, 8)
    network.requires_grad_(False)
    noisy, times = noise_for(4), torch.zeros(4)
    one_class = network(noisy, times, torch.zeros(4, dtype=torch.int64), ["a", "b", "c"])
    texts = network.texts(["a", "c"])
    images = network.images(noisy, times)
    labels = torch.tensor([0, 2, 2, 2])
    logits = network.scale() * images @ texts.T
    of_images = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1, 1]))
    columns = logits.T.log_softmax(1)
    of_texts = (-columns[0, 0] - columns[1, 1:].mean()) / 2 - math.log(3) / 2
    found = network(noisy, times, labels, ["a", "b", "c"])
    assert float(found) == pytest.approx(float(of_images + of_texts) / 2, rel=1e-4)
    # One text has no rival; what is left is how unevenly it likes its own images.
    spread = (network.scale() * network.images(noisy, times) @ network.texts(["a"]).T).squeeze(1)
    uneven = -spread.log_softmax(0).mean() - math.log(4)
    assert float(one_class) == pytest.approx(float(uneven) / 2, abs=1e-5)


def test_similarities_are_never_scaled_by_more_than_a_hundred() -> None:
    generator: Any = small_guided()
    assert generator._fitted._network.scale().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        generator._fitted._network.logit_scale.fill_(9.0)
    assert generator._fitted._network.scale().item() == pytest.approx(100)


def test_guided_noise_is_less_the_gradient_of_the_similarity() -> None:
    generator: Any = small_guided(timesteps=1000)
    labels, noisy, times = torch.tensor([0, 1, 2]), noise_for(3), torch.full((3,), 300.0)
    sampling = clip_guided.Sampling(clip_scale=0.0)
    with torch.no_grad():
        plain = generator._predictor(labels, sampling)(noisy, times)
        guided = generator._predictor(labels, replace(sampling, clip_scale=3.0))(noisy, times)
        # The gradient by differences, along a direction.
        _, rest = signal_and_noise(times, "cosine", 1000)
        gradient = (plain - guided) / (3 * rest)
        assert (gradient.abs().amax((1, 2, 3)) > 0).all()
        along = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        similarity = generator._similarity(labels)
        step = 1e-2
        rise = similarity(noisy + step * along, times) - similarity(noisy - step * along, times)
    assert torch.allclose(rise / (2 * step), gradient.flatten(1).norm(dim=1), rtol=0.02)


def test_a_given_clip_looks_at_the_predicted_clean_image(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    generator: Any = small_guided(clip=str(folder), timesteps=1000)
    assert {key.split(".")[0] for key in generator.sampler_state()} == {"denoiser"}
    labels, noisy, times = torch.tensor([0, 1, 2]), noise_for(3), torch.full((3,), 300.0)
    predict = generator._predictor(labels, clip_guided.Sampling(clip_scale=0.0))
    signal, rest = signal_and_noise(times, "cosine", 1000)
    clip, texts = generator._given, generator._given.texts(generator._prompts)[labels]

    def similarity(seen: torch.Tensor) -> torch.Tensor:
        clean = ((seen - rest * predict(seen, times)) / signal).clamp(-1, 1)
        found: torch.Tensor = clip.scale * (clip.images((clean + 1) / 2) * texts).sum(1)
        return found

    with torch.no_grad():
        guided = generator._predictor(labels, clip_guided.Sampling(clip_scale=2.0))(noisy, times)
        gradient = (predict(noisy, times) - guided) / (2 * rest)
        along = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        rise = similarity(noisy + 1e-3 * along) - similarity(noisy - 1e-3 * along)
    assert torch.allclose(rise / 2e-3, gradient.flatten(1).norm(dim=1), rtol=0.05)


def test_a_given_clip_likes_what_it_guided_better(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    generator: Any = small_guided(clip=str(folder), timesteps=1000)
    labels = torch.tensor([0, 1, 2] * 4)
    texts = generator._given.texts(generator._prompts)[labels]

    def liking(scale: float) -> torch.Tensor:
        sampling = clip_guided.Sampling(clip_scale=scale, steps=10)
        images = generator.sample(labels, seeded(12), sampling)
        found: torch.Tensor = (generator._given.images(images) * texts).sum(1)
        return found

    assert (liking(20.0) > liking(0.0)).float().mean() > 0.9


def test_large_batches_are_guided_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, labels = small_guided(), torch.tensor([0, 1, 2, 0, 1])
    sampling = clip_guided.Sampling(clip_scale=3.0, steps=5)
    whole = generator.sample(labels, seeded(5), sampling)
    monkeypatch.setattr(clip_guided, "PART_PIXELS", 2 * 64)
    parted = generator.sample(labels, seeded(5), sampling)
    assert (whole.int() - parted.int()).abs().max() <= 1


def test_a_local_clip_counts_by_content(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    config = clip_guided.Config(clip=str(folder))
    named = clip_guided.identify(config, lambda path, what, compute: compute(path))
    assert named.clip is not None
    assert named.clip.startswith("sha256:")
    assert named.folder == str(folder)
    assert clip_guided.identify(named, lambda *_: "not asked") is named
    assert clip_guided.identify(clip_guided.Config(), lambda *_: "not asked").clip is None
    with pytest.raises(InputError, match="clip: there is no folder"):
        clip_guided.identify(clip_guided.Config(clip="./gone"), lambda *_: "not asked")


def test_classes_that_prompts_do_not_tell_apart_are_refused() -> None:
    info = replace(INFO, classes=("sea_lion", "sea lion", "dog"))
    with pytest.raises(InputError, match="2 classes are all 'a photo of a sea lion'"):
        clip_guided.build(TINY_GUIDED, info)
    generator: Any = small_guided()
    generator._fitted._average.text_projection.weight.zero_()
    with pytest.raises(InputError, match="cannot tell 'a photo of a cat' from"):
        generator.sample(torch.tensor([0]), seeded(1), clip_guided.Sampling(steps=5))


def test_classes_without_names_are_called_by_their_numbers() -> None:
    with torch.random.fork_rng(devices=[]):
        generator = clip_guided.ClipGuided(TINY_GUIDED, replace(INFO, classes=()))
    assert generator._prompts == ["a photo of a 0", "a photo of a 1", "a photo of a 2"]


def test_guidance_by_the_fitted_clip_draws_the_classes_asked_for() -> None:
    """Three classes that a hundred steps suffice for: a bright half, by its place."""
    generator = small_guided(timesteps=100, label_dropout=1.0, lr=3e-3, ema_decay=0.95)
    rng = torch.Generator().manual_seed(0)
    masks = torch.zeros(3, 1, 8, 8)
    masks[0, :, :4], masks[1, :, 4:], masks[2, :, :, :4] = 1, 1, 1
    for _ in range(100):
        labels = torch.randint(3, (32,), generator=rng)
        images = masks[labels] * torch.randint(150, 256, (32, 1, 1, 1), generator=rng)
        generator.step(images.byte(), labels, rng)
    asked = torch.arange(3).repeat(20)

    def agreement(scale: float) -> float:
        sampling = clip_guided.Sampling(clip_scale=scale, steps=10)
        made = generator.sample(asked, seeded(60), sampling).float()
        nearest = (made[:, None] - 200 * masks).flatten(2).norm(dim=2).argmin(1)
        return float((nearest == asked).float().mean())

    assert agreement(0.0) < 0.55
    assert agreement(5.0) > 0.9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ddpm.Config(channels=()), "no resolution"),
        (lambda: ddpm.Config(channels=(12,)), "multiple of 8"),
        (lambda: ddpm.Config(channels=(8,) * 6), "at most 5"),
        (lambda: ddpm.Config(schedule="linear", timesteps=50), "cosine"),
        (lambda: ddpm.Sampling(sampler="ddpm", eta=0.5), "only sampler='ddim'"),
        (lambda: ddpm.Sampling(sampler="EulerDiscreteScheduler", eta=0.5), "only sampler='ddim'"),
        (lambda: ddpm.Sampling(sampler="LCMScheduler"), "DPMSolverMultistepScheduler"),  # type: ignore[arg-type]
        (lambda: ddpm.Sampling(guidance=0.0), "greater than 0"),
        (lambda: ddpm.check(ddpm.Config(), ddpm.Sampling(steps=2000)), "timesteps=1000"),
        (lambda: ddpm.check(ddpm.Config(), ddpm.Sampling(steps=30)), "use 25"),
        (
            lambda: ddpm.check(ddpm.Config(label_dropout=0.0), ddpm.Sampling(guidance=2.0)),
            "label_dropout > 0",
        ),
        (
            lambda: ddpm.check(ddpm.Config(label_dropout=1.0), ddpm.Sampling()),
            "never shows the network a label",
        ),
        (lambda: clip_guided.Config(prompt="a digit"), "say once where"),
        (lambda: clip_guided.Config(channels=(12,)), "multiple of 8"),
        (lambda: clip_guided.Config(clip_width=12), "multiple of 8"),
        (lambda: clip_guided.Config(folder="x"), "filled in by planning"),
        (lambda: clip_guided.Sampling(guidance=2.0), "say conditional: true"),
        (lambda: clip_guided.Sampling(sampler="ddpm", eta=0.5), "only sampler='ddim'"),
        (
            lambda: clip_guided.check(clip_guided.Config(), clip_guided.Sampling(conditional=True)),
            "never shows the network a label",
        ),
        (
            lambda: clip_guided.check(
                clip_guided.Config(label_dropout=0.0), clip_guided.Sampling()
            ),
            "label_dropout > 0",
        ),
        (
            lambda: clip_guided.check(clip_guided.Config(), clip_guided.Sampling(steps=30)),
            "use 25",
        ),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
