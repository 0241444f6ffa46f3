"""Class-conditional denoising VAE: the encoder sees a corrupted image, the decoder the clean one.

Vincent et al., "Extracting and composing robust features with denoising autoencoders" (ICML 2008);
Im et al., "Denoising criterion for variational auto-encoding framework" (arXiv 1511.06406), whose
bound this is: that of a VAE (see `vae`) with the divergence of the posterior given the corrupted
image. Samples need no corruption: they are decoded from the prior.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.generation import Generator, ImageInfo, check_image
from tasks.generators._variational import Annealing, VariationalAutoencoder, check_settings
from tasks.specs import STRICT

VERSION = 1

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Name = Literal["gaussian", "salt_and_pepper", "rotation", "brightness", "contrast", "blur"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Strengths:
    """How strong each corruption is."""

    gaussian: Share = 0.15
    """Standard deviation of the noise, as a share of the range of pixels."""
    salt_and_pepper: Share = 0.1
    """Share of the pixels that turn black or white."""
    rotation: Annotated[float, Field(gt=0, le=180)] = 15.0
    """Largest angle, in degrees."""
    brightness: Share = 0.15
    """Largest shift, as a share of the range of pixels."""
    contrast: Share = 0.3
    """Largest change of the factor 1 about the mean of the image."""
    blur: Annotated[float, Field(gt=0, le=10)] = 0.7
    """Standard deviation of the Gaussian, in pixels."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted: as in `vae`, and what is done to the images."""

    corruptions: tuple[Name, ...] = get_args(Name)
    """One of them is drawn for each image of each step."""
    strengths: Strengths = Strengths()
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
        if not self.corruptions or len(set(self.corruptions)) < len(self.corruptions):
            raise ValueError(
                f"corruptions={list(self.corruptions)}: name one or more, each once; "
                "without any, use the generator vae"
            )
        for name in get_args(Name):
            given, usual = getattr(self.strengths, name), getattr(Strengths(), name)
            if name not in self.corruptions and given != usual:
                raise ValueError(
                    f"strengths.{name}={given} without that corruption: add it to corruptions"
                )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    mode: Literal["sample", "reconstruct"] = "sample"
    """Decode draws from the prior, or encode and decode real training images of the class."""
    posterior: Literal["sample", "mean"] = "sample"
    """What a reconstruction decodes: a draw given the real image, or the mean."""
    corrupt: bool = False
    """Whether a real image is corrupted before it is reconstructed, as in the fit."""
    batch_size: Positive = 250

    def __post_init__(self) -> None:
        if self.posterior == "mean" and self.mode == "sample":
            raise ValueError("posterior='mean' with mode='sample': only mode='reconstruct' has one")
        if self.corrupt and self.mode == "sample":
            raise ValueError("corrupt=True with mode='sample': only mode='reconstruct' has sources")


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled in either mode."""


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that this network cannot make.
    """
    from tasks.networks.corruptions import Corruption

    check_image(info, num_halvings=len(config.channels))
    strengths: dict[str, float] = {
        name: getattr(config.strengths, name) for name in config.corruptions
    }
    return VariationalAutoencoder(config, info, Corruption(strengths))
