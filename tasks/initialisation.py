"""Draws the weights that a training from scratch starts from, in the ways that papers name."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEMES = ("default", "he", "xavier")
"""What `train.initialisation` may say; `default` is what the network's authors chose."""


def initialise(network: "nn.Module", scheme: str) -> None:
    """Draw every convolution and linear layer anew, from torch's global generator.

    `he`: normal, with 2 / fan-out as the variance in convolutions (He et al., "Delving deep into
    rectifiers", eq. 14, as torchvision's and timm's residual networks have it) and 2 / fan-in in
    linear layers (eq. 10): a head of few classes has a small fan-out and would start far too wide.
    `xavier`: uniform, with 2 / (fan-in + fan-out) as the variance (Glorot & Bengio, "Understanding
    the difficulty of training deep feedforward neural networks", eq. 16).

    Both set biases to 0 and norm layers to 1 and 0, the zero-initialised last norm of residual
    blocks among them; what is no such layer (position embeddings, layer scales) stays as it is.

    Raises InputError where there is no such scheme.
    """
    from torch import nn

    if scheme not in SCHEMES:
        raise InputError(f"train.initialisation: unknown {scheme!r}; {nearest(scheme, SCHEMES)}")
    if scheme == "default":
        return
    for weight, fan_in, fan_out, variance_fan in _layers(network):
        if scheme == "he":
            nn.init.normal_(weight, 0.0, math.sqrt(2 / variance_fan))
        else:
            bound = math.sqrt(6 / (fan_in + fan_out))
            nn.init.uniform_(weight, -bound, bound)
    _neutralise(network)


def _layers(network: "nn.Module") -> "Iterator[tuple[Tensor, float, float, float]]":
    """Weight, fan-in, fan-out, and the fan that `he` goes by, of each layer that is drawn.

    torch.nn.init leaves the groups of a convolution out of its fan-out; here they count.
    """
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    for module in network.modules():
        if isinstance(module, _ConvNd):
            window = math.prod(module.kernel_size) / module.groups
            fan_in, fan_out = module.in_channels * window, module.out_channels * window
            yield module.weight, fan_in, fan_out, fan_out
        elif isinstance(module, nn.Linear):
            fan_in, fan_out = float(module.in_features), float(module.out_features)
            yield module.weight, fan_in, fan_out, fan_in


def _neutralise(network: "nn.Module") -> None:
    from torch import Tensor, nn
    from torch.nn.modules.batchnorm import _NormBase
    from torch.nn.modules.conv import _ConvNd

    norms = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    for module in network.modules():
        if isinstance(module, norms) and isinstance(module.weight, Tensor):
            nn.init.ones_(module.weight)
        if isinstance(module, (*norms, _ConvNd, nn.Linear)):
            bias = getattr(module, "bias", None)
            if isinstance(bias, Tensor):
                nn.init.zeros_(bias)
