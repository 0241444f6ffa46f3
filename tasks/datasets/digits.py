"""scikit-learn's handwritten digits: 1,797 grey images of 8 × 8, real, and always at hand.

Source: E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test
part, as shipped by scikit-learn). The dataset has no test split: a fixed one is made here.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from pydantic.dataclasses import dataclass

from tasks.packs import Example
from tasks.reading import FileFacts, fixed_test
from tasks.specs import STRICT, DatasetInfo, SplitInfo

VERSION = 1
NUM_TEST = 797
CLASSES = tuple("0123456789")
SPLITS = {
    "all": SplitInfo(
        digest="35b30d378447aa205b6a1fb03d63df4568c6fb51cbd4ad0148279709f279347f",
        counts=(178, 182, 177, 183, 181, 182, 181, 179, 174, 180),
    ),
    "train": SplitInfo(
        digest="abbff60247db3e9b78833045190b64907741312803882ce3ceadea92628aec77",
        counts=(99, 101, 98, 102, 101, 101, 101, 100, 97, 100),
    ),
    "test": SplitInfo(
        digest="17351060b0c2d1ca5a5bb9e2bdfb939b3dad79761de9bfb30fe2ce86f12bd149",
        counts=(79, 81, 79, 81, 80, 81, 80, 79, 77, 80),
    ),
}
"""Stated, so that planning loads no scikit-learn; a test computes them again."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Nothing to choose."""


class Digits:
    """Reads the images out of the installed scikit-learn."""

    def identify(self, facts: FileFacts) -> DatasetInfo:
        return DatasetInfo(classes=CLASSES, splits=SPLITS, image_bytes=64, undivided=True)

    def read(self, split: str) -> Iterator[Example]:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        # 17 grey levels become 0..255.
        pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        rows = [
            (int(label), f"{index:04d}", hashlib.sha256(image.tobytes()).hexdigest())
            for index, (image, label) in enumerate(zip(pixels, bunch.target, strict=True))
        ]
        test = fixed_test(rows, len(CLASSES), NUM_TEST)
        for image, (label, source, sha) in zip(pixels, rows, strict=True):
            if split == "all" or (source in test) == (split == "test"):
                yield Example(pixels=image, label=label, source=source, sha256=sha)

    def fetch(self) -> None:
        """Nothing to fetch: the images ship with scikit-learn."""


def build(config: Config) -> Digits:
    """Return the reader."""
    return Digits()
