"""A running average of weights, which samples better than the weights themselves."""

from collections.abc import Iterable

import torch
from torch import Tensor


def update_average(
    averages: Iterable[Tensor], weights: Iterable[Tensor], decay: float, step: int
) -> None:
    """Move `averages` towards `weights`, in place, after optimizer step number `step` (from 0).

    The decay warms up as min(decay, (1 + step) / (10 + step)), as in TensorFlow's
    ExponentialMovingAverage and diffusers' EMAModel: short fits are averaged too, and the random
    first weights are forgotten at once.
    """
    warm = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(averages), list(weights), 1 - warm)
