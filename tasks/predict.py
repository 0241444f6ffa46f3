"""Predicts a test split with stored weights; all metrics are computed from what it stores."""

import time
from pathlib import Path

import numpy as np

from tasks.classification import load_weights
from tasks.errors import InputError
from tasks.images import Images, Normalise, part
from tasks.packs import Pack
from tasks.predictions import StoredPredictions, save_predictions
from tasks.results import write_result
from tasks.specs import EvaluateSpec, Progress, Work
from tasks.train import logits_of

WEIGHTS = ("selected", "last")


def predict(spec: EvaluateSpec, trial: Path, test: Path, out: Path, device: str = "cpu") -> Work:
    """Write `predictions.npz`: class probabilities of every test image, and its label.

    The validation-selected weights are needed; the last ones are predicted where they were kept.
    """
    import torch

    started = time.perf_counter()
    place = torch.device(device)
    pack = Pack(test)
    found: dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]] = {}
    for done, name in enumerate(WEIGHTS):
        path = trial / f"{name}.safetensors"
        if path.exists():
            classifier, classes = load_weights(path)
            if classes != pack.classes:
                raise InputError(
                    f"{path.name} knows {len(classes)} classes, not those of the test set"
                )
            network = classifier.network.to(place)
            everything = np.arange(len(pack), dtype=np.int64)
            images = Images(
                [part(pack, everything, classes)], classifier.input_size, classifier.channels, place
            )
            normalise = Normalise(classifier.mean, classifier.std, place)
            logits = torch.cat(logits_of(network, images, normalise))
            found[name] = logits.softmax(1).cpu().numpy()
        yield Progress(done=done + 1, total=len(WEIGHTS))
    if "selected" not in found:
        raise InputError(
            "the weights of this trial were not kept (keep_weights: none): train it again with "
            "keep_weights: selected in a new store"
        )
    stored = StoredPredictions(
        labels=pack.labels, selected=found["selected"], last=found.get("last")
    )
    save_predictions(out / "predictions.npz", stored)
    write_result(out, {"images": len(pack), "seconds": time.perf_counter() - started})
