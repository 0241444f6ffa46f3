"""Any image classifier of timm (R. Wightman, github.com/huggingface/pytorch-image-models).

In a study a timm name is written as the model itself: `model: resnet50`.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic.dataclasses import dataclass

from tasks.classification import Classifier, ClassifierInfo, normalisation
from tasks.classifiers import _checkpoints
from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.classifiers._sides import check_side, refusal
from tasks.errors import InputError
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tasks.reading import FileFacts

VERSION = 2
SMALL_SIDE = 64
"""Up to this side, a residual network from scratch gets the stem for small images."""

Options = dict[str, Any]
"""Arguments of timm.create_model, which takes what each architecture takes."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which network, and where its weights start."""

    architecture: str = "resnet50.a1_in1k"
    """Full timm name with its tag; a study also takes the bare name and the usual aliases."""
    pretrained: bool | str = False
    """Start from the tag's published weights (true; fetched by timm, or found in its cache) or
    from a local file or folder, by its path."""
    stem: Literal["auto", "imagenet", "small"] = "auto"
    """Of residual networks. `small`, for small images, begins at full resolution: a 3 × 3
    convolution of stride 1 and no pooling. `auto` is `small` from scratch up to 64 pixels."""
    weights: Locator[str | None] = None
    """Where the file lies that `pretrained` names by content; filled in by planning."""

    def __post_init__(self) -> None:
        if self.stem == "small" and self.pretrained is True:
            raise ValueError("stem: small has no published weights; say stem: imagenet")
        if self.weights is not None and not _by_content(self):
            raise ValueError("weights is filled in by planning: say pretrained: <path> instead")


def _by_content(config: Config) -> bool:
    return isinstance(config.pretrained, str) and config.pretrained.startswith(BY_CONTENT)


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name local weights by what they contain, so that a key does not hang on where they lie.

    Raises InputError where there are none.
    """
    if not isinstance(config.pretrained, str) or _by_content(config):
        return config
    path = _checkpoints.weights_file(Path(config.pretrained).expanduser().absolute())
    return replace(config, pretrained=_checkpoints.content_id(path, facts), weights=str(path))


def build(config: Config, info: ClassifierInfo, load_pretrained: bool = True) -> Classifier:
    """Create the network with a fresh head of `num_classes`.

    The input size and the normalisation are the model's own unless the study gives others; grey
    images are repeated over three channels, which the published normalisation speaks of.

    Raises InputError where pre-trained weights cannot be had or do not fit, the installed timm does
    not know the architecture, or the architecture has not what the study asks for.
    """
    import timm

    from tasks.initialisation import initialise

    try:
        default = timm.get_pretrained_cfg(config.architecture)
    except RuntimeError:  # an unknown tag; of an unknown architecture it says None
        default = None
    if default is None:
        raise InputError(f"timm {timm.__version__} has no model {config.architecture!r}")
    side = info.input_size or default.input_size[1]
    # Networks with a fixed grid of patches must be told their size; the others take any.
    fixed = default.fixed_input_size and side != default.input_size[1]
    network = _create(config, info, side, fixed, load_pretrained)
    small = _takes_small_stem(config, network, side)
    if small:
        _begin_at_full_resolution(network)
    check_side(network, 3, side, config.architecture)
    if info.initialisation != "default":
        if config.pretrained:
            raise InputError("train.initialisation: pre-trained weights are there; say default")
        initialise(network, info.initialisation)
    if load_pretrained and isinstance(config.pretrained, str):
        _fill(network, config)
    if info.gradient_checkpointing:
        _checkpoint_gradients(network, config.architecture)
    mean, std = normalisation(info, 3, tuple(default.mean), tuple(default.std))
    return Classifier(
        network=network,
        features=lambda images: _features(network, images),
        input_size=side,
        channels=3,
        mean=mean,
        std=std,
        resolved=config.architecture + (", 3 × 3 stem" if small else "") + _origin(config),
    )


def _origin(config: Config) -> str:
    if isinstance(config.pretrained, str):
        return f", from {config.pretrained[: len(BY_CONTENT) + 12]}"
    return "" if config.pretrained else ", from scratch"


def _features(network: Any, images: "Tensor") -> "Tensor":
    pooled: Tensor = network.forward_head(network.forward_features(images), pre_logits=True)
    return pooled.flatten(1)


def _create(
    config: Config, info: ClassifierInfo, side: int, fixed: bool, load_pretrained: bool
) -> "nn.Module":
    import timm

    published = config.pretrained is True and load_pretrained
    options: Options = {"drop_rate": info.dropout, "drop_path_rate": info.drop_path}
    given = {name: value for name, value in options.items() if value is not None}
    if fixed:
        given["img_size"] = side
    try:
        network: nn.Module = timm.create_model(
            config.architecture,
            pretrained=published,
            num_classes=info.num_classes,
            **given,
        )
    except TypeError as error:
        for name, setting in (("drop_path_rate", "drop_path"), ("drop_rate", "dropout")):
            if name in given and f"{name!r}" in str(error):
                raise InputError(f"train.{setting}: {config.architecture} has none") from error
        raise
    except (AssertionError, OSError, RuntimeError, ValueError) as error:
        if not published and fixed:
            raise refusal(config.architecture, side, error) from error
        if not published:
            raise
        raise InputError(
            f"train.model: the weights of {config.architecture} cannot be had "
            f"({type(error).__name__}): fetch them into timm's cache, or say pretrained: false"
        ) from error
    return network


def _takes_small_stem(config: Config, network: "nn.Module", side: int) -> bool:
    from timm.models.resnet import ResNet

    residual = isinstance(network, ResNet)
    if config.stem == "small" and not residual:
        raise InputError(f"train.model.stem: {config.architecture} is no ResNet, which small is of")
    from_scratch = not config.pretrained and side <= SMALL_SIDE
    return config.stem == "small" or (config.stem == "auto" and residual and from_scratch)


def _begin_at_full_resolution(network: Any) -> None:
    """Put the stem of He et al.'s networks for CIFAR-10 (1512.03385, section 4.2) into `network`.

    At 32 pixels the ImageNet stem leaves 1 × 1 pixel for the last stage; this one leaves 4 × 4, as
    in the usual ResNet-18 for CIFAR (github.com/kuangliu/pytorch-cifar).
    """
    from torch import nn

    first = network.conv1
    if isinstance(first, nn.Sequential):
        deep: Any = first[0]  # and 3 × 3 already
        deep.stride = (1, 1)
    else:
        network.conv1 = nn.Conv2d(
            first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None
        )
        # As timm draws the other convolutions.
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()


def _fill(network: Any, config: Config) -> None:
    """Load local weights; a head of another size is left fresh, as timm leaves it."""
    path = _checkpoints.weights_file(Path(config.weights or str(config.pretrained)))
    if _by_content(config) and _checkpoints.content_id(path) != config.pretrained:
        raise InputError(f"train.model: {path.name} is not what it was when this was planned")
    try:
        tensors = _checkpoints.read(path).tensors
    except InputError as error:
        raise InputError(f"train.model: {error}") from error
    heads = network.pretrained_cfg["classifier"]
    names = (heads,) if isinstance(heads, str) else tuple(heads or ())
    tensors = _with_head_of(network, tensors, names)
    if _checkpoints.misfits(network, tensors):
        tensors = _with_head_of(network, _converted(network, tensors), names)
    found = _checkpoints.misfits(network, tensors)
    _checkpoints.refuse_misfits(found, f"train.model: {path.name}", config.architecture)
    network.load_state_dict(tensors, strict=False)


def _with_head_of(
    network: "nn.Module", tensors: "dict[str, Tensor]", heads: tuple[str, ...]
) -> "dict[str, Tensor]":
    """Take `network`'s own head where the one in `tensors` is missing or of another size."""
    wanted = network.state_dict()
    own = [n for n in wanted if n.rpartition(".")[0] in heads]
    if all(name in tensors and tensors[name].shape == wanted[name].shape for name in own):
        return tensors
    return {**tensors, **{name: wanted[name] for name in own}}


def _converted(network: "nn.Module", tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Let timm translate other authors' names and resize position embeddings, where it can."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        converted: dict[str, Tensor] = convert(dict(tensors), network)
    except (AssertionError, IndexError, KeyError, RuntimeError, ValueError):
        return tensors  # not one of the forms that it knows: the names as they are say why
    return converted


def _checkpoint_gradients(network: Any, architecture: str) -> None:
    message = f"train.gradient_checkpointing: {architecture} has none"
    if not hasattr(network, "set_grad_checkpointing"):
        raise InputError(message)
    try:
        network.set_grad_checkpointing(True)
    except AssertionError as error:  # how timm says that it does not
        raise InputError(message) from error
