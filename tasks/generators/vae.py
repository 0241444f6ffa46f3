"""Class-conditional convolutional VAE with beta annealing.

Kingma & Welling, "Auto-encoding variational Bayes" (arXiv 1312.6114); Higgins et al., beta-VAE
(ICLR 2017); Fu et al., "Cyclical annealing schedule" (1903.10145, haofuml/cyclical_annealing);
Rybkin et al., "Simple and effective VAE training with calibrated decoders" (2006.13202,
orybkin/sigma-vae-pytorch) for the default likelihood, which weighs pixels against the divergence by
how well they can be told, whatever the image size. A usual reference setting is `latent_size: 128`,
`beta: 0.8`.
"""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.generation import Generator, ImageInfo, check_image
from tasks.generators._variational import Annealing, VariationalAutoencoder, check_settings
from tasks.specs import STRICT

VERSION = 1

Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted."""

    channels: tuple[Positive, ...] = (32, 64)
    """Channels after each halving of the resolution."""
    latent_size: Positive = 16
    likelihood: Literal["calibrated", "bernoulli"] = "calibrated"
    """Of pixels: Gaussian with the variance that fits best, or binary cross-entropy on [0, 1]."""
    beta: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the divergence from the prior, once annealed."""
    annealing: Annealing = "linear"
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the fit (linear) or of each cycle (cyclical) in which beta rises from 0."""
    cycles: Positive = 4
    lr: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Positive = 64
    steps: Positive = 1500
    compile: bool = False
    """Compile the network where it is fitted on a GPU."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    mode: Literal["sample", "reconstruct"] = "sample"
    """Decode draws from the prior, or encode and decode real training images of the class."""
    posterior: Literal["sample", "mean"] = "sample"
    """What a reconstruction decodes: a draw given the real image, or the mean."""
    batch_size: Positive = 250

    def __post_init__(self) -> None:
        if self.posterior == "mean" and self.mode == "sample":
            raise ValueError("posterior='mean' with mode='sample': only mode='reconstruct' has one")


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled in either mode."""


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that this network cannot make.
    """
    check_image(info, num_halvings=len(config.channels))
    return VariationalAutoencoder(config, info)
