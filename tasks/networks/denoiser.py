"""The class-conditional U-Net of diffusion models, and classifier-free guidance over it."""

import math
from collections.abc import Callable
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from tasks.generation import ImageInfo

untyped: Any = diffusers
"""diffusers has annotations that mypy cannot follow."""

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Noisy images N × C × H × W, timesteps N, labels N -> the noise in them, N × C × H × W."""

PART_PIXELS = 2**15
"""Pixels that a CPU runs the network on at once: so its layers stay in the caches. 250 images of
28 x 28 take a quarter less time than all at once; of 8 x 8, smaller parts take longer."""


def conditional_unet(
    info: ImageInfo,
    channels: tuple[int, ...],
    layers_per_block: int,
    dropout: float,
    attention: bool,
) -> nn.Module:
    """Build diffusers' UNet2DModel, whose last label, one more than classes, is "no label".

    Args:
        channels: one entry per resolution, each half of the one before; multiples of 8.
        attention: self-attention at the lowest resolution and in the middle.
    """
    plain = len(channels) - 1
    lowest = "AttnDownBlock2D" if attention else "DownBlock2D"
    first = "AttnUpBlock2D" if attention else "UpBlock2D"
    network: nn.Module = untyped.UNet2DModel(
        sample_size=(info.height, info.width),
        in_channels=info.channels,
        out_channels=info.channels,
        block_out_channels=channels,
        layers_per_block=layers_per_block,
        down_block_types=("DownBlock2D",) * plain + (lowest,),
        up_block_types=(first,) + ("UpBlock2D",) * plain,
        add_attention=attention,
        attention_head_dim=8,
        # Four channels a group, as in Ho et al. (128 channels, 32 groups), at any width.
        norm_num_groups=math.gcd(*channels) // 4,
        # Adaptive group norm (Dhariwal & Nichol, 2105.05233): of a label that is only added, the
        # norm after it takes a part out again.
        resnet_time_scale_shift="scale_shift",
        dropout=dropout,
        num_class_embeds=info.num_classes + 1,
    )
    return network


def in_parts(denoise: Denoiser) -> Denoiser:
    """The same, one part of the batch after another."""

    def parted(noisy: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        size = max(1, PART_PIXELS // noisy[0, 0].numel())
        split = (each.split(size) for each in (noisy, timesteps, labels))
        return torch.cat([denoise(*part) for part in zip(*split, strict=True)])

    return parted


def drop_labels(labels: Tensor, null: int, probability: float, rng: torch.Generator) -> Tensor:
    """Replace each label by `null` with this probability, so that one network learns both."""
    dropped = torch.rand(labels.shape, generator=rng, device=labels.device) < probability
    return torch.where(dropped, torch.full_like(labels, null), labels)


def guided_noise(
    denoise: Denoiser, noisy: Tensor, timesteps: Tensor, labels: Tensor, null: int, weight: float
) -> Tensor:
    """Classifier-free guidance: eps_null + weight * (eps_label - eps_null).

    Weight 1 is the plain conditional model, and runs the network once. Ho & Salimans,
    "Classifier-free diffusion guidance", write w = weight - 1.
    """
    if weight == 1:
        return denoise(noisy, timesteps, labels)
    both = denoise(
        torch.cat([noisy, noisy]),
        torch.cat([timesteps, timesteps]),
        torch.cat([labels, torch.full_like(labels, null)]),
    )
    conditional, unconditional = both.chunk(2)
    return unconditional + weight * (conditional - unconditional)
