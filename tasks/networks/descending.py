"""One optimizer step, with a bound on the gradient and its size made known."""

from collections.abc import Iterable

import torch
from torch import Tensor


def descend(
    loss: Tensor, optimizer: torch.optim.Optimizer, weights: Iterable[Tensor], max_norm: float
) -> Tensor:
    """Step `weights` down `loss`, with all gradients together no longer than `max_norm`.

    Returns the norm before that, a scalar: reported beside the losses, it is what `fit` sees a
    diverging fit by, even where the loss itself is still a number.
    """
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(list(weights), max_norm)
    optimizer.step()
    return norm.detach()
