"""Class-conditional DCGAN with the non-saturating loss.

Goodfellow et al., "Generative adversarial networks" (arXiv 1406.2661); Radford, Metz & Chintala,
DCGAN (1511.06434, pytorch/examples dcgan).
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
    latent_size: Positive = 64
    lr: Rate = 1e-3
    betas: tuple[Share, Share] = (0.5, 0.999)
    discriminator_steps: Positive = 1
    ema_decay: Share = 0.999
    compile: bool = False
    batch_size: Positive = 64
    steps: Positive = 2000


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    batch_size: Positive = 250


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled."""


def discriminator_loss(real: "Tensor", made: "Tensor") -> "Tensor":
    """Binary cross-entropy of scores: -log D(real) - log(1 - D(made))."""
    from torch.nn import functional

    return functional.softplus(-real).mean() + functional.softplus(made).mean()


def generator_loss(made: "Tensor") -> "Tensor":
    """Non-saturating: -log D(made)."""
    from torch.nn import functional

    return functional.softplus(-made).mean()


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
