"""Two networks, one that makes images and one that judges them, fitted against each other.

Goodfellow et al., "Generative adversarial networks" (arXiv 1406.2661). What the GANs of this
package share: the order of updates, the average, sampling, and what is saved. Their losses and
networks are in their own files.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.generation import (
    load_states,
    mixed_precision,
    normal,
    states,
    to_pixels,
    to_signed,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

MAX_NORM = 100.0
"""Of all gradients of a network together; far above those of a sound fit."""
REFRESH_EVERY = 4
"""Updates of the generator for each that the average takes its batch statistics anew in."""
COLUMNS = 8
"""Images of an interpolation."""

Critic = Callable[["Tensor", "Tensor"], "Tensor"]
"""Images in [-1, 1], N × C × H × W, and labels N -> scores N."""
Penalty = Callable[[Critic, "Tensor", "Tensor", "Tensor", "torch.Generator"], "Tensor"]
"""A critic, real images, made ones, their labels and noise -> a scalar in float32."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What each network is fitted for, and how often and fast."""

    discriminator_loss: "Callable[[Tensor, Tensor], Tensor]"
    """Scores of real and of made images -> a scalar."""
    generator_loss: "Callable[[Tensor], Tensor]"
    """Scores of made images -> a scalar."""
    penalty: Penalty | None = None
    """Added to the discriminator's loss."""
    discriminator_steps: int
    """Updates of the discriminator for each of the generator."""
    batch_size: int
    """Images of each update."""
    steps: int
    """Updates of the generator."""
    latent_size: int
    generator_lr: float
    discriminator_lr: float
    betas: tuple[float, float]
    eps: float = 1e-8
    ema_decay: float
    compile: bool


class Adversarial:
    """A `tasks.generation.Generator`.

    One step takes `discriminator_steps` batches of real images, one for each update of the
    discriminator, and ends with one update of the generator. Made images carry the labels of the
    real ones beside them: both networks see the classes as often as the data holds them. The
    images of the last update of the discriminator are those that the generator then learns from,
    as in DCGAN's code.

    What is sampled from is a running average of the generator's weights. Its batch statistics are
    its own: it sees a batch of latents every few steps.
    """

    def __init__(self, generator: "nn.Module", discriminator: "nn.Module", rules: Rules) -> None:
        import torch

        self.batch_size = rules.batch_size * rules.discriminator_steps
        self.num_steps = rules.steps
        self.num_parameters = sum(
            weight.numel()
            for network in (generator, discriminator)
            for weight in network.parameters()
        )
        self._rules = rules
        self._device = "cpu"
        self._num_done = 0
        # Packs hold channels last, and convolutions are faster so, on a CPU by a sixth.
        self._generator, self._discriminator = (
            network.to(memory_format=torch.channels_last) for network in (generator, discriminator)
        )
        self._average = copy.deepcopy(generator).eval().requires_grad_(False)
        self._generator_optimizer, self._discriminator_optimizer = (
            torch.optim.Adam(
                network.parameters(), lr=lr, betas=rules.betas, eps=rules.eps, fused=True
            )
            for network, lr in (
                (generator, rules.generator_lr),
                (discriminator, rules.discriminator_lr),
            )
        )

    def to(self, device: str) -> None:
        self._device = device
        for network in (self._generator, self._discriminator, self._average):
            network.to(device)
            if self._rules.compile and device.startswith("cuda"):
                network.compile()

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        import torch

        self._generator.train()
        self._discriminator.train()
        real = to_signed(images)
        rounds = list(
            zip(
                *(each.chunk(self._rules.discriminator_steps) for each in (real, labels)),
                strict=True,
            )
        )
        found: list[dict[str, Tensor]] = []
        for number, (shown, told) in enumerate(rounds, 1):
            latents = torch.randn(
                (len(shown), self._rules.latent_size), generator=rng, device=real.device
            )
            with torch.set_grad_enabled(number == len(rounds)), mixed_precision(self._device):
                made = self._generator(latents, told)
            found.append(self._update_discriminator(shown, made.detach(), told, rng))
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

        rules = self._rules
        with mixed_precision(self._device):
            # Neither network of a pair has batch norm in its discriminator: one pass serves both.
            both = self._discriminator(
                torch.cat([real, made.to(real.dtype)]), torch.cat([labels, labels])
            )
        loss = rules.discriminator_loss(*both.float().chunk(2))
        losses = {"discriminator_loss": loss.detach()}
        if rules.penalty is not None:
            # `forward`: torch.compile knows no second derivative.
            penalty = rules.penalty(
                self._discriminator.forward, real, made.to(real.dtype), labels, rng
            )
            loss = loss + penalty
            losses["penalty"] = penalty.detach()
        weights = self._discriminator.parameters()
        norm = descend(loss, self._discriminator_optimizer, weights, MAX_NORM)
        return {**losses, "discriminator_norm": norm}

    def _update_generator(self, made: "Tensor", labels: "Tensor") -> dict[str, "Tensor"]:
        from tasks.networks.descending import descend

        self._discriminator.requires_grad_(False)
        with mixed_precision(self._device):
            scores = self._discriminator(made, labels)
        loss = self._rules.generator_loss(scores.float())
        weights = self._generator.parameters()
        norm = descend(loss, self._generator_optimizer, weights, MAX_NORM)
        self._discriminator.requires_grad_(True)
        return {"generator_loss": loss.detach(), "generator_norm": norm}

    def _update_average(self, latents: "Tensor", labels: "Tensor") -> None:
        import torch

        from tasks.networks.averaging import update_average

        update_average(
            self._average.parameters(),
            self._generator.parameters(),
            self._rules.ema_decay,
            self._num_done,
        )
        if self._num_done % REFRESH_EVERY == 0:
            # In training, a pass updates the statistics of batch norm and spectral norm.
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
        truncation = getattr(sampling, "truncation", None)
        if truncation is None:
            latents = normal((self._rules.latent_size,), rngs)
        else:
            latents = truncated_normal(self._rules.latent_size, rngs, truncation)
        return self._made(latents, labels)

    def illustrate(
        self, labels: "Tensor", rngs: "Sequence[torch.Generator]", real: "Tensor"
    ) -> "dict[str, Tensor]":
        """`interpolation`: eight images on the great circle between two latents of a class."""
        import torch

        first, last = normal((2, self._rules.latent_size), rngs).unbind(1)
        shares = torch.linspace(0, 1, COLUMNS).tolist()
        latents = torch.stack([spherical(first, last, share) for share in shares], 1)
        images = self._made(latents.flatten(0, 1), labels.repeat_interleave(COLUMNS))
        return {"interpolation": images.unflatten(0, (len(labels), COLUMNS))}

    def _made(self, latents: "Tensor", labels: "Tensor") -> "Tensor":
        """Images of these latents, uint8 on the CPU."""
        import torch

        self._average.eval()
        with torch.no_grad():
            return to_pixels(
                self._average(latents.to(self._device), labels.to(self._device))
            ).cpu()


def truncated_normal(
    size: int, rngs: "Sequence[torch.Generator]", threshold: float
) -> "Tensor":
    """Standard normal noise given that no entry is beyond the threshold: len(rngs) × size.

    By the inverse of the distribution function, where BigGAN's code draws again what is beyond.
    """
    import math

    import torch

    uniform = torch.stack(
        [torch.rand(size, generator=rng, dtype=torch.float64) for rng in rngs]
    )
    inside = math.erf(threshold / math.sqrt(2))
    drawn = math.sqrt(2) * torch.erfinv((2 * uniform - 1) * inside)
    return drawn.clamp(-threshold, threshold).float()


def spherical(first: "Tensor", last: "Tensor", share: float) -> "Tensor":
    """Rows on the great circles between rows (White, arXiv 1609.04468), N × latent.

    Means of normal latents are shorter than any the generator has seen; these are as long.
    """
    cosine = (first * last).sum(1, keepdim=True) / (
        first.norm(dim=1, keepdim=True) * last.norm(dim=1, keepdim=True)
    )
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    return (
        ((1 - share) * angle).sin() * first + (share * angle).sin() * last
    ) / angle.sin()
