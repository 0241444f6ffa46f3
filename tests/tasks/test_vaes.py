"""The autoencoders do what their papers say, and learn."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tasks import plugins
from tasks.errors import InputError
from tasks.generation import ImageInfo, to_signed
from tasks.generators import dvae, vae, vqvae
from tasks.generators._interpolation import arcs
from tasks.generators._variational import VariationalAutoencoder, beta_at
from tasks.packs import Pack
from tasks.results import read_result
from tests.tasks.synthesis import a_set, fitted, pixels_of, rows_of

pytestmark = pytest.mark.usefixtures("one_thread")

INFO = ImageInfo(channels=1, height=8, width=8, num_classes=3)
TINY = vae.Config(channels=(8, 16), latent_size=4, steps=6, batch_size=16)
TINY_VQ = vqvae.Config(width=16, codes=16, code_size=8, steps=6, batch_size=16)
LEARNING: dict[str, Any] = {
    "vae": vae.Config(channels=(16, 32), lr=3e-3, steps=200, batch_size=32),
    "dvae": dvae.Config(channels=(16, 32), lr=3e-3, steps=200, batch_size=32),
    "vqvae": vqvae.Config(width=32, codes=32, lr=3e-3, steps=300, batch_size=32),
}


def built(kind: Any, config: Any, info: ImageInfo = INFO) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return kind.build(config, info)


def a_batch(num: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(7)
    images = torch.randint(256, (num, 1, 8, 8), dtype=torch.uint8, generator=rng)
    return images, torch.arange(num) % 3


@pytest.fixture(scope="module")
def learnt(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A fit of a few seconds, made once for each."""
    root = tmp_path_factory.mktemp("learnt")

    def made(name: str) -> Path:
        out = root / name
        chosen = plugins.plugin("generators", name, LEARNING[name])
        return out if out.exists() else fitted(chosen, real, out)

    return made


@pytest.mark.parametrize("name", LEARNING)
def test_samples_look_most_like_their_class(
    name: str, real: Path, learnt: Callable[[str], Path], tmp_path: Path
) -> None:
    pack = Pack(real)
    means = np.stack([pack.whole[pack.labels == label].mean(0) for label in range(10)])
    chosen = plugins.plugin("generators", name, LEARNING[name])
    sampling = plugins.module("generators", name).Sampling(batch_size=50)
    many = replace(a_set(chosen, sampling), counts=(20,) * 10)
    rows = rows_of(many, [0, 200], learnt(name), real, tmp_path)

    distances = ((pixels_of(rows)[:, None] - means[..., 0]) ** 2).sum((2, 3))
    assert np.mean(distances.argmin(1) == [row["label"] for row in rows]) > 0.6


@pytest.mark.parametrize("name", LEARNING)
def test_reconstructions_are_nearer_than_the_mean_image(
    name: str, real: Path, learnt: Callable[[str], Path]
) -> None:
    pictures = np.load(learnt(name) / "visuals.npz")["reconstruction"] / 127.5 - 1
    first, last = pictures[:, 0], pictures[:, -1]
    error, spread = np.mean((last - first) ** 2), np.mean((first - first.mean(0)) ** 2)
    assert error < 0.4 * spread
    losses = read_result(learnt(name))["losses"]
    assert 0 < losses["reconstruction_mse"] < 0.4 * spread
    assert pictures.shape[1] == (3 if name == "dvae" else 2)
    if name == "dvae":
        assert not np.array_equal(pictures[:, 1], first)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vae", {"posterior": "mean"}),
        ("dvae", {"posterior": "mean", "corrupt": True}),
        ("vqvae", {}),
    ],
)
def test_reconstructions_at_another_batch_size_move_by_rounding_alone(
    name: str, settings: Any, real: Path, learnt: Callable[[str], Path], tmp_path: Path
) -> None:
    chosen = plugins.plugin("generators", name, LEARNING[name])
    kind = plugins.module("generators", name).Sampling
    made = []
    for size in (1, 16):
        sampling = kind(mode="reconstruct", batch_size=size, **settings)
        synthetic = a_set(chosen, sampling)
        made.append(rows_of(synthetic, [0, 16], learnt(name), real, tmp_path / str(size)))

    moved = np.abs(pixels_of(made[0]) - pixels_of(made[1]))
    assert moved.max() <= 1
    assert np.mean(moved > 0) <= 0.01
    assert [row["source"] for row in made[0]] == [row["source"] for row in made[1]]


@pytest.mark.parametrize("name", LEARNING)
def test_interpolations_walk_between_two_draws(name: str, learnt: Callable[[str], Path]) -> None:
    line = np.load(learnt(name) / "visuals.npz")["interpolation"].astype(float)
    assert line.shape == (10, 8, 8, 8, 1)
    ends = np.abs(line[:, 0] - line[:, -1]).mean((1, 2, 3))
    # Six images of a class are few: a prior over codes may draw the same one twice.
    far = ends > 1
    assert far.mean() >= 0.5
    longest = np.abs(np.diff(line[far], axis=1)).mean((2, 3, 4)).max(1)
    assert (longest < ends[far]).mean() >= 0.8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vae.Config(cycles=2), "cyclical"),
        (lambda: vae.Config(annealing="constant", ramp=0.2), "linear or cyclical"),
        (lambda: vae.Config(annealing="cyclical", steps=3), "exceeds"),
        (lambda: vae.Config(beta=0.0), "greater than 0"),
        (lambda: vae.Config(channels=()), "1 to 5 widths"),
        (lambda: vae.Config(channels=(12,)), "multiple of 8"),
        (lambda: vae.Sampling(posterior="mean"), "reconstruct"),
        (lambda: dvae.Config(cycles=2), "cyclical"),
        (lambda: dvae.Config(corruptions=()), "use the generator vae"),
        (lambda: dvae.Config(corruptions=("blur", "blur")), "each once"),
        (
            lambda: dvae.Config(corruptions=("blur",), strengths=dvae.Strengths(rotation=30.0)),
            "strengths.rotation=30.0 without that corruption",
        ),
        (lambda: dvae.Strengths(gaussian=0.0), "greater than 0"),
        (lambda: dvae.Strengths(rotation=200.0), "less than or equal to 180"),
        (lambda: dvae.Sampling(corrupt=True), "only mode='reconstruct'"),
        (lambda: dvae.Sampling(posterior="mean"), "reconstruct"),
        (lambda: vqvae.Config(width=12), "multiple of 8"),
        (lambda: vqvae.Config(codes=1), "greater than 1"),
        (lambda: vqvae.Config(steps=1), "greater than 1"),
        (lambda: vqvae.Prior(size=30, heads=4), "prior.heads=4"),
        (lambda: vqvae.Prior(share=1.0), "less than 1"),
        (lambda: vqvae.Sampling(mode="reconstruct", temperature=0.5), "nothing is drawn"),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", LEARNING)
def test_reconstructions_alone_take_sources(name: str) -> None:
    kind = plugins.module("generators", name)
    generator = built(kind, {"vae": TINY, "vqvae": TINY_VQ}.get(name, dvae.Config(channels=(8,))))
    images, labels = a_batch(1)
    rngs = [torch.Generator()]
    with pytest.raises(ValueError, match="mode='reconstruct' with no sources"):
        generator.sample(labels, rngs, kind.Sampling(mode="reconstruct"))
    with pytest.raises(ValueError, match="mode='sample' with sources"):
        generator.sample(labels, rngs, kind.Sampling(), images)


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
        assert beta_at(step, config) == pytest.approx(beta)


def test_the_loss_adds_the_weighted_divergence() -> None:
    config = replace(TINY, annealing="constant", beta=0.25, likelihood="bernoulli")
    losses = built(vae, config).step(*a_batch(), torch.Generator())
    assert losses["divergence"] > 0
    expected = losses["reconstruction"] + 0.25 * losses["divergence"]
    assert losses["loss"].item() == pytest.approx(expected.item())


def test_the_weight_of_the_divergence_rises_with_the_steps_and_goes_on_after_a_stop() -> None:
    config = replace(TINY, beta=0.6, annealing="linear", ramp=0.5)
    generator = built(vae, config)
    for step, beta in enumerate((0.0, 0.2, 0.4, 0.6, 0.6, 0.6)):
        if step == 2:
            state, generator = generator.state_dict(), built(vae, config)
            generator.load_state_dict(state)
        losses = generator.step(*a_batch(), torch.Generator())
        expected = losses["reconstruction"] + beta * losses["divergence"]
        assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
        # Of so small a share of the loss that rounding could hide the rest.
        assert beta == 0 or losses["divergence"] > 1e-2


def test_latents_are_drawn_from_a_posterior_that_is_held_to_the_prior() -> None:
    generator: VariationalAutoencoder = built(vae, TINY)
    network, (images, labels) = generator._network, a_batch()
    clean, noise = to_signed(images), torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.moments.bias.copy_(torch.tensor([0.5] * 4 + [-2.0] * 4))
        mean, log_variance = network.encode(clean, labels)
    posterior = Normal(mean, log_variance.exp().sqrt())
    drawn = mean + posterior.scale * noise
    seen: list[torch.Tensor] = []
    network.expand.register_forward_pre_hook(lambda _, given: seen.append(given[0][:, :4]))
    network(clean, labels, noise)

    assert torch.allclose(seen[0], drawn, atol=1e-5)
    assert torch.allclose(generator._encoded(clean, labels, noise), drawn, atol=1e-5)
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
    losses = generator.step(images, labels, torch.Generator())
    assert losses["divergence"].item() == pytest.approx(divergence.item(), rel=1e-4)


def test_likelihoods_are_those_of_the_papers() -> None:
    logits, clean = torch.full((2, 1, 8, 8), 2.0), torch.full((2, 1, 8, 8), 0.5)
    mse = torch.tensor((math.tanh(1) - 0.5) ** 2)
    calibrated: VariationalAutoencoder = built(vae, TINY)
    assert calibrated._nats(logits, clean, mse).item() == pytest.approx(32 * math.log(mse))
    bernoulli: VariationalAutoencoder = built(vae, replace(TINY, likelihood="bernoulli"))
    p = 1 / (1 + math.exp(-2))
    nats = -64 * (0.75 * math.log(p) + 0.25 * math.log(1 - p))
    assert bernoulli._nats(logits, clean, mse).item() == pytest.approx(nats, rel=1e-5)


def test_arcs_keep_the_length_of_latents_and_begin_and_end_at_them() -> None:
    rng = torch.Generator().manual_seed(0)
    first, second = torch.nn.functional.normalize(torch.randn(2, 5, 16, generator=rng), dim=2)
    arc = arcs(first, second, 8)
    assert arc.shape == (5, 8, 16)
    assert torch.allclose(arc[:, 0], first, atol=1e-5)
    assert torch.allclose(arc[:, -1], second, atol=1e-5)
    assert torch.allclose(arc.norm(dim=2), torch.ones(5, 8), atol=1e-5)
    assert arcs(first, first, 3).isfinite().all()
    assert arcs(first, -first, 3).isfinite().all()
    far, near = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert torch.allclose(arcs(far, near, 3)[:, 1], (far + near) / math.sqrt(2), atol=1e-5)


def test_the_encoder_sees_the_corrupted_image_and_the_loss_the_clean_one() -> None:
    config = dvae.Config(
        channels=(8,),
        corruptions=("salt_and_pepper",),
        strengths=dvae.Strengths(salt_and_pepper=1.0),
    )
    generator = built(dvae, config)
    seen: list[torch.Tensor] = []
    network = generator._network
    network.stem.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    made: list[torch.Tensor] = []
    network.register_forward_hook(lambda _, given, out: made.append(out[0]))
    grey = torch.full((16, 1, 8, 8), 128, dtype=torch.uint8)
    losses = generator.step(grey, torch.zeros(16, dtype=torch.int64), torch.Generator())

    assert set(seen[0].unique().tolist()) == {-1.0, 1.0}
    error = ((made[0] / 2).tanh() - (128 / 127.5 - 1)).square().mean()
    assert losses["reconstruction_mse"].item() == pytest.approx(error.item(), rel=1e-5)


def test_a_reconstruction_is_corrupted_only_where_asked(
    real: Path, learnt: Callable[[str], Path], tmp_path: Path
) -> None:
    chosen = plugins.plugin("generators", "dvae", LEARNING["dvae"])
    pixels = []
    for corrupt in (False, True):
        sampling = dvae.Sampling(
            mode="reconstruct", posterior="mean", corrupt=corrupt, batch_size=16
        )
        at = tmp_path / str(corrupt)
        pixels.append(
            pixels_of(rows_of(a_set(chosen, sampling), [0, 16], learnt("dvae"), real, at))
        )
    assert (pixels[0] != pixels[1]).any((1, 2)).mean() > 0.8


@pytest.mark.parametrize(
    ("side", "downsampling", "grid"),
    [
        *((8, None, 4), (12, None, 6), (16, None, 8), (20, None, 5), (36, None, 9)),
        *((128, None, 32), (32, 8, 4), (32, 16, 2), (128, 16, 8), (28, 2, 14)),
    ],
)
def test_codes_stand_for_squares_of_pixels(side: int, downsampling: Any, grid: int) -> None:
    info = ImageInfo(channels=3, height=side, width=side, num_classes=2)
    generator = built(vqvae, replace(TINY_VQ, downsampling=downsampling), info)
    assert generator._prior.grid == (grid, grid)


def test_sides_that_hold_no_whole_number_of_codes_are_refused() -> None:
    info = ImageInfo(channels=1, height=28, width=28, num_classes=2)
    with pytest.raises(InputError, match=r"multiples of 8.*dataset\.size"):
        vqvae.build(replace(TINY_VQ, downsampling=8), info)
