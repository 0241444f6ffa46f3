"""CIFAR-100: 50,000 + 10,000 colour images of 32 × 32 in 100 classes or 20 superclasses.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. Read from the
Python files, from their archive as it is published, or from the Parquet files of
`uoft-cs/cifar100` on the Hugging Face Hub. The same images have other digests in the two forms: one
hashes pixels, the other image files.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic.dataclasses import dataclass

from tasks.caches import cache_dir
from tasks.datasets._cifar import WEB, Published, cifar_reader
from tasks.datasets._splits import SplitReader
from tasks.specs import STRICT, Locator, NotHashed

VERSION = 1
_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
    cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
    lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
    oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
FINE = tuple(_NAMES.split())
COARSE = (
    "aquatic_mammals",
    "fish",
    "flowers",
    "food_containers",
    "fruit_and_vegetables",
    "household_electrical_devices",
    "household_furniture",
    "insects",
    "large_carnivores",
    "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores",
    "medium_mammals",
    "non-insect_invertebrates",
    "people",
    "reptiles",
    "small_mammals",
    "trees",
    "vehicles_1",
    "vehicles_2",
)
PUBLISHED = Published(
    name="cifar100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    train=("train",),
    test=("test",),
    hub="uoft-cs/cifar100",
)
"""The sum is the authors'."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the files are, where they are published, and which of the two labels counts."""

    labels: Literal["fine", "coarse"] = "fine"
    """The 100 classes, or the 20 superclasses of five each."""
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
        Path(config.root) if config.root else cache_dir() / "cifar100",
        mirror=config.mirror,
        classes=FINE if config.labels == "fine" else COARSE,
        batch_label=f"{config.labels}_labels",
        parquet_label=f"{config.labels}_label",
        skip_bad=config.skip_bad,
        version=VERSION,
        settings=(config.labels, config.skip_bad),
    )
