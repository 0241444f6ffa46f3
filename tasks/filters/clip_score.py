"""Drops images that a CLIP does not take for their class.

He et al., "Is synthetic data from generative models ready for image recognition?" (arXiv
2210.07574, CVMI-Lab/SyntheticData): an image is kept whose probability for its own class name,
among the prompts of all classes, exceeds 1 / number of classes.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.filtering import Candidates, Filter, Mask
from tasks.filters._clip_scores import CHECKPOINT, PROMPT, ClipScores
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    from tasks.reading import FileFacts

VERSION = 1


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which CLIP is asked, and what it is to say."""

    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Probability of the class that an image must exceed; None is 1 / number of classes."""
    prompt: str = PROMPT
    checkpoint: str = CHECKPOINT
    """A name on the Hugging Face hub, or the path of a local folder."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    folder: Locator[str | None] = None
    """Where the folder lies that `checkpoint` names by content; filled in by planning."""

    def __post_init__(self) -> None:
        from tasks.clip import check_prompt

        check_prompt(self.prompt)
        if self.folder is not None and not self.checkpoint.startswith(BY_CONTENT):
            raise ValueError("folder is filled in by planning: say checkpoint: <path> instead")


@dataclass(frozen=True, kw_only=True)
class _ClipScore:
    """A `tasks.filtering.Filter`."""

    scores: ClipScores
    threshold: float

    def learn(self, drawn: Candidates, real: Candidates) -> None:
        """There is nothing to learn."""

    def keep(self, candidates: Candidates) -> Mask:
        own = self.scores(candidates.pixels)[np.arange(len(candidates)), candidates.labels]
        kept: Mask = own > self.threshold
        return kept


def needs(config: Config) -> tuple[str, ...]:
    """It has a network of its own."""
    return ()


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name a local folder by what it contains, so that a key does not hang on where it lies.

    Raises InputError for what is neither a folder nor could be a name on the hub.
    """
    from tasks import clip

    if config.checkpoint.startswith(BY_CONTENT):
        return config
    checkpoint, folder = clip.identify(config.checkpoint, facts)
    return replace(config, checkpoint=checkpoint, folder=folder)


def build(config: Config, classes: tuple[str, ...], device: str) -> Filter:
    """For these class names."""
    return _ClipScore(
        scores=ClipScores(
            config.checkpoint, config.revision, config.folder, config.prompt, classes, device
        ),
        threshold=1 / len(classes) if config.threshold is None else config.threshold,
    )
