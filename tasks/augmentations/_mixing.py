"""Pairs the images of a batch, and says how much of itself each one keeps."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tasks.augmentation import Batch, chosen
from tasks.augmentations._boxes import Boxes

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Who is mixed with whom."""

    partner: "Tensor"
    """A permutation of the batch: int64, N."""
    kept: "Tensor"
    """lambda: 1, or N where images are mixed one by one; 1.0 leaves an image as it is."""

    def length(self, side: int) -> "Tensor":
        """The sides, in whole pixels, of boxes that hold 1 - lambda of an image: int64."""
        return (side * (1 - self.kept).sqrt()).long()


def pair(
    num_images: int, beta: float, probability: float, per_image: bool, generator: "torch.Generator"
) -> Pairs:
    """Draw partners, and lambda ~ Beta(beta, beta), for the batch or for each image.

    No number leaves the device, so that nothing waits for it: what is not mixed has lambda 1.
    """
    import torch

    num_draws = num_images if per_image else 1
    # torch.distributions takes no generator; of two, Dirichlet's first share is Beta's.
    parameters = torch.full((num_draws, 2), beta, device=generator.device)
    kept = torch._sample_dirichlet(parameters, generator)[:, 0]
    mixed = chosen(num_draws, probability, generator)
    return Pairs(
        partner=torch.randperm(num_images, generator=generator, device=generator.device),
        kept=torch.where(mixed, kept, 1.0),
    )


def blend(values: "Tensor", partner: "Tensor", kept: "Tensor") -> "Tensor":
    """kept * values + (1 - kept) * those of the partner: for targets, N × num_classes, or images.

    Where `kept` is 1 the values come back bit by bit.
    """
    import torch

    return torch.lerp(values[partner], values, kept.view(-1, *(1,) * (values.dim() - 1)))


def paste(batch: Batch, partner: "Tensor", boxes: Boxes) -> Batch:
    """Show the partner inside of a box (one for all, or one an image), and mix targets by area."""
    import torch

    images, side = batch.images, batch.images.shape[-1]
    kept = 1 - boxes.area() / side**2
    return replace(
        batch,
        images=torch.where(boxes.pixels(side), images[partner], images),
        targets=blend(batch.targets, partner, kept),
    )
