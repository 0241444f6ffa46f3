"""A transformers image classifier as a plain network: images in, logits out."""

from typing import Any

from torch import Tensor, nn


class ImageClassifier(nn.Module):
    """Holds the model as transformers builds it, with dropout before its head where asked for."""

    def __init__(self, model: Any, interpolate: bool, dropout: float) -> None:
        """Take over `model`, whose head must be its `classifier`.

        Args:
            interpolate: fit the position embeddings to the images' size at each call.
            dropout: before the head; 0 leaves the model as it is.
        """
        super().__init__()
        self.model = model
        self._options = {"interpolate_pos_encoding": True} if interpolate else {}
        if dropout:
            model.classifier = nn.Sequential(nn.Dropout(dropout), model.classifier)

    def forward(self, images: Tensor) -> Tensor:
        """N × C × H × W -> logits N × num_classes."""
        logits: Tensor = self.model(pixel_values=images, **self._options).logits
        return logits

    def features(self, images: Tensor) -> Tensor:
        """N × C × H × W -> what the head is given, N × D."""
        given: list[Tensor] = []
        # Each model of transformers pools in its own way: what reaches the head is what it pooled.
        handle = self.model.classifier.register_forward_pre_hook(
            lambda _, arguments: given.append(arguments[0])
        )
        try:
            self(images)
        finally:
            handle.remove()
        return given[0].flatten(1)
