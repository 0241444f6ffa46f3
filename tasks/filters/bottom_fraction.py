"""Drops the images with the lowest scores.

Wang et al., "Enhance image classification via inter-class image mixup with diffusion model"
(Diff-Mix, arXiv 2403.19600, Zhicaiwww/Diff-Mix): the lowest tenth by CLIP score is dropped. The
threshold is taken from the images that were drawn first, so that refills meet the same one.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.filtering import Candidates, Filter, Mask, probabilities_of
from tasks.filters._clip_scores import CHECKPOINT, PROMPT, ClipScores
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    from tasks.reading import FileFacts

VERSION = 1
NAME = "bottom_fraction"


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How many, and by which score."""

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    by: Literal["probability", "clip"] = "probability"
    """Of the asked class: by a classifier fitted on the real images, or by a CLIP."""
    per_class: bool = True
    """The lowest of each class; else of the whole set."""
    prompt: str | None = None
    """Of `by: clip`; "a photo of a {}" where nothing is said."""
    checkpoint: str | None = None
    """Of `by: clip`: a name on the Hugging Face hub, or the path of a local folder."""
    folder: Locator[str | None] = None
    """Where the folder lies that `checkpoint` names by content; filled in by planning."""

    def __post_init__(self) -> None:
        from tasks.clip import check_prompt

        if self.by != "clip" and (self.prompt, self.checkpoint) != (None, None):
            raise ValueError(
                "prompt and checkpoint belong to `by: clip`: leave them out, or say so"
            )
        if self.prompt is not None:
            check_prompt(self.prompt)
        if self.folder is not None and not (self.checkpoint or "").startswith(BY_CONTENT):
            raise ValueError("folder is filled in by planning: say checkpoint: <path> instead")


class _BottomFraction:
    """A `tasks.filtering.Filter`."""

    def __init__(self, config: Config, clip: ClipScores | None, num_classes: int) -> None:
        self._config, self._clip = config, clip
        self._thresholds = np.full(num_classes, -np.inf)

    def learn(self, drawn: Candidates, real: Candidates) -> None:
        scores = self._scores(drawn)
        for label in range(len(self._thresholds)):
            mine = scores[drawn.labels == label] if self._config.per_class else scores
            if len(mine):
                self._thresholds[label] = _cut(mine, self._config.fraction)

    def keep(self, candidates: Candidates) -> Mask:
        kept: Mask = self._scores(candidates) >= self._thresholds[candidates.labels]
        return kept

    def _scores(self, candidates: Candidates) -> npt.NDArray[np.float64]:
        if self._clip is not None:
            probabilities = self._clip(candidates.pixels)
        else:
            probabilities = probabilities_of(candidates, NAME)
        own = probabilities[np.arange(len(candidates)), candidates.labels]
        return own.astype(np.float64)


def _cut(scores: npt.NDArray[np.float64], fraction: float) -> float:
    """The score of the lowest image that is kept."""
    # 0.29 * 100 is a little less than 29 in floating point.
    return float(np.sort(scores)[int(fraction * len(scores) + 1e-9)])


def needs(config: Config) -> tuple[str, ...]:
    """A CLIP is a network of its own."""
    return ("probabilities",) if config.by == "probability" else ()


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name a local folder by what it contains, so that a key does not hang on where it lies.

    Raises InputError for what is neither a folder nor could be a name on the hub.
    """
    from tasks import clip

    if config.checkpoint is None or config.checkpoint.startswith(BY_CONTENT):
        return config
    checkpoint, folder = clip.identify(config.checkpoint, facts)
    return replace(config, checkpoint=checkpoint, folder=folder)


def build(config: Config, classes: tuple[str, ...], device: str) -> Filter:
    """For these class names."""
    clip = None
    if config.by == "clip":
        clip = ClipScores(
            config.checkpoint or CHECKPOINT,
            "main",
            config.folder,
            config.prompt or PROMPT,
            classes,
            device,
        )
    return _BottomFraction(config, clip, len(classes))
