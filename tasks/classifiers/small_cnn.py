"""A small convolutional network for small images: trains in seconds on one core."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.classification import Classifier, ClassifierInfo
from tasks.specs import STRICT

VERSION = 1
LARGEST_DEFAULT = 64
"""Larger images are scaled to this side unless `train.input_size` says otherwise."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Two or more stages of two 3 × 3 convolutions, halving the side and doubling the channels."""

    width: Annotated[int, Field(ge=4, le=512)] = 24
    """Channels of the first stage."""
    stages: Annotated[int, Field(ge=1, le=5)] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Before the last layer."""


def build(config: Config, info: ClassifierInfo, load_pretrained: bool = True) -> Classifier:
    """Build the network, randomly initialised; there are no pre-trained weights to load."""
    from tasks.networks.small_cnn import SmallCNN

    network = SmallCNN(info.channels, info.num_classes, config.width, config.stages, config.dropout)
    return Classifier(
        network=network,
        input_size=info.input_size or min(info.side, LARGEST_DEFAULT),
        channels=info.channels,
        mean=(0.5,) * info.channels,
        std=(0.5,) * info.channels,
        resolved=f"small_cnn(width={config.width}, stages={config.stages})",
    )
