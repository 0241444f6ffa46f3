"""Drops blank images: black, flat, or next to it.

Generators that collapsed, decoders that overflowed and safety checkers that paint over what they
refuse leave such images behind.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.filtering import Candidates, Filter, Mask
from tasks.specs import STRICT

VERSION = 1

Levels = Annotated[float, Field(ge=0, le=255)]


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Below which an image counts as blank, in grey levels of 0..255."""

    min_std: Levels = 2.0
    """Standard deviation over the pixels of the channel in which it is largest."""
    min_range: Levels = 16.0
    """Brightest minus darkest pixel of the channel in which that is most."""


@dataclass(frozen=True, kw_only=True)
class _Blank:
    """A `tasks.filtering.Filter`."""

    config: Config

    def learn(self, drawn: Candidates, real: Candidates) -> None:
        """There is nothing to learn."""

    def keep(self, candidates: Candidates) -> Mask:
        # Channel by channel: an image all of one colour is flat, though its channels differ.
        flat = candidates.pixels.reshape(len(candidates), -1, candidates.pixels.shape[3])
        span = (flat.max(1).astype(np.int64) - flat.min(1)).max(1)
        spread = flat.std(1, dtype=np.float64).max(1)
        kept: Mask = (span >= self.config.min_range) & (spread >= self.config.min_std)
        return kept


def needs(config: Config) -> tuple[str, ...]:
    """Pixels tell."""
    return ()


def build(config: Config, classes: tuple[str, ...], device: str) -> Filter:
    """The same for all classes."""
    return _Blank(config=config)
