"""Predicts a test split with stored weights; all metrics are computed from what it stores."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tasks.classification import load_weights
from tasks.duplicates import excluded
from tasks.errors import InputError
from tasks.images import Images, Normalise, Source, part
from tasks.inference import logits_of
from tasks.packs import Indices, Pack, held_out
from tasks.predictions import StoredPredictions, save_predictions
from tasks.results import write_result
from tasks.specs import EvaluateSpec, Key, Progress, Work

WEIGHTS = ("selected", "last")


def predict(spec: EvaluateSpec, inputs: Mapping[Key, Path], out: Path, device: str = "cpu") -> Work:
    """Write `predictions.npz`: class probabilities of every test image, and its label.

    The validation-selected weights are needed; the last ones are predicted where they were kept.

    Args:
        inputs: the folders of the trial, the test pack and the duplicates that `spec` names.
    """
    import torch

    started = time.perf_counter()
    trial, place = inputs[spec.trial], torch.device(device)
    pack = Pack(inputs[spec.test])
    rows = _rows(spec, pack, inputs)
    classes = spec.classes or pack.classes
    labels = np.zeros(0, np.int64)
    found: dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]] = {}
    for done, name in enumerate(WEIGHTS):
        path = trial / f"{name}.safetensors"
        if path.exists():
            classifier, known = load_weights(path)
            if known != classes:
                raise InputError(
                    f"{path.name} knows {len(known)} classes, not those of the test set"
                )
            classifier.network.to(place).to(memory_format=torch.channels_last)
            tested = part(pack, rows, classes)
            labels = tested.labels
            images = Images(Source([tested], classifier.input_size), classifier.channels, place)
            normalise = Normalise(classifier.mean, classifier.std, place)
            parts = logits_of(classifier.network, images, normalise, spec.precision)
            logits = torch.cat(parts)
            found[name] = logits.softmax(1).cpu().numpy()
        yield Progress(done=done + 1, total=len(WEIGHTS))
    if "selected" not in found:
        raise InputError(
            "the weights of this trial were not kept (keep_weights: none): train it again with "
            "keep_weights: selected in a new store"
        )
    stored = StoredPredictions(labels=labels, selected=found["selected"], last=found.get("last"))
    save_predictions(out / "predictions.npz", stored)
    write_result(out, {"images": len(rows), "seconds": time.perf_counter() - started})


def _rows(spec: EvaluateSpec, pack: Pack, inputs: Mapping[Key, Path]) -> Indices:
    """The images to predict: all, or a held-out fold, without those that training may have seen."""
    rows = np.arange(len(pack), dtype=np.int64)
    if spec.held_out is not None:
        rows = held_out(pack, spec.held_out)
    if spec.without is not None:
        rows = np.setdiff1d(rows, excluded(inputs[spec.without]))
    return rows
