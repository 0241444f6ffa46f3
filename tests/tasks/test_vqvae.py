"""Codebook, straight-through gradient, and the prior over codes."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tasks.generation import ImageInfo, to_signed
from tasks.generators import vqvae
from tasks.networks.prior import CodePrior
from tasks.networks.quantising import Codebook, QuantisingAutoencoder, perplexity

pytestmark = pytest.mark.usefixtures("one_thread")

INFO = ImageInfo(channels=1, height=8, width=8, num_classes=3)
TINY = vqvae.Config(width=16, codes=16, code_size=8, steps=6, batch_size=16)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def a_generator(**settings: object) -> vqvae.VqVae:
    generator = vqvae.build(replace(TINY, **settings), INFO)  # type: ignore[arg-type]
    assert isinstance(generator, vqvae.VqVae)
    return generator


def a_batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(256, (16, 1, 8, 8), dtype=torch.uint8, generator=rng(7))
    return images, torch.arange(16) % 3


def test_the_nearest_code_is_the_nearest() -> None:
    codebook = Codebook(20, 5, averaged=True)
    encoded = torch.randn(3, 5, 4, 6, generator=rng())
    codes = codebook.nearest(encoded)
    flat = encoded.permute(0, 2, 3, 1).reshape(-1, 5)
    assert torch.equal(codes.flatten(), torch.cdist(flat, codebook.codes).argmin(1))
    vectors = codebook.vectors(codes)
    assert vectors.shape == encoded.shape
    assert torch.equal(vectors[1, :, 2, 3], codebook.codes[codes[1, 2, 3]])


def test_averaged_codes_follow_the_appendix_of_van_den_oord() -> None:
    codebook = Codebook(4, 2, averaged=True)
    counts, sums = codebook.counts.clone(), codebook.sums.clone()
    for seed in range(3):
        encoded = torch.randn(5, 2, 3, 3, generator=rng(seed))
        codes = codebook.nearest(encoded)
        codebook.follow(encoded, codes, 0.0, rng())
        flat, chosen = encoded.permute(0, 2, 3, 1).reshape(-1, 2), codes.flatten()
        for code in range(4):
            counts[code] = 0.99 * counts[code] + 0.01 * (chosen == code).sum()
            sums[code] = 0.99 * sums[code] + 0.01 * flat[chosen == code].sum(0)
        total = counts.sum()
        smooth = (counts + 1e-5) / (total + 4e-5) * total
        assert torch.allclose(codebook.codes, sums / smooth[:, None], rtol=1e-5)


def test_codes_that_are_hardly_used_start_anew_at_an_encoding() -> None:
    codebook = Codebook(4, 2, averaged=True)
    with torch.no_grad():
        codebook.codes[3] = 1e6
        codebook.sums[3] = 1e6
    encoded = torch.randn(5, 2, 3, 3, generator=rng(2))
    flat = encoded.permute(0, 2, 3, 1).reshape(-1, 2)
    share = 45 / 4
    # 0.99 ** 149 is the first power below 0.02 * 45 / 4.
    for number in range(1, 150):
        codes = codebook.nearest(encoded)
        assert 3 not in codes
        codebook.follow(encoded, codes, 0.02, rng(5))
        assert (codebook.counts[3] == share) == (number == 149)
    assert (codebook.codes[3] == flat).all(1).any()
    assert torch.allclose(codebook.sums[3], codebook.codes[3] * share)
    before = Codebook(4, 2, averaged=True)
    before.follow(encoded, torch.zeros(5, 3, 3, dtype=torch.int64), 0.0, rng())
    assert before.counts.tolist() == pytest.approx([0.99 + 0.45, 0.99, 0.99, 0.99])


def test_the_first_batch_gives_the_first_codes() -> None:
    codebook = Codebook(6, 2, averaged=False)
    encoded = torch.randn(5, 2, 3, 3, generator=rng(2))
    codebook.start(encoded, rng())
    flat = encoded.permute(0, 2, 3, 1).reshape(-1, 2)
    assert all((code == flat).all(1).any() for code in codebook.codes)
    assert codebook.counts.tolist() == [7.5] * 6


def test_perplexity_counts_codes_used_evenly() -> None:
    assert perplexity(torch.tensor([[0, 1], [2, 3]]), 9).item() == pytest.approx(4)
    assert perplexity(torch.zeros(2, 3, dtype=torch.int64), 9).item() == pytest.approx(1)


def test_gradients_pass_straight_through_the_codes() -> None:
    network = QuantisingAutoencoder(INFO, 16, 1, 16, 8, averaged=True)
    encoded = torch.randn(2, 8, 4, 4, generator=rng(), requires_grad=True)
    vectors = network.codebook.vectors(network.codebook.nearest(encoded)).detach()
    (through,) = torch.autograd.grad(network(encoded, vectors).square().sum(), encoded)
    leaf = vectors.clone().requires_grad_()
    (direct,) = torch.autograd.grad(network.decode(leaf).square().sum(), leaf)
    assert torch.allclose(through, direct, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_the_loss_is_that_of_van_den_oord(codebook: str) -> None:
    generator = a_generator(codebook=codebook, revive_below=0.0)
    twin = copy.deepcopy(generator._autoencoder)
    images, labels = a_batch()
    losses = generator.step(images, labels, rng(3))

    clean = to_signed(images)
    encoded = twin.encoder(clean)
    twin.codebook.start(encoded, rng(3))
    vectors = twin.codebook.vectors(twin.codebook.nearest(encoded))
    mse = functional.mse_loss(twin.decode(vectors), clean)
    distance = functional.mse_loss(encoded, vectors)
    assert losses["reconstruction_mse"].item() == pytest.approx(mse.item(), rel=1e-4)
    assert losses["commitment"].item() == pytest.approx(distance.item(), rel=1e-4)
    weight = 0.25 if codebook == "ema" else 1.25
    expected = mse + weight * distance
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_codes_take_a_gradient_only_where_they_are_not_averaged() -> None:
    for codebook in ("ema", "gradient"):
        generator = a_generator(codebook=codebook)
        generator.step(*a_batch(), rng())
        taken = generator._autoencoder.codebook.codes in generator._optimizer.state
        assert taken == (codebook == "gradient")


def test_the_autoencoder_learns_first_and_the_prior_on_held_codes_after() -> None:
    generator = a_generator(prior=vqvae.Prior(share=0.5))
    assert generator._config.prior_steps == 3
    seen = []
    for step in range(6):
        before = {k: t.clone() for k, t in generator.sampler_state().items()}
        losses = generator.step(*a_batch(), rng(step))
        after = generator.sampler_state()
        seen.append({k.split(".")[0] for k in after if not torch.equal(before[k], after[k])})
        assert ("prior_nats_per_code" in losses) == (step >= 3)
        assert ("reconstruction_mse" in losses) == ("perplexity" in losses) == (step < 3)
    assert seen == [{"autoencoder"}] * 3 + [{"prior"}] * 3


def test_both_parts_have_a_step_at_least() -> None:
    assert vqvae.Config(steps=2, prior=vqvae.Prior(share=0.01)).prior_steps == 1
    assert vqvae.Config(steps=2, prior=vqvae.Prior(share=0.99)).prior_steps == 1
    assert vqvae.Config(steps=10, prior=vqvae.Prior(share=0.6)).prior_steps == 6


def a_prior() -> CodePrior:
    """With weights far from their small beginnings, so that codes matter to each other."""
    prior = CodePrior(11, 3, (3, 4), 16, 2, 4, 0.0)
    with torch.no_grad():
        for weight in prior.parameters():
            weight.add_(torch.randn(weight.shape, generator=rng(weight.numel())), alpha=0.3)
    return prior.double().eval()


def test_a_code_depends_on_the_class_and_those_before_it_alone() -> None:
    prior, labels = a_prior(), torch.tensor([0])
    codes = torch.randint(11, (1, 3, 4), generator=rng())
    logits = prior(codes, labels)
    assert not torch.allclose(logits, prior(codes, torch.tensor([1])))
    for at in range(12):
        changed = codes.clone().flatten()
        changed[at] = (changed[at] + 1) % 11
        other = prior(changed.view(1, 3, 4), labels)
        same = (other - logits).abs().amax(2)[0] < 1e-12
        assert same[: at + 1].all()
        assert not same[at + 1 :].any()


def test_codes_are_drawn_where_uniforms_meet_the_distribution() -> None:
    prior, labels = a_prior(), torch.tensor([0, 1, 2, 0, 1])
    uniforms = torch.rand(5, 12, generator=rng(), dtype=torch.float64)
    for temperature in (1.0, 0.5):
        codes = prior.draw(labels, uniforms, temperature)
        shares = (prior(codes, labels) / temperature).softmax(2)
        ends = shares.cumsum(2)
        chosen = codes.flatten(1)[..., None]
        upper = ends.gather(2, chosen)[..., 0]
        lower = upper - shares.gather(2, chosen)[..., 0]
        assert ((lower - 1e-12 <= uniforms) & (uniforms < upper + 1e-12)).all()
    coldest = prior.draw(labels, uniforms, 1e-3)
    assert torch.equal(coldest.flatten(1), prior(coldest, labels).argmax(2))


def test_the_last_code_takes_what_rounding_leaves() -> None:
    most = torch.full((1, 12), 1.0, dtype=torch.float64)
    assert a_prior().draw(torch.tensor([0]), most, 1.0).max() <= 10


def test_codes_do_not_depend_on_the_batch_they_are_drawn_in() -> None:
    prior = CodePrior(64, 3, (7, 7), 32, 2, 4, 0.1).double().eval()
    labels = torch.arange(96) % 3
    uniforms = torch.rand(96, 49, generator=rng(), dtype=torch.float64)
    whole = prior.draw(labels, uniforms, 1.0)
    parts = [prior.draw(labels[at], uniforms[at], 1.0) for at in torch.arange(96).split(7)]
    assert torch.equal(whole, torch.cat(parts))


def test_codes_are_drawn_and_looked_up_in_double_precision() -> None:
    """In float32 an image in a few thousand would hang on its batch: too few for a test to meet."""
    generator, (images, labels) = a_generator(), a_batch()
    drawn: list[torch.dtype] = []
    looked_up: list[torch.dtype] = []
    # What is copied to be run in double precision keeps its hooks.
    generator._prior.norm.register_forward_pre_hook(lambda _, given: drawn.append(given[0].dtype))
    generator._autoencoder.encoder.register_forward_hook(
        lambda _, __, encoded: looked_up.append(encoded.dtype)
    )
    rngs = [rng(number) for number in range(16)]
    generator.sample(labels, rngs, vqvae.Sampling())
    generator.sample(labels, rngs, vqvae.Sampling(mode="reconstruct"), images)

    assert set(drawn) == set(looked_up) == {torch.float64}
    assert {weight.dtype for weight in generator._networks.parameters()} == {torch.float32}


def test_temperature_sharpens_what_is_drawn() -> None:
    generator = a_generator()
    for step in range(6):
        generator.step(*a_batch(), rng(step))
    labels = torch.zeros(8, dtype=torch.int64)
    made = [
        generator.sample(labels, [rng(n) for n in range(8)], vqvae.Sampling(temperature=t))
        for t in (1e-3, 1.0)
    ]
    assert (made[0] == made[0][0]).all()
    assert not (made[1] == made[1][0]).all()
