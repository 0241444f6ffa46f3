"""Fashion-MNIST: 60,000 + 10,000 grey images of 28 × 28 in ten classes of clothing.

Source: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747, 2017; MIT licence. Read from the four
published IDX files, gzipped or not.
"""

from pathlib import Path

from pydantic.dataclasses import dataclass

from tasks.caches import cache_dir
from tasks.datasets._idx import fetch_idx, idx_store
from tasks.datasets._splits import SplitReader
from tasks.specs import STRICT, Locator

VERSION = 1
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PUBLISHED = "github.com/zalandoresearch/fashion-mnist"
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
"""As published by the authors."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the IDX files are, and where they are published."""

    root: Locator[str | None] = None
    """Folder of the four files; None is this machine's cache, filled by download."""
    mirror: Locator[str] = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    """Folder on the web that holds the four gzipped files."""


def build(config: Config) -> SplitReader:
    """Return the reader."""
    root = Path(config.root) if config.root else cache_dir() / "fashion_mnist"
    return SplitReader(
        name="fashion_mnist",
        version=VERSION,
        opened=lambda: idx_store("fashion_mnist", root, CLASSES, PUBLISHED),
        image_bytes=28 * 28,
        fetched=lambda: fetch_idx("fashion_mnist", root, config.mirror, MD5),
    )
