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


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics that were asked for, each once, or the usual ones.

    Raises InputError for an unknown name.
    """
    known = plugins.names("metrics")
    for name in names:
        if name not in known:
            raise InputError(f"--metric: unknown metric {name!r}; {nearest(name, known)}")
    return tuple(dict.fromkeys(names)) or USUAL


def matched(
    inferred: Inferred, classes: tuple[str, ...], labels: Labels, allow_missing: bool
) -> Predictions:
    """Put the true class beside each prediction.

    Args:
        allow_missing: the labels may lack some of the classes.

    Raises InputError naming the first images and classes that stand on one side alone.
    """
    predicted = set(inferred.names)
    told = {labels[name] for name in inferred.names if name in labels}
    unpredicted = set(labels) - predicted - set(inferred.skipped)
    _none("prediction", "without a label", sorted(predicted - set(labels)))
    _none("label", "without a prediction", sorted(unpredicted))
    _none("class", "of the labels that the model does not know", sorted(told - set(classes)))
    if not allow_missing:
        absent = [name for name in classes if name not in told]
        _none("class", "of the model without a label (--allow-missing, if that is meant)", absent)
    place = {name: index for index, name in enumerate(classes)}
    return Predictions(
        probabilities=inferred.probabilities,
        labels=np.array([place[labels[name]] for name in inferred.names], np.int64),
        classes=classes,
    )


def _none(noun: str, which: str, wrong: Sequence[str]) -> None:
    if wrong:
        plural = "classes" if noun == "class" else ""
        raise InputError(f"{counted(len(wrong), noun, plural)} {which}: {some(wrong)}")


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
