"""Class-conditional convolutional VAE with beta annealing.

Kingma & Welling, "Auto-encoding variational Bayes" (arXiv 1312.6114); Higgins et al., beta-VAE
(ICLR 2017); Fu et al., "Cyclical annealing schedule" (1903.10145, haofuml/cyclical_annealing);
Rybkin et al., "Simple and effective VAE training with calibrated decoders" (2006.13202,
orybkin/sigma-vae-pytorch) for the default likelihood, which weighs pixels against the divergence by
how well they can be told, whatever the image size. A usual reference setting is `latent_size: 128`,
`beta: 0.8`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.generation import (
    Generator,
    ImageInfo,
    check_image,
    mixed_precision,
    needs_sources,
    normal,
    to_pixels,
    to_signed,
)
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1

Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted."""

    channels: tuple[Positive, ...] = (32, 64)
    """Channels after each halving of the resolution."""
    latent_size: Positive = 16
    likelihood: Literal["calibrated", "bernoulli"] = "calibrated"
    """Of pixels: Gaussian with the variance that fits best, or binary cross-entropy on [0, 1]."""
    beta: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the divergence from the prior, once annealed."""
    annealing: Literal["constant", "linear", "cyclical"] = "linear"
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the fit (linear) or of each cycle (cyclical) in which beta rises from 0."""
    cycles: Positive = 4
    lr: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Positive = 64
    steps: Positive = 1500

    def __post_init__(self) -> None:
        if not 1 <= len(self.channels) <= 5:
            raise ValueError(f"channels={list(self.channels)}: give 1 to 5 widths")
        if any(width % 8 for width in self.channels):
            raise ValueError(f"channels={list(self.channels)}: each must be a multiple of 8")
        if self.annealing != "cyclical" and self.cycles != 4:
            raise ValueError(f"cycles={self.cycles} without cycles: set annealing='cyclical' too")
        if self.annealing == "constant" and self.ramp != 0.5:
            raise ValueError(f"ramp={self.ramp} with annealing='constant': use linear or cyclical")
        if self.annealing == "cyclical" and self.cycles > self.steps:
            raise ValueError(f"cycles={self.cycles} exceeds steps={self.steps}: use fewer")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    mode: Literal["sample", "reconstruct"] = "sample"
    """Decode draws from the prior, or encode and decode real training images of the class."""
    posterior: Literal["sample", "mean"] = "sample"
    """What a reconstruction decodes: a draw given the real image, or the mean."""
    batch_size: Positive = 250

    def __post_init__(self) -> None:
        if self.posterior == "mean" and self.mode == "sample":
            raise ValueError("posterior='mean' with mode='sample': only mode='reconstruct' has one")


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled in either mode."""


def beta_at(step: int, config: Config) -> float:
    """The weight of the divergence at a step, counted from 0.

    Linear: beta * min(1, step / (ramp * steps)). Cyclical (Fu et al., M = cycles, R = ramp): the
    same within each of `cycles` equal parts of the fit.
    """
    if config.annealing == "constant":
        return config.beta
    period = config.steps / (config.cycles if config.annealing == "cyclical" else 1)
    return config.beta * min(1.0, (step % period) / period / config.ramp)


class Vae:
    """A `tasks.generation.Generator`."""

    def __init__(self, config: Config, info: ImageInfo) -> None:
        import torch

        from tasks.networks.conditional_vae import ConditionalVae

        self.batch_size = config.batch_size
        self.num_steps = config.steps
        self._config = config
        self._device = "cpu"
        self._num_done = 0
        self._network = ConditionalVae(info, config.channels, config.latent_size)
        self.num_parameters = sum(weight.numel() for weight in self._network.parameters())
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=config.lr)

    def to(self, device: str) -> None:
        self._device = device
        self._network.to(device)

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        import torch

        clean = to_signed(images)
        self._network.train()
        with mixed_precision(self._device):
            mean, log_variance = self._network.encode(clean, labels)
            noise = torch.randn(mean.shape, generator=rng, device=mean.device)
            logits = self._network.decode(mean + noise * (0.5 * log_variance).exp(), labels)
        mean, log_variance = mean.float(), log_variance.float()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        reconstruction = self._nats(logits.float(), clean)
        loss = reconstruction + beta_at(self._num_done, self._config) * divergence
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 100.0)
        self._optimizer.step()
        self._num_done += 1
        return {
            "loss": loss.detach(),
            "reconstruction": reconstruction.detach(),
            "divergence": divergence.detach(),
        }

    def _nats(self, logits: "Tensor", clean: "Tensor") -> "Tensor":
        """Negative log likelihood of an image, summed over pixels, up to a constant."""
        from torch.nn import functional

        if self._config.likelihood == "bernoulli":
            targets = (clean + 1) / 2
            return functional.binary_cross_entropy_with_logits(
                logits, targets, reduction="sum"
            ) / len(clean)
        # The best variance is the mean squared error; a hundredth of a grey level bounds it below.
        error = functional.mse_loss((logits / 2).tanh(), clean).clamp(min=1e-8)
        return 0.5 * clean[0].numel() * error.log()

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "num_done": self._num_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._num_done = state["num_done"]

    def sampler_state(self) -> dict[str, "Tensor"]:
        return dict(self._network.state_dict())

    def load_sampler_state(self, state: dict[str, "Tensor"]) -> None:
        self._network.load_state_dict(state)

    def sample(
        self,
        labels: "Tensor",
        rngs: "Sequence[torch.Generator]",
        sampling: Sampling,
        sources: "Tensor | None" = None,
    ) -> "Tensor":
        import torch

        if needs_sources(sampling) != (sources is not None):
            given = "no sources" if sources is None else "sources"
            raise ValueError(f"mode={sampling.mode!r} with {given}: reconstruct alone takes them")
        self._network.eval()
        labels = labels.to(self._device)
        latents = normal((self._config.latent_size,), rngs).to(self._device)
        with torch.no_grad():
            if sources is not None:
                real = to_signed(sources.to(self._device))
                mean, log_variance = self._network.encode(real, labels)
                spread = 0.0 if sampling.posterior == "mean" else (0.5 * log_variance).exp()
                latents = mean + latents * spread
            return to_pixels((self._network.decode(latents, labels) / 2).tanh()).cpu()


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that this network cannot make.
    """
    check_image(info, num_halvings=len(config.channels))
    return Vae(config, info)
