"""A convolutional variational autoencoder whose encoder and decoder both see the label."""

import torch
from torch import Tensor, nn

from tasks.generation import ImageInfo


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    # Group norm, unlike batch norm, makes an image independent of its batch.
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
        nn.GroupNorm(max(1, outputs // 8), outputs),
        nn.SiLU(),
    )


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
        widths = (channels[0], *channels)
        self.encoder = nn.Sequential(
            *(
                nn.Sequential(_convolution(before, after, stride=2), _convolution(after, after))
                for before, after in zip(widths, channels, strict=False)
            )
        )
        self.moments = nn.Linear(features + label_size, 2 * latent_size)
        self.decoder_label = nn.Embedding(info.num_classes, label_size)
        self.expand = nn.Linear(latent_size + label_size, features)
        self.decoder = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="nearest"),
                    _convolution(inputs, outputs),
                    _convolution(outputs, outputs),
                )
                for inputs, outputs in zip(channels[::-1], widths[-2::-1], strict=True)
            ),
            nn.Conv2d(channels[0], info.channels, 3, padding=1),
        )

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
