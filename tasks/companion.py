"""What a companion's file must offer: a second classifier, fitted beside a network, and compared.

A file in `tasks/companions` holds a frozen `Config` with `features`, an integer `VERSION`, and
`build(config) -> Companion`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InputError

if TYPE_CHECKING:
    from tasks.classification import Classifier
    from tasks.images import Images, Normalise

FEATURES_BYTES = 8 * 1024**3
"""No companion is given more: it holds all of its training images in memory, as float32."""

EMBED_BATCH = 256

Features = NDArray[np.float32]
"""Images × D."""


class Fitted(Protocol):
    """A companion that has learnt."""

    def predict(self, features: Features) -> NDArray[np.float32]:
        """Probabilities, images × classes."""
        ...

    def save(self, path: Path) -> None:
        """Write all of it into one `.npz` file, aside and then renamed."""
        ...


class Companion(Protocol):
    """What `build` of a file in `tasks/companions` returns."""

    def fit(
        self, features: Features, labels: NDArray[np.int64], num_classes: int, seed: int
    ) -> Fitted:
        """Learn from one row and one label an image; not every class must occur."""
        ...

    def load(self, path: Path) -> Fitted:
        """Read what `save` wrote; nothing in the file is executed.

        Raises InputError where it is damaged.
        """
        ...


def features_of(
    kind: Literal["pixels", "embedding"],
    classifier: "Classifier",
    images: "Images",
    normalise: "Normalise",
) -> Features:
    """What a companion sees of `images`, in their order.

    `pixels`: the values 0..1 of all of an image. `embedding`: what the head of the network sees of
    it; the network is left in evaluation mode.

    Raises InputError where that does not fit into memory.
    """
    import torch

    if kind == "embedding":
        classifier.network.eval()
    rows = np.arange(len(images), dtype=np.int64)
    out: Features | None = None
    for start in range(0, len(images), EMBED_BATCH):
        batch = images.batch(rows[start : start + EMBED_BATCH])
        with torch.no_grad():
            seen = batch / 255 if kind == "pixels" else classifier.features(normalise(batch))
        found = seen.flatten(1).float().cpu().numpy()
        if out is None:
            out = _empty(len(images), found.shape[1])
        out[start : start + len(found)] = found
    return np.zeros((0, 0), np.float32) if out is None else out


def _empty(num_images: int, width: int) -> Features:
    num_bytes = num_images * width * 4
    if num_bytes > FEATURES_BYTES:
        raise InputError(
            f"train.companion: {num_images} images of {width} values need {num_bytes / 1e9:.0f} GB "
            "of memory: say features: embedding, or a smaller dataset.size"
        )
    return np.empty((num_images, width), np.float32)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A network beside its companion, on the same images. All are fractions of them."""

    agreement: float
    """Both say the same class."""
    companion_top1: float
    combined_top1: float
    """Of the mean of both probabilities."""


def compare(
    network: NDArray[np.float32], companion: NDArray[np.float32], labels: NDArray[np.int64]
) -> Agreement | None:
    """Hold the probabilities of both, images × classes, against the labels; None without images.

    Of equally probable classes the one with the lower index is predicted.
    """
    if network.shape != companion.shape or len(labels) != len(network):
        raise ValueError(
            f"probabilities of shapes {network.shape} and {companion.shape} for {len(labels)} "
            "labels: give one row an image and one column a class"
        )
    if not len(labels):
        return None
    ours, theirs = network.argmax(1), companion.argmax(1)
    both = (network.astype(np.float64) + companion).argmax(1)
    return Agreement(
        agreement=float(np.mean(ours == theirs)),
        companion_top1=float(np.mean(theirs == labels)),
        combined_top1=float(np.mean(both == labels)),
    )
