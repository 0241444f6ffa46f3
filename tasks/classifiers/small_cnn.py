"""A small convolutional network for small images: trains in seconds on one core."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.classification import Classifier, ClassifierInfo, normalisation
from tasks.errors import InputError
from tasks.specs import STRICT

VERSION = 2
LARGEST_DEFAULT = 64
"""Larger images are scaled to this side unless `train.input_size` says otherwise."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Two or more stages of two 3 × 3 convolutions, halving the side and doubling the channels."""

    width: Annotated[int, Field(ge=4, le=512)] = 24
    """Channels of the first stage."""
    stages: Annotated[int, Field(ge=1, le=5)] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Before the last layer; `train.dropout` goes before it."""


def build(config: Config, info: ClassifierInfo, load_pretrained: bool = True) -> Classifier:
    """Build the network, randomly initialised; there are no pre-trained weights to load.

    Raises InputError where the study asks for what this network does not have.
    """
    from tasks.initialisation import initialise
    from tasks.networks.small_cnn import SmallCNN

    if info.drop_path:
        raise InputError("train.drop_path: small_cnn has no residual paths to drop")
    if info.gradient_checkpointing:
        raise InputError("train.gradient_checkpointing: small_cnn is too small to have it")
    dropout = config.dropout if info.dropout is None else info.dropout
    network = SmallCNN(info.channels, info.num_classes, config.width, config.stages, dropout)
    initialise(network, info.initialisation)
    half = (0.5,) * info.channels
    mean, std = normalisation(info, info.channels, half, half)
    return Classifier(
        network=network,
        features=lambda images: network.features(images).mean((2, 3)),
        input_size=info.input_size or min(info.side, LARGEST_DEFAULT),
        channels=info.channels,
        mean=mean,
        std=std,
        resolved=f"small_cnn(width={config.width}, stages={config.stages})",
    )
