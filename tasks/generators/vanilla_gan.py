"""Class-conditional DCGAN with the non-saturating loss.

Goodfellow et al., "Generative adversarial networks" (arXiv 1406.2661); Radford, Metz & Chintala,
DCGAN (1511.06434, pytorch/examples dcgan); Miyato & Koyama's projection (1802.05637) tells the
discriminator the class. It has no batch norm, unlike DCGAN's: a score is of one image alone.

The setting of DCGAN is near `channels: 64` (128 in the paper), `latent_size: 100`, `lr: 2e-4`,
`betas: [0.5, 0.999]`, `batch_size: 128`, `ema_decay: 0`; the defaults here suit small images on
one CPU core.
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

    channels: Positive = 24
    """At the image's side; twice as many at each half of it, up to eight times."""
    latent_size: Positive = 64
    lr: Rate = 1e-3
    betas: tuple[Share, Share] = (0.5, 0.999)
    """Of Adam, for both networks."""
    discriminator_steps: Positive = 1
    """Updates of the discriminator for each of the generator."""
    ema_decay: Share = 0.999
    """Of the running average of the generator that is sampled from; 0 samples from itself."""
    compile: bool = False
    """Compile the networks; on a GPU alone."""
    batch_size: Positive = 32
    """Real images of an update; a step takes `discriminator_steps` times as many."""
    steps: Positive = 2500
    """Updates of the generator."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    batch_size: Positive = 250


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled."""


def discriminator_loss(real: "Tensor", made: "Tensor") -> "Tensor":
    """Binary cross-entropy of scores: -log sigmoid(real) - log(1 - sigmoid(made))."""
    from torch.nn import functional

    return functional.softplus(-real).mean() + functional.softplus(made).mean()


def generator_loss(made: "Tensor") -> "Tensor":
    """Non-saturating: -log sigmoid(made)."""
    from torch.nn import functional

    return functional.softplus(-made).mean()


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that these networks cannot make.
    """
    check_image(info, num_halvings=0)
    from tasks.generators._adversarial import Adversarial, Losses
    from tasks.networks.adversarial import ConvolutionalDiscriminator, ConvolutionalGenerator

    return Adversarial(
        config,
        ConvolutionalGenerator(info, config.channels, config.latent_size),
        ConvolutionalDiscriminator(info, config.channels),
        Losses(discriminator=discriminator_loss, generator=generator_loss),
    )
