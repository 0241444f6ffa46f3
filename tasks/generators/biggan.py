"""BigGAN: residual blocks, spectral norm in both networks, a class embedding that all norms share.

Brock, Donahue & Simonyan, "Large scale GAN training for high fidelity natural image synthesis"
(arXiv 1809.11096, ajbrock/BigGAN-PyTorch); self-attention of Zhang et al. (1805.08318), the
projection discriminator of Miyato & Koyama (1802.05637), the hinge loss.

The CIFAR-10 setting of its code is near `channels: 64`, `latent_size: 128`, `embedding_size: 128`,
`lr: 2e-4`, `betas: [0, 0.999]`, `discriminator_steps: 4`, `batch_size: 50`, `ema_decay: 0.9999`,
without attention; the defaults here suit small images on one CPU core.
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

MOST_PARTS = 6
"""A first layer and the five blocks of images of 128 pixels."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted."""

    channels: Positive = 24
    """At the image's side; twice as many at each half of it, up to eight times."""
    latent_size: Positive = 64
    """Dealt in equal parts to the first layer and each block."""
    embedding_size: Positive = 32
    """Of the embedding of classes."""
    attention: bool = True
    """Self-attention at half the image's side, at most 32 pixels."""
    lr: Rate = 1e-3
    """Of the generator."""
    discriminator_lr: Rate = 4e-3
    betas: tuple[Share, Share] = (0.0, 0.999)
    """Of Adam, for both networks."""
    discriminator_steps: Positive = 1
    """Updates of the discriminator for each of the generator."""
    ema_decay: Share = 0.999
    """Of the running average of the generator that is sampled from; 0 samples from itself."""
    compile: bool = False
    """Compile the networks; on a GPU alone."""
    batch_size: Positive = 32
    """Real images of an update; a step takes `discriminator_steps` times as many."""
    steps: Positive = 1000
    """Updates of the generator."""

    def __post_init__(self) -> None:
        if self.latent_size < MOST_PARTS:
            raise ValueError(
                f"latent_size={self.latent_size}: latents are dealt to up to {MOST_PARTS} layers; "
                f"use {MOST_PARTS} or more"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    truncation: Rate | None = None
    """Bound on each latent: below 2, images are more typical and less diverse. None: no bound."""
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
        make_orthogonal,
    )

    generator = ResidualGenerator(
        info,
        config.channels,
        config.latent_size,
        embedding_size=config.embedding_size,
        attention=config.attention,
    )
    discriminator = ResidualDiscriminator(info, config.channels, attention=config.attention)
    make_orthogonal(generator)
    make_orthogonal(discriminator)
    add_spectral_norm(generator, nn.Conv2d, nn.Linear)
    add_spectral_norm(discriminator, nn.Conv2d, nn.Linear, nn.Embedding)
    return Adversarial(
        config,
        generator,
        discriminator,
        Losses(discriminator=hinge, generator=lowered),
        discriminator_lr=config.discriminator_lr,
        eps=1e-6,
    )
