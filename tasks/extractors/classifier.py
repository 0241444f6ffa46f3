"""The study's own small classifier, fitted on real images: for where no pre-trained weights are.

Its features are what its last layer sees. It knows the classes, and so gives their probabilities
too; and it knows nothing but these images, so that distances compare sets of one study alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic.dataclasses import dataclass

from tasks.classification import Classifier
from tasks.errors import InputError
from tasks.extraction import Extracted
from tasks.packs import luma, squared
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1
NEEDS_FIT = True
WEIGHTS = "selected.safetensors"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Nothing to choose: one network for every study, so that figures compare."""


def build(config: Config, fitted: Path | None, device: str) -> "_Classifier":
    """Load the classifier that an `extractor` step fitted.

    Raises InputError where its weights cannot be read.
    """
    from tasks.classification import load_weights
    from tasks.classifiers._checkpoints import content_id
    from tasks.devices import move, prepare

    if fitted is None:
        raise InputError("extractor: classifier is fitted on a study's own images: give its folder")
    place = prepare(device)
    classifier, _ = load_weights(fitted / WEIGHTS)
    move(classifier.network, place)
    classifier.network.eval()
    return _Classifier(classifier, content_id(fitted / WEIGHTS)[:19], place)


class _Classifier:
    def __init__(self, classifier: Classifier, weights: str, place: "torch.device") -> None:
        from tasks.images import Normalise

        self._classifier, self._place = classifier, place
        self._normalise = Normalise(classifier.mean, classifier.std, place)
        self.stamp = {
            "extractor": "classifier",
            "weights": f"{classifier.resolved}, {weights}",
            "resize": "bicubic, antialiased (PIL), centre square",
            "size": str(classifier.input_size),
            "dtype": "float32",
            "features": "input of the last layer",
        }

    def __call__(self, images: "Tensor") -> Extracted:
        import torch

        seen = self._normalise(self._shaped(images).to(self._place))
        with torch.inference_mode():
            features = self._classifier.features(seen)
            probabilities = self._classifier.network(seen).softmax(1)
        return Extracted(features=features.cpu().numpy(), probabilities=probabilities.cpu().numpy())

    def _shaped(self, images: "Tensor") -> "Tensor":
        """With the channels and of the side that the network takes, as a trial makes them."""
        import torch

        side, channels = self._classifier.input_size, self._classifier.channels
        rows = images.permute(0, 2, 3, 1).numpy()
        if rows.shape[1:3] != (side, side):
            rows = np.stack([squared(row, side) for row in rows])
        if rows.shape[3] > channels:
            rows = luma(rows)
        return torch.from_numpy(rows).permute(0, 3, 1, 2).expand(-1, channels, -1, -1)
