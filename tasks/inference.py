"""What a network says of images: logits, and how well they fit the labels."""

from typing import TYPE_CHECKING

import numpy as np

from tasks.devices import is_out_of_memory
from tasks.images import Images, Normalise
from tasks.stepping import autocast

if TYPE_CHECKING:
    from torch import Tensor, nn

EVAL_BATCH = 512
SMALL_SIDE = 64
"""Side for which that many images are predicted at once; larger ones come fewer at a time."""


def evaluate(
    network: "nn.Module", images: Images, normalise: Normalise, precision: str = "auto"
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over all `images`."""
    import torch
    from torch.nn import functional

    logits = torch.cat(logits_of(network, images, normalise, precision))
    loss = functional.cross_entropy(logits, images.labels)
    accuracy = (logits.argmax(1) == images.labels).double().mean()
    return float(loss), float(accuracy)


def logits_of(
    network: "nn.Module", images: Images, normalise: Normalise, precision: str = "auto"
) -> "list[Tensor]":
    """Logits of all `images` in float32, batch by batch."""
    import torch

    network.eval()
    side = images.source.side
    size = EVAL_BATCH if side <= SMALL_SIDE else max(16, EVAL_BATCH * SMALL_SIDE**2 // side**2)
    parts: list[Tensor] = []
    done = 0
    with torch.no_grad(), autocast(precision, images.device):
        while done < len(images):
            rows = np.arange(done, min(done + size, len(images)), dtype=np.int64)
            try:
                parts.append(network(normalise(images.batch(rows))).float())
            except RuntimeError as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                size = -(-size // 2)
                continue
            done += len(rows)
    return parts
