"""The convolutional pair of networks of DCGAN, made conditional, and what all GANs score by.

Radford, Metz & Chintala, DCGAN (arXiv 1511.06434, pytorch/examples dcgan).
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.generation import ImageInfo, num_halvings

MOST_WIDENING = 8


def widths(channels: int, halvings: int) -> tuple[int, ...]:
    """Channels at the image's side, at half of it and so on: doubled, up to eight times as many."""
    return tuple(channels * min(2**number, MOST_WIDENING) for number in range(halvings + 1))


def lowest(info: ImageInfo) -> tuple[int, int]:
    """Height and width after all halvings."""
    halved = 2 ** num_halvings(info)
    return info.height // halved, info.width // halved


class Projection(nn.Module):
    """Scores features for a label: linear(h) + embedding(label) · h.

    Miyato & Koyama, "cGANs with projection discriminator" (1802.05637).
    """

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.embedding = nn.Embedding(num_classes, features)
        # As large as the linear part; torch's embeddings would outweigh it by far.
        nn.init.normal_(self.embedding.weight, std=features**-0.5)

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """N × features and labels N -> scores N."""
        scores: Tensor = self.linear(hidden).squeeze(1) + (self.embedding(labels) * hidden).sum(1)
        return scores


class ConvolutionalGenerator(nn.Module):
    """Latents and labels to images: transposed convolutions, batch norm, ReLU; tanh at the end."""

    def __init__(self, info: ImageInfo, channels: int, latent_size: int) -> None:
        super().__init__()
        wide = widths(channels, num_halvings(info))[::-1]
        self.num_classes = info.num_classes
        self.lowest = (wide[0], *lowest(info))
        self.expand = nn.Linear(
            latent_size + info.num_classes, wide[0] * self.lowest[1] * self.lowest[2], bias=False
        )
        layers: list[nn.Module] = [nn.BatchNorm2d(wide[0]), nn.ReLU()]
        for before, after in itertools.pairwise(wide):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(
            *layers, nn.Conv2d(wide[-1], info.channels, 3, padding=1), nn.Tanh()
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """N × latent and N -> images in [-1, 1], N × C × H × W."""
        told = functional.one_hot(labels, self.num_classes).to(latents.dtype)
        hidden = self.expand(torch.cat([latents, told], 1)).unflatten(1, self.lowest)
        images: Tensor = self.layers(hidden)
        return images


class ConvolutionalDiscriminator(nn.Module):
    """Images and labels to scores: strided convolutions and leaky ReLU; a projection at the end."""

    def __init__(self, info: ImageInfo, channels: int) -> None:
        super().__init__()
        wide = widths(channels, num_halvings(info))
        layers: list[nn.Module] = [
            nn.Conv2d(info.channels, wide[0], 3, padding=1),
            nn.LeakyReLU(0.2),
        ]
        for before, after in itertools.pairwise(wide):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        height, width = lowest(info)
        self.projection = Projection(wide[-1] * height * width, info.num_classes)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images in [-1, 1], N × C × H × W, and labels N -> scores N."""
        scores: Tensor = self.projection(self.layers(images), labels)
        return scores
