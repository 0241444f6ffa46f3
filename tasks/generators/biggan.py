"""BigGAN

Brock, Donahue & Simonyan, "Large scale GAN training for high fidelity natural image synthesis"
(arXiv 1809.11096, ajbrock/BigGAN-PyTorch).
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.generation import Generator, ImageInfo, check_image
from tasks.specs import STRICT

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted."""

    channels: Positive = 32
    attention: bool = True
    embedding_size: Positive = 32
    latent_size: Positive = 64
    lr: Rate = 1e-3
    betas: tuple[Share, Share] = (0.0, 0.999)
    discriminator_steps: Positive = 1
    ema_decay: Share = 0.999
    compile: bool = False
    batch_size: Positive = 64
    steps: Positive = 2000


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    truncation: Rate | None = None
    batch_size: Positive = 250


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled."""


def discriminator_loss(real: "Tensor", made: "Tensor") -> "Tensor":
    """Hinge: real images are to score above 1, made ones below -1."""
    from torch.nn import functional

    return functional.relu(1 - real).mean() + functional.relu(1 + made).mean()


def generator_loss(made: "Tensor") -> "Tensor":
    """Made images are to score high."""
    return -made.mean()


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that this network cannot make.
    """
    check_image(info, num_halvings=0)
    from torch import nn

    from tasks.generators._adversarial import Adversarial, Rules
    from tasks.networks.residual import ResidualDiscriminator, ResidualGenerator, add_spectral_norm, make_orthogonal

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
        generator,
        discriminator,
        Rules(
            discriminator_loss=discriminator_loss,
            generator_loss=generator_loss,
            discriminator_steps=config.discriminator_steps,
            batch_size=config.batch_size,
            steps=config.steps,
            latent_size=config.latent_size,
            generator_lr=config.lr,
            discriminator_lr=config.lr,
            betas=config.betas,
            eps=1e-6,
            ema_decay=config.ema_decay,
            compile=config.compile,
        ),
    )
