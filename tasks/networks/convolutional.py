"""The convolutional halves of an autoencoder."""

from torch import nn


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3 x 3 convolution, normalised and bent; `outputs` is a multiple of 8."""
    # Group norm, unlike batch norm, makes an image independent of its batch.
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
        nn.GroupNorm(max(1, outputs // 8), outputs),
        nn.SiLU(),
    )


def halving(channels: tuple[int, ...]) -> nn.Sequential:
    """Halve the resolution once for each of `channels`; the input has `channels[0]`."""
    widths = (channels[0], *channels)
    return nn.Sequential(
        *(
            nn.Sequential(convolution(before, after, stride=2), convolution(after, after))
            for before, after in zip(widths, channels, strict=False)
        )
    )


def doubling(channels: tuple[int, ...], outputs: int) -> nn.Sequential:
    """The way back of `halving`, and a last convolution to `outputs` channels."""
    widths = (channels[0], *channels)
    return nn.Sequential(
        *(
            nn.Sequential(
                nn.Upsample(scale_factor=2, mode="nearest"),
                convolution(before, after),
                convolution(after, after),
            )
            for before, after in zip(channels[::-1], widths[-2::-1], strict=True)
        ),
        nn.Conv2d(channels[0], outputs, 3, padding=1),
    )
