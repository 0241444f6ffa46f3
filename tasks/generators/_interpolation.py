"""The way from one latent to another, which pictures of GANs and autoencoders show."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

INTERPOLATED = 8
"""Images from one latent to another."""


def arcs(first: "Tensor", last: "Tensor", num: int = INTERPOLATED) -> "Tensor":
    """`num` latents on the arc from `first` to `last`, each N × latent -> N × num × latent.

    A straight line would pass nearer to the origin than draws ever lie (White, "Sampling generative
    networks", arXiv 1609.04468).
    """
    import torch
    from torch.nn import functional

    cosine = functional.cosine_similarity(first, last, dim=1)
    # Off 0 and 180 degrees, where the arc is no number or not one.
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()[:, None, None]
    at = torch.linspace(0, 1, num)[None, :, None]
    parts = ((1 - at) * angle).sin() * first[:, None] + (at * angle).sin() * last[:, None]
    return parts / angle.sin()
