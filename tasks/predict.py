"""Predicts a test split with stored weights; all metrics are computed from what it stores."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks import plugins
from tasks.classification import Classifier, load_for
from tasks.companion import Companion, features_of
from tasks.devices import move, prepare
from tasks.duplicates import excluded
from tasks.errors import InputError
from tasks.images import Images, Normalise, Part, Source, as_packed, part
from tasks.inference import logits_of
from tasks.packs import Indices, Pack, held_out
from tasks.predictions import StoredPredictions, save_predictions
from tasks.results import write_result
from tasks.specs import EvaluateSpec, Key, Plugin, Progress, Work

WEIGHTS = ("selected", "last")

Probabilities = NDArray[np.float32]
"""Images × classes."""


def predict(spec: EvaluateSpec, inputs: Mapping[Key, Path], out: Path, device: str = "cpu") -> Work:
    """Write `predictions.npz`: class probabilities of every test image, and its label.

    The validation-selected weights are needed; the last ones are predicted where they were kept,
    and the companion of the network where it has one.

    Args:
        inputs: the folders of the trial, the test pack and the duplicates that `spec` names.
    """
    import torch

    started = time.perf_counter()
    trial, place = inputs[spec.trial], prepare(device)
    pack = Pack(inputs[spec.test])
    classes = spec.classes or pack.classes
    tested = part(pack, _rows(spec, pack, inputs), classes)
    found: dict[str, Probabilities] = {}
    companion: Probabilities | None = None
    for done, name in enumerate(WEIGHTS):
        path = trial / f"{name}.safetensors"
        if path.exists():
            classifier, known = load_for(path, classes)
            move(classifier.network, place)
            images = Images(Source([tested], classifier.input_size), classifier.channels, place)
            normalise = Normalise(classifier.mean, classifier.std, place)
            # Whatever it was trained in: coarser logits tie, and ties go to the lower class.
            parts = logits_of(classifier.network, images, normalise, "float32")
            probabilities = torch.cat(parts).softmax(1).cpu().numpy()
            found[name] = probabilities[:, _order(known, classes)]
            if name == "selected" and spec.companion is not None:
                asked = _ask(spec.companion, trial, classifier, tested, images, normalise)
                companion = asked[:, _order(known, classes)]
        yield Progress(done=done + 1, total=len(WEIGHTS))
    if "selected" not in found:
        raise InputError(
            "the weights of this trial were not kept (keep_weights: none): train it again with "
            "keep_weights: selected in a new store"
        )
    stored = StoredPredictions(
        labels=tested.labels,
        selected=found["selected"],
        last=found.get("last"),
        companion=companion,
    )
    save_predictions(out / "predictions.npz", stored)
    write_result(out, {"images": len(tested.labels), "seconds": time.perf_counter() - started})


def _rows(spec: EvaluateSpec, pack: Pack, inputs: Mapping[Key, Path]) -> Indices:
    """The images to predict: all, or a held-out fold, without those that training may have seen."""
    rows = np.arange(len(pack), dtype=np.int64)
    if spec.held_out is not None:
        rows = held_out(pack, spec.held_out)
    if spec.without is not None:
        rows = np.setdiff1d(rows, excluded(inputs[spec.without]))
    if not len(rows):
        raise InputError(
            "dataset.drop_test_duplicates: every test image also stands in the train split, so "
            "that none is left to test on: give other test images"
        )
    return rows


def _order(known: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The columns of `classes` in predictions whose columns are `known`."""
    return [known.index(name) for name in classes]


def _ask(
    chosen: Plugin,
    trial: Path,
    classifier: Classifier,
    tested: Part,
    images: Images,
    normalise: Normalise,
) -> Probabilities:
    """The probabilities of the companion, which sees images as it did when it was fitted."""
    kind = chosen.config.features
    seen = as_packed([tested], images.device) if kind == "pixels" else images
    features = features_of(kind, classifier, seen, normalise)
    companion: Companion = plugins.build("companions", chosen)
    return companion.load(trial / "companion.npz").predict(features)
