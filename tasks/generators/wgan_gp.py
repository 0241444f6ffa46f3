"""Class-conditional Wasserstein GAN with gradient penalty.

Gulrajani et al., "Improved training of Wasserstein GANs" (arXiv 1704.00028,
igul222/improved_wgan_training); Miyato & Koyama's projection (1802.05637) tells the critic the
class. The critic has no batch norm.

The setting of the paper is near `penalty_weight: 10`, `discriminator_steps: 5`, `lr: 1e-4`,
`betas: [0, 0.9]`, `channels: 64`, `latent_size: 128`, `batch_size: 64`, `ema_decay: 0`; the
defaults here suit small images on one CPU core.
"""

import functools
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.generation import Generator, ImageInfo, check_image
from tasks.generators._adversarial import Adversarial, Critic, Losses, lowered
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted."""

    channels: Positive = 24
    """At the image's side; twice as many at each half of it, up to eight times."""
    latent_size: Positive = 64
    lr: Rate = 2e-3
    betas: tuple[Share, Share] = (0.0, 0.9)
    """Of Adam, for both networks."""
    discriminator_steps: Positive = 5
    """Updates of the critic for each of the generator."""
    penalty_weight: Rate = 10.0
    """How much slopes other than 1 of the critic cost: lambda."""
    ema_decay: Share = 0.999
    """Of the running average of the generator that is sampled from; 0 samples from itself."""
    compile: bool = False
    """Compile the networks; on a GPU alone."""
    batch_size: Positive = 32
    """Real images of an update; a step takes `discriminator_steps` times as many."""
    steps: Positive = 600
    """Updates of the generator."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    batch_size: Positive = 250


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled."""


def critic_loss(real: "Tensor", made: "Tensor") -> "Tensor":
    """The Wasserstein distance that the critic sees, made negative."""
    return made.mean() - real.mean()


def gradient_penalty(
    critic: Critic,
    real: "Tensor",
    made: "Tensor",
    labels: "Tensor",
    rng: "torch.Generator",
    *,
    weight: float,
) -> "Tensor":
    """weight * (|gradient of the critic| - 1)^2, the mean over images between real and made ones.

    Each real image is mixed with a made one of its class by a share of its own, uniform in [0, 1).
    """
    import torch

    shares = torch.rand((len(real), 1, 1, 1), generator=rng, device=real.device)
    mixed = torch.lerp(made, real, shares).requires_grad_(True)
    (slopes,) = torch.autograd.grad(critic(mixed, labels).sum(), mixed, create_graph=True)
    penalty: Tensor = weight * ((slopes.flatten(1).norm(dim=1) - 1) ** 2).mean()
    return penalty


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that these networks cannot make.
    """
    check_image(info, num_halvings=0)
    from tasks.networks.adversarial import ConvolutionalDiscriminator, ConvolutionalGenerator

    return Adversarial(
        config,
        ConvolutionalGenerator(info, config.channels, config.latent_size),
        ConvolutionalDiscriminator(info, config.channels),
        Losses(
            discriminator=critic_loss,
            generator=lowered,
            penalty=functools.partial(gradient_penalty, weight=config.penalty_weight),
        ),
    )
