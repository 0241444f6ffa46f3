"""Class-conditional WGAN-GP.

Gulrajani et al., "Improved training of Wasserstein GANs" (arXiv 1704.00028,
igul222/improved_wgan_training).
"""

import functools
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.generators._adversarial import Critic
from tasks.generation import Generator, ImageInfo, check_image
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

    channels: Positive = 32
    latent_size: Positive = 64
    lr: Rate = 5e-4
    betas: tuple[Share, Share] = (0.0, 0.9)
    discriminator_steps: Positive = 3
    penalty_weight: Rate = 10.0
    ema_decay: Share = 0.999
    compile: bool = False
    batch_size: Positive = 64
    steps: Positive = 700


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    batch_size: Positive = 250


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled."""


def discriminator_loss(real: "Tensor", made: "Tensor") -> "Tensor":
    """The negative of the distance that the critic sees: mean of made minus mean of real."""
    return made.mean() - real.mean()


def generator_loss(made: "Tensor") -> "Tensor":
    """Made images are to score high."""
    return -made.mean()


def gradient_penalty(
    critic: Critic,
    real: "Tensor",
    made: "Tensor",
    labels: "Tensor",
    rng: "torch.Generator",
    *,
    weight: float,
) -> "Tensor":
    """weight * mean((||gradient of the critic|| - 1)^2), between real and made images.

    Each pair is mixed by a share of its own, uniform in [0, 1).
    """
    import torch

    shares = torch.rand((len(real), 1, 1, 1), generator=rng, device=real.device)
    mixed = torch.lerp(made, real, shares).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(mixed, labels).sum(), mixed, create_graph=True)
    penalty: Tensor = weight * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    return penalty


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that this network cannot make.
    """
    check_image(info, num_halvings=0)
    from tasks.generators._adversarial import Adversarial, Rules
    from tasks.networks.adversarial import ConvolutionalDiscriminator, ConvolutionalGenerator

    return Adversarial(
        ConvolutionalGenerator(info, config.channels, config.latent_size),
        ConvolutionalDiscriminator(info, config.channels),
        Rules(
            discriminator_loss=discriminator_loss,
            generator_loss=generator_loss,
            penalty=functools.partial(gradient_penalty, weight=config.penalty_weight),
            discriminator_steps=config.discriminator_steps,
            batch_size=config.batch_size,
            steps=config.steps,
            latent_size=config.latent_size,
            generator_lr=config.lr,
            discriminator_lr=config.lr,
            betas=config.betas,
            ema_decay=config.ema_decay,
            compile=config.compile,
        ),
    )
