"""Class-conditional GAN with residual blocks, spectral norm and a projection discriminator.

Miyato & Koyama, "cGANs with projection discriminator" (arXiv 1802.05637,
pfnet-research/sngan_projection): conditional batch norm in the generator, the hinge loss; Miyato et
al., "Spectral normalization for generative adversarial networks" (1802.05957).

The setting of the paper is near `channels: 64`, `latent_size: 128`, `lr: 2e-4`, `betas: [0, 0.9]`,
`discriminator_steps: 5`, `batch_size: 64`, `ema_decay: 0`; the defaults here suit small images on
one CPU core.
"""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.generation import Generator, ImageInfo, check_image
from tasks.generators._adversarial import Adversarial, Losses, hinge, lowered
from tasks.specs import STRICT

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
    lr: Rate = 1e-3
    """Of the generator."""
    discriminator_lr: Rate = 2e-3
    betas: tuple[Share, Share] = (0.0, 0.9)
    """Of Adam, for both networks."""
    discriminator_steps: Positive = 1
    """Updates of the discriminator for each of the generator."""
    ema_decay: Share = 0.999
    """Of the running average of the generator that is sampled from; 0 samples from itself."""
    compile: bool = False
    """Compile the networks; on a GPU alone."""
    batch_size: Positive = 32
    """Real images of an update; a step takes `discriminator_steps` times as many."""
    steps: Positive = 1100
    """Updates of the generator."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    batch_size: Positive = 250


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled."""


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that these networks cannot make.
    """
    check_image(info, num_halvings=0)
    from torch import nn

    from tasks.networks.residual import (
        ResidualDiscriminator,
        ResidualGenerator,
        add_spectral_norm,
    )

    discriminator = ResidualDiscriminator(info, config.channels)
    add_spectral_norm(discriminator, nn.Conv2d, nn.Linear, nn.Embedding)
    return Adversarial(
        config,
        ResidualGenerator(info, config.channels, config.latent_size),
        discriminator,
        Losses(discriminator=hinge, generator=lowered),
        discriminator_lr=config.discriminator_lr,
    )
