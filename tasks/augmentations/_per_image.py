"""Runs a transform that sees one image and draws from global state, each time with its own seed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tasks.augmentation import Batch, chosen

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """An `Augmentation` of uint8 images on the CPU, one by one."""

    probability: float
    """Chance that an image is changed."""
    transform: "Callable[[Tensor, int], Tensor]"
    """Takes an image (C × side × side) and a seed, and returns a new one; it can be pickled."""

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        import torch

        images = batch.images
        changed = chosen(len(images), self.probability, generator).tolist()
        # Drawn for all, so that whether one image is changed moves no other's draw.
        seeds = torch.randint(2**32, (len(images),), generator=generator).tolist()
        done = [
            self.transform(image, seed) if change else image
            for image, seed, change in zip(images, seeds, changed, strict=True)
        ]
        return replace(batch, images=torch.stack(done))


@dataclass(frozen=True, kw_only=True)
class TorchvisionPolicy:
    """A transform of torchvision v2, which draws from torch's global generator alone."""

    policy: "Callable[[Tensor], Tensor]"

    def __call__(self, image: "Tensor", seed: int) -> "Tensor":
        import torch

        # The CPU's generator alone: `torch.manual_seed` would touch the accelerators' as well.
        state = torch.get_rng_state()
        try:
            torch.default_generator.manual_seed(seed)
            return self.policy(image)
        finally:
            torch.set_rng_state(state)
