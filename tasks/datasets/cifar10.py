"""CIFAR-10: 50,000 + 10,000 colour images of 32 × 32 in ten classes.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. Read from the
Python batches, from their archive as it is published, or from the Parquet files of
`uoft-cs/cifar10` on the Hugging Face Hub. The same images have other digests in the two forms: one
hashes pixels, the other image files.
"""

from pathlib import Path
from typing import Annotated

from pydantic.dataclasses import dataclass

from tasks.caches import cache_dir
from tasks.datasets._cifar import WEB, Published, cifar_reader
from tasks.datasets._splits import SplitReader
from tasks.specs import STRICT, Locator, NotHashed

VERSION = 1
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
PUBLISHED = Published(
    name="cifar10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test=("test_batch",),
    hub="uoft-cs/cifar10",
)
"""The sum is the authors'."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the files are, and where they are published."""

    root: Locator[str | None] = None
    """Folder of any of the forms; None is this machine's cache, filled by download."""
    mirror: Locator[str] = WEB
    """Folder on the web that holds the archive."""
    skip_bad: Annotated[bool, NotHashed()] = False
    """Leave out images in Parquet that cannot be read, and say so; the digest counts the rest."""


def build(config: Config) -> SplitReader:
    """Return the reader."""
    return cifar_reader(
        PUBLISHED,
        Path(config.root) if config.root else cache_dir() / "cifar10",
        mirror=config.mirror,
        classes=CLASSES,
        batch_label="labels",
        parquet_label="label",
        skip_bad=config.skip_bad,
        version=VERSION,
        settings=(config.skip_bad,),
    )
