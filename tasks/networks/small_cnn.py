"""A plain convolutional classifier."""

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Stages of two (convolution, batch norm, ReLU), max-pooled between, averaged at the end."""

    def __init__(
        self, channels: int, num_classes: int, width: int, stages: int, dropout: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage in range(stages):
            wide = width * 2**stage
            if stage:
                # ceil_mode: a side that has come down to one pixel stays one pixel.
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            for _ in range(2):
                layers += [
                    nn.Conv2d(channels, wide, 3, padding=1, bias=False),
                    nn.BatchNorm2d(wide),
                    nn.ReLU(inplace=True),
                ]
                channels = wide
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """N × C × H × W -> logits N × num_classes."""
        logits: Tensor = self.head(self.features(images))
        return logits
