"""The GANs do what their papers say: losses, norms, attention, averages, truncation."""

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from tasks.errors import InputError
from tasks.generation import ImageInfo, num_halvings, to_pixels, to_signed
from tasks.generators import biggan, cgan, lsgan, vanilla_gan, wgan_gp
from tasks.generators._adversarial import (
    REFRESH_EVERY,
    Adversarial,
    hinge,
    lowered,
    truncated_normal,
)
from tasks.generators._interpolation import INTERPOLATED
from tasks.networks.adversarial import Projection, widths
from tasks.networks.attention import SelfAttention
from tasks.networks.residual import (
    ConditionalBatchNorm,
    ResidualDiscriminator,
    ResidualGenerator,
    add_spectral_norm,
    attended,
)

INFO = ImageInfo(channels=1, height=8, width=8, num_classes=3)
CONFIGS: dict[str, Any] = {
    "vanilla_gan": vanilla_gan.Config(channels=4, latent_size=8, batch_size=8),
    "lsgan": lsgan.Config(channels=4, latent_size=8, batch_size=8),
    "wgan_gp": wgan_gp.Config(channels=4, latent_size=8, batch_size=4, discriminator_steps=2),
    "cgan": cgan.Config(channels=4, latent_size=8, batch_size=8),
    "biggan": biggan.Config(channels=4, latent_size=8, batch_size=8),
}
MODULES: dict[str, Any] = {
    "vanilla_gan": vanilla_gan,
    "lsgan": lsgan,
    "wgan_gp": wgan_gp,
    "cgan": cgan,
    "biggan": biggan,
}
NAMES = tuple(MODULES)


def built(name: str, info: ImageInfo = INFO, *, seed: int = 0, **settings: Any) -> Adversarial:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        generator: Adversarial = MODULES[name].build(replace(CONFIGS[name], **settings), info)
    return generator


def batch(info: ImageInfo = INFO, size: int = 8) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(7)
    shape = (size, info.channels, info.height, info.width)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=rng)
    return images, torch.arange(size) % info.num_classes


def stepped(generator: Adversarial, times: int, first: int = 0) -> list[dict[str, Tensor]]:
    return [
        generator.step(*batch(), torch.Generator().manual_seed(number))
        for number in range(first, first + times)
    ]


def rngs(number: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(number)]


REAL, MADE = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 0.25, 1.5])


def mean_over(scores: Tensor, of: Callable[[float], float]) -> float:
    return float(np.mean([of(score) for score in scores.tolist()]))


@pytest.mark.parametrize(
    ("loss", "on_real", "on_made"),
    [
        (
            vanilla_gan.discriminator_loss,
            lambda r: -math.log(1 / (1 + math.exp(-r))),
            lambda m: -math.log(1 - 1 / (1 + math.exp(-m))),
        ),
        (lsgan.discriminator_loss, lambda r: (r - 1) ** 2 / 2, lambda m: m**2 / 2),
        (wgan_gp.critic_loss, lambda r: -r, lambda m: m),
        (hinge, lambda r: max(0.0, 1 - r), lambda m: max(0.0, 1 + m)),
    ],
)
def test_discriminators_are_fitted_for_the_losses_of_the_papers(
    loss: Callable[[Tensor, Tensor], Tensor],
    on_real: Callable[[float], float],
    on_made: Callable[[float], float],
) -> None:
    expected = mean_over(REAL, on_real) + mean_over(MADE, on_made)
    assert loss(REAL, MADE).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "on_made"),
    [
        (vanilla_gan.generator_loss, lambda m: -math.log(1 / (1 + math.exp(-m)))),
        (lsgan.generator_loss, lambda m: (m - 1) ** 2),
        (lowered, lambda m: -m),
    ],
)
def test_generators_are_fitted_for_the_losses_of_the_papers(
    loss: Callable[[Tensor], Tensor], on_made: Callable[[float], float]
) -> None:
    assert loss(MADE).item() == pytest.approx(mean_over(MADE, on_made), rel=1e-5)


def penalty_of(critic: Callable[[Tensor, Tensor], Tensor], weight: float = 10.0) -> Tensor:
    images, labels = batch()
    real, made = to_signed(images), torch.zeros(8, 1, 8, 8)
    rng = torch.Generator().manual_seed(3)
    return wgan_gp.gradient_penalty(critic, real, made, labels, rng, weight=weight)


def test_slopes_of_one_alone_cost_nothing() -> None:
    direction = functional.normalize(torch.randn(64, generator=rngs(1)[0]), dim=0)
    assert penalty_of(lambda x, _: x.flatten(1) @ direction).item() == pytest.approx(0, abs=1e-9)
    assert penalty_of(lambda x, _: 3 * x.flatten(1) @ direction).item() == pytest.approx(40)
    halved = penalty_of(lambda x, _: 0.5 * x.flatten(1) @ direction, weight=2.0)
    assert halved.item() == pytest.approx(0.5)


def test_each_image_is_mixed_by_a_share_of_its_own() -> None:
    shares = torch.rand((8, 1, 1, 1), generator=torch.Generator().manual_seed(3))
    # The slope of half the square is the image itself; made images are zero, mixed ones shorter.
    lengths = (shares * to_signed(batch()[0])).flatten(1).norm(dim=1)
    found = penalty_of(lambda x, _: 0.5 * (x**2).sum((1, 2, 3)))
    assert found.item() == pytest.approx(10 * ((lengths - 1) ** 2).mean().item(), rel=1e-5)


def test_the_penalty_moves_the_critic() -> None:
    slope = torch.full((64,), 0.25, requires_grad=True)
    penalty_of(lambda x, _: x.flatten(1) @ slope).backward()
    assert slope.grad is not None
    # |slope| = 2: the derivative of 10 (|slope| - 1)^2 is 20 in its direction, which is 1 / 8 each.
    assert torch.allclose(slope.grad, torch.full((64,), 20 / 8))


def drawn_weight(module: Any) -> Tensor:
    """As it is trained, before spectral norm."""
    normalised = nn.utils.parametrize.is_parametrized(module)
    weight: Tensor = module.parametrizations.weight.original if normalised else module.weight
    return weight


def normalised(network: nn.Module) -> list[Any]:
    return [m for m in network.modules() if nn.utils.parametrize.is_parametrized(m, "weight")]


def test_spectral_norm_holds_the_largest_singular_value_at_one() -> None:
    generator = built("biggan", lr=1e-4, discriminator_lr=1e-4)
    stepped(generator, 20)
    for network, kinds in (
        (generator._generator, (nn.Conv2d, nn.Linear)),
        (generator._discriminator, (nn.Conv2d, nn.Linear, nn.Embedding)),
        (generator._average, (nn.Conv2d, nn.Linear)),
    ):
        found = normalised(network.eval())
        assert len(found) == sum(isinstance(module, kinds) for module in network.modules())
        for module in found:
            largest = torch.linalg.svdvals(module.weight.flatten(1))[0]
            assert largest.item() == pytest.approx(1, abs=0.1)
    assert normalised(built("cgan")._discriminator)
    assert not normalised(built("cgan")._generator)


def test_spectral_norm_divides_by_the_norm() -> None:
    layer = nn.Linear(5, 4)
    weight = layer.weight.detach().clone()
    add_spectral_norm(layer, nn.Linear)
    for _ in range(50):
        layer(torch.zeros(1, 5))
    expected = weight / torch.linalg.svdvals(weight)[0]
    assert torch.allclose(layer.eval().weight, expected, atol=1e-5)


def test_conditional_batch_norm_starts_as_a_plain_one_and_then_follows_its_condition() -> None:
    norm = ConditionalBatchNorm(4, 3)
    hidden, condition = torch.randn(5, 4, 6, 2, generator=rngs(1)[0]), torch.eye(3)[[0, 1, 2, 1, 0]]
    plain = functional.batch_norm(hidden, None, None, training=True)
    assert torch.allclose(norm(hidden, condition), plain, atol=1e-6)
    with torch.no_grad():
        norm.gain.copy_(torch.arange(12.0).view(4, 3))
        norm.bias.copy_(-torch.arange(12.0).view(4, 3))
    for row, label in enumerate((0, 1, 2, 1, 0)):
        number = torch.arange(12.0).view(4, 3)[:, label, None, None]
        expected = (1 + number) * plain[row] - number
        assert torch.allclose(norm(hidden, condition)[row], expected, atol=1e-4)


def test_attention_starts_as_the_identity_and_opens_with_its_gate() -> None:
    attention = SelfAttention(8)
    hidden = torch.randn(2, 8, 6, 4, generator=rngs(1)[0])
    assert torch.equal(attention(hidden), hidden)
    with torch.no_grad():
        attention.gate.fill_(0.5)
        made = attention(hidden)
        queries = attention.query(hidden)
        keys, values = (
            functional.max_pool2d(layer(hidden), 2) for layer in (attention.key, attention.value)
        )
        for image, row, column in ((0, 0, 0), (1, 5, 3)):
            weights = torch.einsum("c,chw->hw", queries[image, :, row, column], keys[image])
            weights = weights.flatten().softmax(0).view(3, 2)
            seen = torch.einsum("hw,chw->c", weights, values[image])
            added = 0.5 * attention.output.weight.flatten(1) @ seen
            expected = hidden[image, :, row, column] + added
            assert torch.allclose(made[image, :, row, column], expected, atol=1e-5)


def test_biggan_is_initialised_orthogonally_and_attends_by_setting() -> None:
    generator = built("biggan")
    for network in (generator._generator, generator._discriminator):
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                matrix = drawn_weight(module).detach().flatten(1)
                short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
                assert torch.allclose(short @ short.T, torch.eye(len(short)), atol=1e-5)

    def attentions(attention: bool) -> list[int]:
        chosen = built("biggan", attention=attention)
        networks = (chosen._generator, chosen._discriminator)
        return [sum(isinstance(m, SelfAttention) for m in each.modules()) for each in networks]

    assert attentions(True) == [1, 1]
    assert attentions(False) == [0, 0]


def test_attention_is_where_its_weights_stay_small() -> None:
    sides = range(8, 129, 4)
    infos = [replace(INFO, height=height, width=width) for height in sides for width in sides]
    after = {info: attended(info) for info in infos}
    assert all(1 <= number <= num_halvings(info) for info, number in after.items())
    assert after[replace(INFO, height=64, width=64)] == 1
    assert after[replace(INFO, height=128, width=128)] == 2

    def shapes(network: nn.Module, *inputs: Tensor) -> list[tuple[int, ...]]:
        seen: list[tuple[int, ...]] = []
        for module in network.modules():
            if isinstance(module, SelfAttention):
                module.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
        network(*inputs)
        return seen

    large = replace(INFO, height=128, width=96)
    generator = ResidualGenerator(large, 1, 8, embedding_size=2, attention=True)
    discriminator = ResidualDiscriminator(large, 1, attention=True)
    label = torch.tensor([0])
    assert shapes(generator.eval(), torch.zeros(1, 8), label) == [(1, 4, 32, 24)]
    assert shapes(discriminator, torch.zeros(1, 1, 128, 96), label) == [(1, 2, 32, 24)]


def conditions(network: Any) -> list[int]:
    """What the norms of each block are given, in numbers."""
    return [block.first_norm.gain.shape[1] for block in network.blocks]


def test_biggan_deals_its_latents_to_all_layers() -> None:
    info = replace(INFO, height=32, width=32)
    network = ResidualGenerator(info, 4, 10, embedding_size=5)
    assert network.parts == [3, 3, 2, 2]
    assert conditions(network) == [5 + 3, 5 + 2, 5 + 2]
    plain = ResidualGenerator(info, 4, 10)
    assert plain.parts == [10]
    assert conditions(plain) == [3, 3, 3]


def test_a_projection_scores_as_miyato_and_koyama_do() -> None:
    projection = Projection(4, 3)
    hidden = torch.randn(2, 4, generator=rngs(1)[0])
    linear, embedding = projection.linear, projection.embedding.weight
    expected = [
        (linear.weight[0] @ h + linear.bias[0] + embedding[label] @ h).item()
        for h, label in zip(hidden, (2, 0), strict=True)
    ]
    assert projection(hidden, torch.tensor([2, 0])).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("threshold", [0.04, 0.5, 2.0])
def test_truncated_latents_follow_the_truncated_normal(threshold: float) -> None:
    drawn = truncated_normal(4000, rngs(1), threshold).flatten().numpy()
    assert np.abs(drawn).max() <= threshold
    expected = stats.truncnorm(-threshold, threshold)
    assert stats.kstest(drawn, expected.cdf).pvalue > 0.01
    assert drawn.std() == pytest.approx(expected.std(), rel=0.05)


def test_a_bound_that_binds_nowhere_leaves_the_latents_finite() -> None:
    assert truncated_normal(1000, rngs(1), 40.0).isfinite().all()


def test_truncation_makes_images_of_a_class_more_alike() -> None:
    generator = built("biggan")
    stepped(generator, 3)

    def spread(truncation: float | None) -> float:
        sampling = biggan.Sampling(truncation=truncation)
        images = generator.sample(torch.zeros(32, dtype=torch.int64), rngs(32), sampling)
        return float(images.float().std(0).mean())

    assert spread(0.1) < 0.3 * spread(None)
    assert spread(1.0) < spread(None)
    assert spread(30.0) == pytest.approx(spread(None), rel=0.2)


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_samples_are_of_one_image_alone(name: str) -> None:
    generator = built(name)
    stepped(generator, 3)
    images, labels = batch()
    discriminator = generator._discriminator.eval()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules())
    scores = discriminator(to_signed(images), labels)
    alone = discriminator(to_signed(images[2:3]), labels[2:3])
    assert scores[2].item() == pytest.approx(alone.item(), abs=1e-5)

    sampling = MODULES[name].Sampling()
    together = generator.sample(labels, rngs(8), sampling)
    apart = generator.sample(labels[2:3], rngs(8)[2:3], sampling)
    assert (together[2].int() - apart[0].int()).abs().max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_labels_matter_to_both_networks(name: str) -> None:
    generator = built(name)
    stepped(generator, 3)
    images, labels = batch()
    others = (labels + 1) % 3
    discriminator = generator._discriminator.eval()
    scores = [discriminator(to_signed(images), each) for each in (labels, others)]
    assert ((scores[0] - scores[1]).abs() > 1e-4).all()
    latents = torch.randn(8, 8, generator=rngs(1)[0])
    with torch.no_grad():
        made = [generator._average(latents, each) for each in (labels, others)]
    assert ((made[0] - made[1]).abs().flatten(1).amax(1) > 1e-4).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_step_updates_the_discriminator_as_often_as_asked(name: str) -> None:
    generator = built(name, discriminator_steps=3, batch_size=2)
    assert generator.batch_size == 6
    images, labels = batch(size=6)
    losses = generator.step(images, labels, torch.Generator())
    state = generator.state_dict()
    counts = [
        {int(each["step"]) for each in state[part]["state"].values()}
        for part in ("discriminator_optimizer", "generator_optimizer")
    ]
    assert counts == [{3}, {1}]
    expected = {"discriminator_loss", "discriminator_norm", "generator_loss", "generator_norm"}
    assert losses.keys() == expected | ({"penalty"} if name == "wgan_gp" else set())
    assert all(weight.requires_grad for weight in generator._discriminator.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_both_optimizers_are_set_as_the_settings_say(name: str) -> None:
    rate: dict[str, Any] = {"discriminator_lr": 3e-3} if name in ("cgan", "biggan") else {}
    generator = built(name, lr=2e-3, betas=(0.25, 0.75), **rate)
    for optimizer, lr in (
        (generator._generator_optimizer, 2e-3),
        (generator._discriminator_optimizer, rate.get("discriminator_lr", 2e-3)),
    ):
        (group,) = optimizer.param_groups
        eps = 1e-6 if name == "biggan" else 1e-8
        assert (group["lr"], group["betas"], group["eps"]) == (lr, (0.25, 0.75), eps)


def test_a_discriminator_step_goes_down_its_loss_on_the_images_given() -> None:
    """The figures reported are those of real images beside made ones of the same labels."""
    generator = built("lsgan")
    images, labels = batch()
    before = copy.deepcopy((generator._generator, generator._discriminator))
    losses = generator.step(images, labels, torch.Generator().manual_seed(5))
    latents = torch.randn((8, 8), generator=torch.Generator().manual_seed(5))
    made = before[0].train()(latents, labels)
    scores = [before[1](each, labels) for each in (to_signed(images), made)]
    expected = lsgan.discriminator_loss(*scores)
    assert losses["discriminator_loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    after = generator._discriminator(made.detach(), labels)
    assert losses["generator_loss"].item() == pytest.approx(
        lsgan.generator_loss(after).item(), rel=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_generator_goes_on_bit_for_bit(name: str) -> None:
    """Power iterations, batch statistics and both optimizers are part of the state."""
    one = built(name)
    stepped(one, 3)
    other = built(name, seed=1)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    figures = [stepped(each, 3, first=3) for each in (one, other)]
    assert figures[0] == figures[1]
    for network in ("generator", "discriminator", "average"):
        states = [each.state_dict()[network] for each in (one, other)]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", NAMES)
def test_images_come_from_the_average(name: str) -> None:
    generator = built(name)
    stepped(generator, 3)
    trained = dict(generator._generator.named_parameters())
    saved = generator.sampler_state()
    assert any(not torch.equal(saved[key], trained[key]) for key in trained)
    itself = built(name, ema_decay=0.0)
    stepped(itself, 3)
    trained, saved = dict(itself._generator.named_parameters()), itself.sampler_state()
    assert all(torch.equal(saved[key], trained[key]) for key in trained)


@pytest.mark.parametrize("name", NAMES)
def test_the_average_warms_up_and_follows_the_weights(name: str) -> None:
    generator = built(name, ema_decay=0.2, lr=0.1)
    expected = as_vector(generator._average)
    for number, decay in enumerate((1 / 10, 2 / 11, 0.2, 0.2)):
        stepped(generator, 1, first=number)
        expected = decay * expected + (1 - decay) * as_vector(generator._generator)
        assert torch.allclose(as_vector(generator._average), expected, atol=1e-5)


def as_vector(network: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_the_average_takes_its_own_batch_statistics() -> None:
    generator = built("vanilla_gan")
    stepped(generator, REFRESH_EVERY)
    average: Any = generator._average
    labels, latents = batch()[1], torch.randn(8, 8, generator=rngs(1)[0])
    before, spread = average.layers[0].running_mean.clone(), average.layers[0].running_var.clone()
    generator._update_average(latents, labels)
    told = torch.cat([latents, functional.one_hot(labels, 3).float()], 1)
    with torch.no_grad():
        hidden = average.expand(told).unflatten(1, average.lowest)
    expected = 0.9 * before + 0.1 * hidden.mean((0, 2, 3))
    assert torch.allclose(average.layers[0].running_mean, expected, atol=1e-6)
    spread = 0.9 * spread + 0.1 * hidden.movedim(1, 0).flatten(1).var(1)
    assert torch.allclose(average.layers[0].running_var, spread, atol=1e-6)
    assert not average.training

    generator._num_done += 1
    generator._update_average(latents, labels)
    assert torch.allclose(average.layers[0].running_mean, expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_interpolations_run_from_one_sample_to_another(name: str) -> None:
    generator = built(name)
    stepped(generator, 3)
    labels = torch.tensor([2, 0])
    shown = generator.illustrate(labels, rngs(2), batch()[0][:2])["interpolation"]
    assert shown.shape == (2, INTERPOLATED, 1, 8, 8)
    assert shown.dtype == torch.uint8
    ends = torch.stack([torch.randn((2, 8), generator=rng) for rng in rngs(2)])
    for column, end in ((0, 0), (-1, 1)):
        with torch.no_grad():
            expected = to_pixels(generator._average(ends[:, end], labels))
        assert (shown[:, column].int() - expected.int()).abs().max() <= 1
    jumps = shown.float().diff(dim=1).abs().mean((2, 3, 4))
    across = (shown[:, 0].float() - shown[:, -1].float()).abs().mean((1, 2, 3))
    assert (jumps.amax(1) < across).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("height", "width"), [(8, 8), (12, 20), (8, 128), (28, 28), (36, 44), (64, 64), (128, 128)]
)
def test_sides_that_are_multiples_of_four(name: str, height: int, width: int) -> None:
    info = ImageInfo(channels=3, height=height, width=width, num_classes=2)
    generator = built(name, info, channels=1)
    made = generator.sample(torch.tensor([0, 1]), rngs(2), MODULES[name].Sampling())
    assert made.shape == (2, 3, height, width)
    with torch.no_grad():
        assert generator._discriminator(to_signed(made), torch.tensor([0, 1])).shape == (2,)


def test_networks_halve_down_to_four_pixels_or_an_odd_side() -> None:
    cases = {(8, 8): 1, (28, 28): 2, (128, 128): 5, (8, 128): 1, (36, 36): 2, (12, 12): 1}
    for (height, width), expected in cases.items():
        assert num_halvings(replace(INFO, height=height, width=width)) == expected
    assert widths(8, 5) == (8, 16, 32, 64, 64, 64)


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_beyond_reason_shows_in_the_figures(name: str) -> None:
    generator = built(name, lr=1e20)
    figures = stepped(generator, 4)
    assert not all(value.isfinite() for each in figures for value in each.values())


@pytest.mark.parametrize(
    ("name", "steps", "settings"),
    [
        ("vanilla_gan", 100, {}),
        ("lsgan", 120, {}),
        ("wgan_gp", 100, {}),
        ("cgan", 300, {"batch_size": 32, "discriminator_lr": 2e-3}),
        ("biggan", 200, {"attention": False}),
    ],
)
def test_samples_soon_look_like_their_class(
    name: str, steps: int, settings: dict[str, Any]
) -> None:
    """A floor, of seconds; the benchmark says how good each is."""
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)
    images = torch.tensor(np.round(pixels * 255 / 16), dtype=torch.uint8).view(-1, 1, 8, 8)
    labels = torch.tensor(targets)
    info = ImageInfo(channels=1, height=8, width=8, num_classes=10)
    tiny = {"channels": 12, "latent_size": 16, "batch_size": 16, "lr": 2e-3, **settings}
    generator = built(name, info, **tiny)
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(images), (generator.batch_size,), generator=rng)
        generator.step(images[chosen], labels[chosen], rng)
    means = torch.stack([images[labels == label].float().mean(0) for label in range(10)])
    asked = torch.arange(200) % 10
    made = generator.sample(asked, rngs(200), MODULES[name].Sampling()).float()
    nearest = torch.cdist(made.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == asked).float().mean() > 0.4  # by chance 0.1
    assert made.view(20, 10, -1).std(0).mean() > 8  # of real images 42


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: biggan.Config(latent_size=4), "use 6 or more"),
        (lambda: biggan.Sampling(truncation=0.0), "greater than 0"),
        (lambda: wgan_gp.Config(penalty_weight=0.0), "greater than 0"),
        *(
            (functools.partial(module.Config, **{setting: value}), message)
            for module in MODULES.values()
            for setting, value, message in (
                ("betas", (0.5, 1.0), "less than 1"),
                ("ema_decay", 1.0, "less than 1"),
                ("discriminator_steps", 0, "greater than 0"),
            )
        ),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", NAMES)
def test_sides_that_are_no_multiple_of_four_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"set dataset\.size, for example to 28"):
        built(name, replace(INFO, height=30, width=30))


@pytest.mark.parametrize("name", ["wgan_gp", "biggan"])
def test_nothing_is_compiled_off_a_gpu(name: str) -> None:
    generator = built(name, compile=True)
    generator.to("cpu")
    assert generator._generator._compiled_call_impl is None


@pytest.mark.slow
# On the way dynamo asks for the gradients of images that were made, which keep none.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("name", ["wgan_gp", "cgan"])
def test_compiled_networks_take_the_same_steps(name: str) -> None:
    """The penalty's second derivative too, which torch.compile has not."""
    plain, compiled = built(name), built(name)
    keys = compiled.sampler_state().keys()
    for network in (compiled._generator, compiled._discriminator, compiled._average):
        network.compile(backend="aot_eager")
    figures = [stepped(each, 3) for each in (plain, compiled)]
    for one, other in zip(*figures, strict=True):
        assert {key: value.item() for key, value in one.items()} == pytest.approx(
            {key: value.item() for key, value in other.items()}, rel=1e-3
        )
    assert compiled.sampler_state().keys() == keys


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_takes_steps_and_samples(name: str, compiled: bool) -> None:
    generator = built(name, compile=compiled)
    generator.to("cuda")
    images, labels = (each.to("cuda") for each in batch())
    for number in range(5):
        losses = generator.step(images, labels, torch.Generator("cuda").manual_seed(number))
        assert all(value.isfinite() for value in losses.values())
    made = generator.sample(labels.cpu(), rngs(8), MODULES[name].Sampling())
    assert made.device.type == "cpu"
    assert made.shape == (8, 1, 8, 8)
