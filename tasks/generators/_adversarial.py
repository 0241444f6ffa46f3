"""Two networks, one that makes images and one that judges them, fitted against each other.

Goodfellow et al., "Generative adversarial networks" (arXiv 1406.2661). Here is what the GANs of
this package share: the order of updates, the average, sampling, and what is saved. Their losses
and networks are named in their own files.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tasks.generation import (
    load_states,
    mixed_precision,
    normal,
    states,
    to_pixels,
    to_signed,
)
from tasks.generators._interpolation import INTERPOLATED, arcs

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

MAX_NORM = 100.0
"""Of all gradients of a network together; above those of a sound fit."""
REFRESH_EVERY = 4
"""Steps from one look of the average at its own batch statistics to the next."""

Critic = Callable[["Tensor", "Tensor"], "Tensor"]
"""Images in [-1, 1], N × C × H × W, and labels N -> scores N."""
Penalty = Callable[[Critic, "Tensor", "Tensor", "Tensor", "torch.Generator"], "Tensor"]
"""A critic, real images, made ones, their labels, and where noise comes from -> a scalar."""


class Settings(Protocol):
    """What the Configs of all GANs say of how they are fitted."""

    @property
    def latent_size(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def betas(self) -> tuple[float, float]: ...
    @property
    def discriminator_steps(self) -> int: ...
    @property
    def ema_decay(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def compile(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What the two networks are fitted for."""

    discriminator: "Callable[[Tensor, Tensor], Tensor]"
    """Scores of real and of made images -> a scalar."""
    generator: "Callable[[Tensor], Tensor]"
    """Scores of made images -> a scalar."""
    penalty: Penalty | None = None
    """Added to the discriminator's loss; in float32 wherever it is computed."""


def hinge(real: "Tensor", made: "Tensor") -> "Tensor":
    """Real images are to score above 1 and made ones below -1 (Lim & Ye, arXiv 1705.02894)."""
    from torch.nn import functional

    return functional.relu(1 - real).mean() + functional.relu(1 + made).mean()


def lowered(made: "Tensor") -> "Tensor":
    """Made images are to score high, however high they do."""
    return -made.mean()


class Adversarial:
    """A `tasks.generation.Generator`.

    One step takes `discriminator_steps` batches of real images, one for each update of the
    discriminator, and ends with one update of the generator. Made images carry the labels of the
    real ones beside them, so that both networks see classes as often as the data holds them. The
    generator learns from the images of the discriminator's last update, as in DCGAN's code.

    Images are sampled from a running average of the generator. Batch and spectral norm of an
    average of weights are not the average of theirs: every few steps it sees a batch of latents
    and takes its own.
    """

    def __init__(
        self,
        config: Settings,
        generator: "nn.Module",
        discriminator: "nn.Module",
        losses: Losses,
        *,
        discriminator_lr: float | None = None,
        eps: float = 1e-8,
    ) -> None:
        """Args:
        generator: latents N × latent_size and labels N -> images in [-1, 1], N × C × H × W.
        discriminator: images and labels -> scores N, each of its own image alone.
        discriminator_lr: None: that of the generator.
        eps: of Adam.
        """
        import torch

        self.batch_size = config.batch_size * config.discriminator_steps
        self.num_steps = config.steps
        self._config = config
        self._losses = losses
        self._device = "cpu"
        self._num_done = 0
        # Images of packs hold channels last, and convolutions are faster so: on a CPU by a sixth.
        self._generator, self._discriminator = (
            network.to(memory_format=torch.channels_last) for network in (generator, discriminator)
        )
        self._average = copy.deepcopy(self._generator).eval().requires_grad_(False)
        self.num_parameters = sum(
            weight.numel()
            for network in (self._generator, self._discriminator)
            for weight in network.parameters()
        )
        self._generator_optimizer, self._discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=lr, betas=config.betas, eps=eps, fused=True)
            for network, lr in (
                (self._generator, config.lr),
                (self._discriminator, discriminator_lr or config.lr),
            )
        )

    def to(self, device: str) -> None:
        self._device = device
        for network in (self._generator, self._discriminator, self._average):
            network.to(device)
            if self._config.compile and device.startswith("cuda"):
                network.compile()

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        import torch

        self._generator.train()
        self._discriminator.train()
        batches = to_signed(images).chunk(self._config.discriminator_steps)
        found: list[dict[str, Tensor]] = []
        for number, (real, told) in enumerate(
            zip(batches, labels.chunk(self._config.discriminator_steps), strict=True), 1
        ):
            size = (len(real), self._config.latent_size)
            latents = torch.randn(size, generator=rng, device=real.device)
            with torch.set_grad_enabled(number == len(batches)), mixed_precision(self._device):
                made = self._generator(latents, told)
            found.append(self._update_discriminator(real, made.detach().float(), told, rng))
        losses = {name: torch.stack([each[name] for each in found]).mean() for name in found[0]}
        losses |= self._update_generator(made, told)
        self._update_average(latents, told)
        self._num_done += 1
        return losses

    def _update_discriminator(
        self, real: "Tensor", made: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        import torch

        from tasks.networks.descending import descend

        with mixed_precision(self._device):
            scores = self._discriminator(torch.cat([real, made]), torch.cat([labels, labels]))
        loss = self._losses.discriminator(*scores.float().chunk(2))
        losses = {"discriminator_loss": loss.detach()}
        if self._losses.penalty is not None:
            # `forward` goes round torch.compile, which knows no second derivative.
            critic = self._discriminator.forward
            penalty = self._losses.penalty(critic, real, made, labels, rng)
            loss = loss + penalty
            losses["penalty"] = penalty.detach()
        weights = self._discriminator.parameters()
        norm = descend(loss, self._discriminator_optimizer, weights, MAX_NORM)
        return {**losses, "discriminator_norm": norm}

    def _update_generator(self, made: "Tensor", labels: "Tensor") -> dict[str, "Tensor"]:
        from tasks.networks.descending import descend

        # The way to the images leads through the discriminator; its own gradients are not wanted.
        self._discriminator.requires_grad_(False)
        with mixed_precision(self._device):
            scores = self._discriminator(made, labels)
        loss = self._losses.generator(scores.float())
        weights = self._generator.parameters()
        norm = descend(loss, self._generator_optimizer, weights, MAX_NORM)
        self._discriminator.requires_grad_(True)
        return {"generator_loss": loss.detach(), "generator_norm": norm}

    def _update_average(self, latents: "Tensor", labels: "Tensor") -> None:
        import torch

        from tasks.networks.averaging import update_average

        averages, weights = self._average.parameters(), self._generator.parameters()
        update_average(averages, weights, self._config.ema_decay, self._num_done)
        if self._num_done % REFRESH_EVERY == 0:
            self._average.train()
            with torch.no_grad(), mixed_precision(self._device):
                self._average(latents, labels)
            self._average.eval()

    def state_dict(self) -> dict[str, Any]:
        return {**states(self._parts()), "num_done": self._num_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_states(self._parts(), state)
        self._num_done = state["num_done"]

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self._generator,
            "discriminator": self._discriminator,
            "average": self._average,
            "generator_optimizer": self._generator_optimizer,
            "discriminator_optimizer": self._discriminator_optimizer,
        }

    def sampler_state(self) -> dict[str, "Tensor"]:
        return dict(self._average.state_dict())

    def load_sampler_state(self, state: dict[str, "Tensor"]) -> None:
        self._average.load_state_dict(state)

    def sample(
        self,
        labels: "Tensor",
        rngs: "Sequence[torch.Generator]",
        sampling: Any,
        sources: "Tensor | None" = None,
    ) -> "Tensor":
        """`sampling.truncation`, where there is such a setting, bounds the latents."""
        threshold = getattr(sampling, "truncation", None)
        size = self._config.latent_size
        if threshold is None:
            return self._made(normal((size,), rngs), labels)
        return self._made(truncated_normal(size, rngs, threshold), labels)

    def illustrate(
        self, labels: "Tensor", rngs: "Sequence[torch.Generator]", real: "Tensor"
    ) -> "dict[str, Tensor]":
        """`interpolation`: along the great circle between two latents of a class."""
        first, last = normal((2, self._config.latent_size), rngs).unbind(1)
        latents = arcs(first, last).flatten(0, 1)
        images = self._made(latents, labels.repeat_interleave(INTERPOLATED))
        return {"interpolation": images.unflatten(0, (len(labels), INTERPOLATED))}

    def _made(self, latents: "Tensor", labels: "Tensor") -> "Tensor":
        """Images of latents, as uint8 on the CPU."""
        import torch

        self._average.eval()
        with torch.no_grad():
            images = self._average(latents.to(self._device), labels.to(self._device))
        return to_pixels(images).cpu()


def truncated_normal(size: int, rngs: "Sequence[torch.Generator]", threshold: float) -> "Tensor":
    """Standard normal noise, given that no entry is beyond the threshold: len(rngs) × size.

    BigGAN draws again what is beyond; the inverse of the distribution function needs one draw.
    """
    import torch

    uniform = torch.stack([torch.rand(size, generator=rng, dtype=torch.float64) for rng in rngs])
    inside = math.erf(threshold / math.sqrt(2))
    drawn = math.sqrt(2) * torch.erfinv((2 * uniform - 1) * inside)
    # The inverse of a whole 1 is infinite.
    return drawn.clamp(-threshold, threshold).float()
