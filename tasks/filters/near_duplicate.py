"""Drops images that nearly equal one that was drawn before, or a real training image.

By pixels near is what `tasks.copies` finds, and so what an audit counts as a copy. By features of
an extractor it is nearer than all but a small share of the real training images are to the next of
their kind, and so drops some honest images too. Removing near-duplicates is usual for real data
(for text: Lee et al., "Deduplicating training data makes language models better", arXiv
2107.06499); of a generator it removes what it memorised, and what it makes over and over.
"""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.filtering import Filter
from tasks.specs import STRICT

VERSION = 1
NAME = "near_duplicate"
QUANTILE = 0.01


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What counts as near, and of what."""

    by: Literal["pixels", "features"] = "pixels"
    of_real: bool = True
    """Of the training images that the generator saw."""
    of_kept: bool = True
    """Of the images of the set that this filter kept before; by pixels also of those that copy
    one of these."""
    quantile: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of `by: features`: share of real images that lie nearer than the threshold to another real
    image; 0.01 where nothing is said."""

    def __post_init__(self) -> None:
        if not (self.of_real or self.of_kept):
            raise ValueError("of_real and of_kept are both false: nothing is left to drop")
        if self.quantile is not None and self.by != "features":
            raise ValueError("quantile belongs to `by: features`: leave it out, or say so")


def needs(config: Config) -> tuple[str, ...]:
    """What an extractor says of images, if they are compared by it."""
    return ("features",) if config.by == "features" else ()


def build(config: Config, classes: tuple[str, ...], device: str) -> Filter:
    """The same for all classes: a copy is one, whatever it is called."""
    from tasks.filters._repeats import RepeatsInFeatures, RepeatsInPixels

    if config.by == "pixels":
        return RepeatsInPixels(config.of_real, config.of_kept)
    quantile = QUANTILE if config.quantile is None else config.quantile
    return RepeatsInFeatures(NAME, config.of_real, config.of_kept, quantile)
