"""Scores predictions against true classes, by the metrics that studies have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.report.wording import counted
from orchestrator.single.inferring import Inferred
from orchestrator.single.labels import Labels
from orchestrator.single.places import some
from tasks import plugins
from tasks.errors import InputError, nearest
from tasks.predictions import Predictions, Score

USUAL = ("top1", "top5", "precision", "recall", "f1", "confusion")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of one set of images."""

    classes: tuple[str, ...]
    num_images: tuple[int, ...]
    """Of each class."""
    scores: Mapping[str, Score]
    skipped: tuple[str, ...]
    """Images that were not predicted, as they cannot be read."""

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes without an image."""
        pairs = zip(self.classes, self.num_images, strict=True)
        return tuple(name for name, number in pairs if not number)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Metrics that have no score, as they look at how many images a class was trained on."""
        pairs = self.scores.items()
        return tuple(name for name, s in pairs if s.value is None and s.matrix is None)


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics that were asked for, each once, or the usual ones.

    Raises InputError for an unknown name.
    """
    known = plugins.names("metrics")
    for name in names:
        if "," in name:
            raise InputError(f"--metric {name}: separate them by spaces, as in --metric top1 f1")
        if name not in known:
            raise InputError(f"--metric: unknown metric {name!r}; {nearest(name, known)}")
    return tuple(dict.fromkeys(names)) or USUAL


@dataclass(frozen=True, kw_only=True)
class Told:
    """True classes, and what the user called those who say them and the images."""

    labels: Labels
    where: str
    """The flag of the labels, with its value."""
    images: str
    """The flag of the predictions, or of the images that are predicted now."""


def matched(
    inferred: Inferred, classes: tuple[str, ...], truth: Told, allow_missing: bool
) -> Predictions:
    """Put the true class beside each prediction.

    Args:
        allow_missing: the labels may lack some of the classes.

    Raises InputError naming the first images and classes that stand on one side alone.
    """
    labels, predicted = truth.labels, set(inferred.names)
    told = {labels[name] for name in inferred.names if name in labels}
    unlabelled = sorted(predicted - set(labels))
    unpredicted = sorted(set(labels) - predicted - set(inferred.skipped))
    unknown = sorted(told - set(classes))
    absent = [name for name in classes if name not in told]
    if unlabelled:
        raise InputError(
            f"{truth.where}: has no label for {_of(unlabelled, 'image')} of {truth.images}: "
            f"{some(unlabelled)}; add them, by paths below the folder that is predicted"
        )
    if unpredicted:
        raise InputError(
            f"{truth.images}: has no prediction of {_of(unpredicted, 'image')} of {truth.where}: "
            f"{some(unpredicted)}; predict them too, or take out their labels"
        )
    if unknown:
        raise InputError(
            f"{truth.where}: {_of(unknown, 'class')} that the model does not know: "
            f"{some(unknown)}; rename or leave them out: it knows {some(classes, 12)}"
        )
    if absent and not allow_missing:
        raise InputError(
            f"{truth.where}: has no image of {_of(absent, 'class')} of the model: {some(absent)}; "
            f"add some, or say --allow-missing, if that is meant"
        )
    place = {name: index for index, name in enumerate(classes)}
    return Predictions(
        probabilities=inferred.probabilities,
        labels=np.array([place[labels[name]] for name in inferred.names], np.int64),
        classes=classes,
    )


def _of(names: Sequence[str], noun: str) -> str:
    return counted(len(names), noun, "classes" if noun == "class" else "")


def evaluated(
    predictions: Predictions, metrics: Sequence[str], skipped: tuple[str, ...]
) -> Evaluation:
    """Compute each metric by name."""
    counts = np.bincount(predictions.labels, minlength=len(predictions.classes))
    return Evaluation(
        classes=predictions.classes,
        num_images=tuple(counts.tolist()),
        scores={
            name: plugins.build("metrics", plugins.plugin("metrics", name))(predictions)
            for name in metrics
        },
        skipped=skipped,
    )
