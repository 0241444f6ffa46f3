"""A convolutional variational autoencoder whose encoder and decoder both see the label."""

import torch
from torch import Tensor, nn

from tasks.generation import ImageInfo
from tasks.networks.convolutional import doubling, halving


class ConditionalVae(nn.Module):
    """Kingma & Welling, "Auto-encoding variational Bayes"; conditional as in Sohn et al. (2015)."""

    def __init__(self, info: ImageInfo, channels: tuple[int, ...], latent_size: int) -> None:
        super().__init__()
        halved = 2 ** len(channels)
        self.lowest = (channels[-1], info.height // halved, info.width // halved)
        features = self.lowest[0] * self.lowest[1] * self.lowest[2]
        label_size = channels[0]
        self.stem = nn.Conv2d(info.channels, channels[0], 3, padding=1)
        self.encoder_label = nn.Embedding(info.num_classes, channels[0])
        self.encoder = halving(channels)
        self.moments = nn.Linear(features + label_size, 2 * latent_size)
        self.decoder_label = nn.Embedding(info.num_classes, label_size)
        self.expand = nn.Linear(latent_size + label_size, features)
        self.decoder = doubling(channels, info.channels)

    def forward(
        self, images: Tensor, labels: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, draw with `noise` (N × latent) and decode: logits, mean and log variance."""
        mean, log_variance = self.encode(images, labels)
        latents = mean + noise * (0.5 * log_variance).exp()
        return self.decode(latents, labels), mean, log_variance

    def encode(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, each N × latent, of images in [-1, 1]."""
        seen = self.encoder_label(labels)
        hidden = self.encoder(self.stem(images) + seen[:, :, None, None])
        mean, log_variance = self.moments(torch.cat([hidden.flatten(1), seen], 1)).chunk(2, 1)
        # Wide enough never to bind in a sound fit; keeps the first steps from overflowing.
        return mean, log_variance.clamp(-20, 20)

    def decode(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Logits of pixels, N × C × H × W; `tanh(logits / 2)` is the image in [-1, 1]."""
        joined = torch.cat([latents, self.decoder_label(labels)], 1)
        logits: Tensor = self.decoder(self.expand(joined).unflatten(1, self.lowest))
        return logits
