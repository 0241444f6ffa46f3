"""Any image classifier of timm (R. Wightman, github.com/huggingface/pytorch-image-models).

In a study a timm name is written as the model itself: `model: resnet50`.
"""

from typing import Any

from pydantic.dataclasses import dataclass

from tasks.classification import Classifier, ClassifierInfo
from tasks.errors import InputError
from tasks.specs import STRICT

VERSION = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which network, and where its weights start."""

    architecture: str = "resnet50.a1_in1k"
    """Full timm name with its tag; a study also takes the bare name and the usual aliases."""
    pretrained: bool = False
    """Start from the tag's published weights; fetched by timm, or found in its cache."""


def build(config: Config, info: ClassifierInfo, load_pretrained: bool = True) -> Classifier:
    """Create the network with a fresh head of `num_classes`.

    The input size and the normalisation are the model's own unless the study gives a size; grey
    images are repeated over three channels, which the published normalisation speaks of.

    Raises InputError where pre-trained weights cannot be had, or the installed timm does not know
    the architecture.
    """
    import timm

    try:
        default = timm.get_pretrained_cfg(config.architecture)
    except RuntimeError:  # an unknown tag; of an unknown architecture it says None
        default = None
    if default is None:
        raise InputError(f"timm {timm.__version__} has no model {config.architecture!r}")
    side = info.input_size or default.input_size[1]
    # Networks with a fixed grid of patches must be told their size; the others take any.
    fixed = default.fixed_input_size and side != default.input_size[1]
    size: dict[str, Any] = {"img_size": side} if fixed else {}
    try:
        network = timm.create_model(
            config.architecture,
            pretrained=config.pretrained and load_pretrained,
            num_classes=info.num_classes,
            **size,
        )
    except (OSError, RuntimeError) as error:
        if not (config.pretrained and load_pretrained):
            raise
        raise InputError(
            f"train.model: the weights of {config.architecture} cannot be had "
            f"({type(error).__name__}): fetch them into timm's cache, or say pretrained: false"
        ) from error
    return Classifier(
        network=network,
        input_size=side,
        channels=3,
        mean=tuple(default.mean),
        std=tuple(default.std),
        resolved=f"{config.architecture}{'' if config.pretrained else ', from scratch'}",
    )
