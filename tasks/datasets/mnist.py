"""MNIST: 60,000 + 10,000 grey images of 28 × 28, handwritten digits.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document
recognition, Proc. IEEE 86, 1998. Read from the four published IDX files, gzipped or not, or from
the Parquet files of `ylecun/mnist` on the Hugging Face Hub. The same images have other digests in
the two forms: one hashes pixels, the other PNG files.
"""

from pathlib import Path
from typing import Annotated

from pydantic.dataclasses import dataclass

from tasks.caches import cache_dir
from tasks.datasets._idx import fetch_idx, idx_store
from tasks.datasets._parquet import parquet_files, parquet_store
from tasks.datasets._splits import SplitReader, Store
from tasks.specs import STRICT, Locator, NotHashed

VERSION = 1
CLASSES = tuple("0123456789")
PUBLISHED = (
    "yann.lecun.com/exdb/mnist, or the Parquet files of huggingface.co/datasets/ylecun/mnist"
)
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""As torchvision states them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the files are, and where they are published."""

    root: Locator[str | None] = None
    """Folder of the files; None is this machine's cache, filled by download."""
    mirror: Locator[str] = "https://ossci-datasets.s3.amazonaws.com/mnist"
    """Folder on the web that holds the four gzipped files."""
    skip_bad: Annotated[bool, NotHashed()] = False
    """Leave out images in Parquet that cannot be read, and say so; the digest counts the rest."""


def build(config: Config) -> SplitReader:
    """Return the reader."""
    root = Path(config.root) if config.root else cache_dir() / "mnist"

    def opened() -> Store:
        if parquet_files(root):
            return parquet_store("mnist", root, skip_bad=config.skip_bad, known=CLASSES)
        return idx_store("mnist", root, CLASSES, PUBLISHED)

    def fetched() -> None:
        if not parquet_files(root):
            fetch_idx("mnist", root, config.mirror, MD5)

    return SplitReader(
        name="mnist",
        version=VERSION,
        settings=(config.skip_bad,),
        opened=opened,
        image_bytes=28 * 28,
        fetched=fetched,
    )
