"""The variational autoencoder that `vae` and `dvae` fit: its annealing, its loss, its pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tasks.generation import (
    ImageInfo,
    load_states,
    mixed_precision,
    needs_sources,
    normal,
    states,
    to_pixels,
    to_signed,
)
from tasks.generators._interpolation import INTERPOLATED, arcs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tasks.networks.corruptions import Corruption

MAX_NORM = 100.0

Annealing = Literal["constant", "linear", "cyclical"]


class Settings(Protocol):
    """What the Configs of both say of the network and its loss."""

    @property
    def channels(self) -> tuple[int, ...]: ...
    @property
    def latent_size(self) -> int: ...
    @property
    def likelihood(self) -> Literal["calibrated", "bernoulli"]: ...
    @property
    def beta(self) -> float: ...
    @property
    def annealing(self) -> Annealing: ...
    @property
    def ramp(self) -> float: ...
    @property
    def cycles(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def compile(self) -> bool: ...


def check_settings(config: Settings) -> None:
    """Raise ValueError where settings contradict each other."""
    check_channels(config.channels, most=5)
    if config.annealing != "cyclical" and config.cycles != 4:
        raise ValueError(f"cycles={config.cycles} without cycles: set annealing='cyclical' too")
    if config.annealing == "constant" and config.ramp != 0.5:
        raise ValueError(f"ramp={config.ramp} with annealing='constant': use linear or cyclical")
    if config.annealing == "cyclical" and config.cycles > config.steps:
        raise ValueError(f"cycles={config.cycles} exceeds steps={config.steps}: use fewer")


def check_channels(channels: tuple[int, ...], most: int) -> None:
    """Raise ValueError for widths that the convolutions cannot have."""
    if not 1 <= len(channels) <= most:
        raise ValueError(f"channels={list(channels)}: give 1 to {most} widths")
    if any(width % 8 for width in channels):
        raise ValueError(f"channels={list(channels)}: each must be a multiple of 8")


def beta_at(step: int, config: Settings) -> float:
    """The weight of the divergence at a step, counted from 0.

    Linear: beta * min(1, step / (ramp * steps)). Cyclical (Fu et al., M = cycles, R = ramp): the
    same within each of `cycles` equal parts of the fit.
    """
    if config.annealing == "constant":
        return config.beta
    period = config.steps / (config.cycles if config.annealing == "cyclical" else 1)
    return config.beta * min(1.0, (step % period) / period / config.ramp)


class VariationalAutoencoder:
    """A `tasks.generation.Generator`; with a corruption, one that learns to undo it."""

    def __init__(
        self, config: Settings, info: ImageInfo, corruption: "Corruption | None" = None
    ) -> None:
        import torch

        from tasks.networks.conditional_vae import ConditionalVae

        self.batch_size = config.batch_size
        self.num_steps = config.steps
        self._config = config
        self._corruption = corruption
        self._device = "cpu"
        self._num_done = 0
        self._network = ConditionalVae(info, config.channels, config.latent_size)
        self.num_parameters = sum(weight.numel() for weight in self._network.parameters())
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=config.lr)
        self._parts = {"network": self._network, "optimizer": self._optimizer}

    def to(self, device: str) -> None:
        self._device = device
        self._network.to(device)
        if self._config.compile and device.startswith("cuda"):
            self._network.compile()

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        import torch
        from torch.nn import functional

        from tasks.networks.descending import descend

        clean = to_signed(images)
        seen = clean if self._corruption is None else self._corruption(clean, rng)
        shape = (len(clean), self._config.latent_size)
        noise = torch.randn(shape, generator=rng, device=clean.device)
        self._network.train()
        with mixed_precision(self._device):
            logits, mean, log_variance = self._network(seen, labels, noise)
        mean, log_variance, logits = mean.float(), log_variance.float(), logits.float()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        mse = functional.mse_loss((logits / 2).tanh(), clean)
        reconstruction = self._nats(logits, clean, mse)
        loss = reconstruction + beta_at(self._num_done, self._config) * divergence
        norm = descend(loss, self._optimizer, self._network.parameters(), MAX_NORM)
        self._num_done += 1
        return {
            "loss": loss.detach(),
            "reconstruction": reconstruction.detach(),
            "reconstruction_mse": mse.detach(),
            "divergence": divergence.detach(),
            "gradient_norm": norm,
        }

    def _nats(self, logits: "Tensor", clean: "Tensor", mse: "Tensor") -> "Tensor":
        """Negative log likelihood of an image, summed over pixels, up to a constant."""
        from torch.nn import functional

        if self._config.likelihood == "bernoulli":
            targets = (clean + 1) / 2
            return functional.binary_cross_entropy_with_logits(
                logits, targets, reduction="sum"
            ) / len(clean)
        # The best variance is the mean squared error; a hundredth of a grey level bounds it below.
        return 0.5 * clean[0].numel() * mse.clamp(min=1e-8).log()

    def state_dict(self) -> dict[str, Any]:
        return {**states(self._parts), "num_done": self._num_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_states(self._parts, state)
        self._num_done = state["num_done"]

    def sampler_state(self) -> dict[str, "Tensor"]:
        return dict(self._network.state_dict())

    def load_sampler_state(self, state: dict[str, "Tensor"]) -> None:
        self._network.load_state_dict(state)

    def sample(
        self,
        labels: "Tensor",
        rngs: "Sequence[torch.Generator]",
        sampling: Any,
        sources: "Tensor | None" = None,
    ) -> "Tensor":
        check_sources(sampling, sources)
        real = None
        if sources is not None:
            real = to_signed(sources.to(self._device))
            if getattr(sampling, "corrupt", False):
                real = self._corrupted(real, rngs)
        latents = normal((self._config.latent_size,), rngs).to(self._device)
        labels = labels.to(self._device)
        if real is not None:
            spread = 0.0 if sampling.posterior == "mean" else 1.0
            latents = self._encoded(real, labels, spread * latents)
        return self._decoded(latents, labels)

    def illustrate(
        self, labels: "Tensor", rngs: "Sequence[torch.Generator]", real: "Tensor"
    ) -> "dict[str, Tensor]":
        import torch

        size = self._config.latent_size
        ends = normal((2, size), rngs)
        between = arcs(ends[:, 0], ends[:, 1]).flatten(0, 1).to(self._device)
        labels = labels.to(self._device)
        line = self._decoded(between, labels.repeat_interleave(INTERPOLATED))
        seen = to_signed(real.to(self._device))
        columns = [real]
        if self._corruption is not None:
            seen = self._corrupted(seen, rngs)
            columns.append(to_pixels(seen).cpu())
        means = self._encoded(seen, labels, torch.zeros(len(labels), size, device=seen.device))
        columns.append(self._decoded(means, labels))
        return {
            "interpolation": line.unflatten(0, (len(labels), INTERPOLATED)),
            "reconstruction": torch.stack(columns, 1),
        }

    def _corrupted(self, images: "Tensor", rngs: "Sequence[torch.Generator]") -> "Tensor":
        """Each image by its own CPU generator."""
        import torch

        assert self._corruption is not None
        pairs = zip(images.cpu(), rngs, strict=True)
        each = [self._corruption(image[None], rng) for image, rng in pairs]
        return torch.cat(each).to(self._device)

    def _encoded(self, images: "Tensor", labels: "Tensor", noise: "Tensor") -> "Tensor":
        import torch

        self._network.eval()
        with torch.no_grad():
            mean, log_variance = self._network.encode(images, labels)
            return mean + noise * (0.5 * log_variance).exp()

    def _decoded(self, latents: "Tensor", labels: "Tensor") -> "Tensor":
        import torch

        self._network.eval()
        with torch.no_grad():
            return to_pixels((self._network.decode(latents, labels) / 2).tanh()).cpu()


def check_sources(sampling: Any, sources: "Tensor | None") -> None:
    """Raise ValueError unless real images come just where they are to be reconstructed."""
    if needs_sources(sampling) != (sources is not None):
        given = "no sources" if sources is None else "sources"
        raise ValueError(f"mode={sampling.mode!r} with {given}: reconstruct alone takes them")
