"""Corruptions of images that a denoising autoencoder learns to undo."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

Apply = Callable[[Tensor, float, torch.Generator], Tensor]
"""Images in [-1, 1], N × C × H × W, a strength and a generator on their device -> images."""


def gaussian(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Add normal noise; `strength` is its deviation as a share of the range of pixels."""
    noise = torch.randn(images.shape, generator=rng, device=images.device)
    return images + 2 * strength * noise


def salt_and_pepper(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Make a share of `strength` of the pixels white or black, all channels of a pixel together."""
    drawn = _uniform((len(images), 1, *images.shape[2:]), rng)
    black, white = drawn < strength / 2, drawn >= 1 - strength / 2
    return torch.where(black, -1.0, torch.where(white, 1.0, images))


def rotation(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Turn about the centre by up to `strength` degrees either way; edges are repeated."""
    height, width = images.shape[2:]
    angle = (2 * _uniform((len(images),), rng) - 1) * math.radians(strength)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Coordinates run from -1 to 1 along both sides: without the ratio, other shapes would shear.
    rows = [cosine, -sine * height / width, zero, sine * width / height, cosine, zero]
    turns = torch.stack(rows, 1).unflatten(1, (2, 3))
    grid = functional.affine_grid(turns, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def brightness(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Shift all pixels of an image by up to a share of `strength` of their range either way."""
    return images + 2 * strength * (2 * _uniform((len(images), 1, 1, 1), rng) - 1)


def contrast(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Scale the distance of pixels to the mean of their image by 1 ± `strength`."""
    factor = 1 + strength * (2 * _uniform((len(images), 1, 1, 1), rng) - 1)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + factor * (images - mean)


def blur(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Blur with a Gaussian of `strength` pixels; edges are repeated, no noise is drawn."""
    channels, reach = images.shape[1], math.ceil(3 * strength)
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32)
    kernel = (-0.5 * (offsets / strength) ** 2).exp()
    kernel = (kernel / kernel.sum()).expand(channels, 1, 1, -1)
    padded = functional.pad(images, (reach, reach, reach, reach), mode="replicate")
    across = functional.conv2d(padded, kernel, groups=channels)
    return functional.conv2d(across, kernel.transpose(2, 3), groups=channels)


APPLY: dict[str, Apply] = {
    "gaussian": gaussian,
    "salt_and_pepper": salt_and_pepper,
    "rotation": rotation,
    "brightness": brightness,
    "contrast": contrast,
    "blur": blur,
}


class Corruption:
    """Corrupts each image in one of several ways, drawn evenly."""

    def __init__(self, strengths: Mapping[str, float]) -> None:
        """Args: strengths: by name of the corruptions that may be drawn."""
        self._strengths = dict(strengths)

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Corrupt images in [-1, 1], which stay there, with noise from `rng` on their device."""
        num = len(self._strengths)
        drawn = torch.randint(num, (len(images), 1, 1, 1), generator=rng, device=images.device)
        corrupted = images
        # All are computed and one is kept: to pick images by kind would make a GPU wait.
        for kind, (name, strength) in enumerate(self._strengths.items()):
            corrupted = torch.where(drawn == kind, APPLY[name](images, strength, rng), corrupted)
        return corrupted.clamp(-1, 1)


def _uniform(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)
