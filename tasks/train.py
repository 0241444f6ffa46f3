"""Trains one classifier on real, synthetic or mixed images; no test image is ever seen here."""

import copy
import functools
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import plugins
from tasks.augmentation import AugmentationInfo
from tasks.classification import Classifier, ClassifierInfo, save_weights
from tasks.companion import Companion, features_of
from tasks.devices import move, prepare, resolved_precision
from tasks.drawing import Draw
from tasks.errors import InputError
from tasks.feeding import Feed, pipeline, targets
from tasks.images import Images, Normalise, Part, Source, as_packed, part
from tasks.inference import evaluate
from tasks.networks.averaging import update_average
from tasks.packs import Pack, select, select_first
from tasks.results import write_result
from tasks.specs import Checkpoints, Key, Progress, Recipe, Stage, TrialSpec, Work
from tasks.stepping import Stepper, random_state, set_random_state

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


SAY_EVERY_S = 5.0
"""Between evaluations, which may be an hour apart, training says how far it is."""


class TrainingDiverged(ValueError):
    """The loss became NaN or infinite."""


def train(
    spec: TrialSpec,
    packs: Mapping[Key, Path],
    out: Path,
    checkpoints: Checkpoints,
    device: str = "cpu",
) -> Work:
    """Train for `recipe.steps` optimizer steps and keep the weights that validation prefers.

    Writes `selected.safetensors` (best validation accuracy, ties to the earlier evaluation),
    `last.safetensors`, `history.json` and `result.json` into `out`. Yields after each evaluation,
    with what it measured, and now and then between them.

    Args:
        packs: folders of the packs that `spec` names.
    """
    import torch

    started = time.perf_counter()
    recipe, place = spec.cell.recipe, prepare(device)
    torch.manual_seed(spec.seed)
    setup = _set_up(spec, packs, place)
    network = setup.classifier.network
    stepper = Stepper(network, setup.normalise, recipe, place)
    kept = network if recipe.ema is None else copy.deepcopy(network)
    window = torch.zeros(3, device=place)
    state = _State()
    saved = checkpoints.load()
    if saved is not None:
        state.load(saved, network, kept, stepper)
        window += saved["window"].to(place)
        # What was spent before an interruption is part of what the training cost.
        started -= saved["seconds"]
    said = time.monotonic()
    for batch in setup.feed.batches(state.step, recipe.steps):
        window += stepper.step(state.step, batch)
        if recipe.ema is not None:
            _average(kept, network, recipe.ema, state.step)
        state.step += 1
        if state.step % recipe.eval_every == 0 or state.step == recipe.steps:
            scores = evaluate(kept, setup.validation, setup.normalise, recipe.precision)
            row = _row(state.step, recipe, window.tolist(), scores)
            window.zero_()
            state.add(row, kept)
            said = time.monotonic()
            yield Progress(done=state.step, total=recipe.steps, metrics=row)
        elif time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            yield Progress(done=state.step, total=recipe.steps)
        checkpoints.save_if_due(
            functools.partial(state.dump, network, kept, stepper, window, started)
        )
    _write(spec, setup, state, kept, out, stepper.micro_batch, started)


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """What a training works with, in place on its device."""

    classifier: Classifier
    info: ClassifierInfo
    classes: tuple[str, ...]
    parts: tuple[Part, ...]
    training: Images
    validation: Images
    feed: Feed
    normalise: Normalise


def _set_up(spec: TrialSpec, packs: Mapping[Key, Path], place: "torch.device") -> _Setup:
    """Open the packs and build the network, whose weights take torch's global seed."""
    cell, recipe = spec.cell, spec.cell.recipe
    images = cell.images
    real = Pack(packs[images.pack])
    validation_rows, training_rows = select(real, images)
    validation = part(real, validation_rows, real.classes)
    if images.validation_pack is not None:
        apart = Pack(packs[images.validation_pack])
        rows = select_first(apart, images.validation, images.split_seed)
        validation = part(apart, rows, real.classes)
    if not sum(images.validation):
        raise InputError("no image is left to validate on: hold some out of the training images")
    parts = [part(real, training_rows, real.classes)]
    for each in cell.sets:
        synthetic = Pack(packs[each.pack])
        parts.append(part(synthetic, select_first(synthetic, each.counts), real.classes))
    info = classifier_info(recipe, real, cell.num_classes)
    classifier: Classifier = plugins.build("classifiers", cell.model, info)
    move(classifier.network, place)
    source = Source(parts, classifier.input_size)
    places = (source.channels, classifier.channels)
    chain = pipeline(
        recipe.augmentations,
        *(augmentation_info(classifier, channels, cell.num_classes) for channels in places),
    )
    # What worker processes prepare does not come from the device.
    training = Images(source, classifier.channels, place, in_place=not chain.on_worker)
    draw = Draw(
        seed=spec.seed,
        batch_size=recipe.batch_size,
        stages=cell.stages or (Stage(steps=recipe.steps, real=True, synthetic=True),),
        num_real=len(training_rows),
        labels=source.labels,
        synthetic_probability=cell.mixing.synthetic_probability,
    )
    mixing = cell.mixing
    goals = targets(
        cell.num_classes,
        len(training_rows),
        recipe.label_smoothing,
        mixing.soft_label,
        mixing.loss_weight,
        place,
    )
    return _Setup(
        classifier=classifier,
        info=info,
        classes=real.classes,
        parts=tuple(parts),
        training=training,
        validation=Images(Source([validation], classifier.input_size), classifier.channels, place),
        feed=Feed(training, draw, chain, goals),
        normalise=Normalise(classifier.mean, classifier.std, place),
    )


def augmentation_info(classifier: Classifier, channels: int, num_classes: int) -> AugmentationInfo:
    """What the augmentations of a classifier's images are built for."""
    return AugmentationInfo(
        side=classifier.input_size,
        channels=channels,
        num_classes=num_classes,
        mean=classifier.mean,
        std=classifier.std,
    )


def classifier_info(recipe: Recipe, real: Pack, num_classes: int) -> ClassifierInfo:
    """What the classifier of a recipe is built for, on the images of a pack."""
    return ClassifierInfo(
        num_classes=num_classes,
        channels=real.channels,
        side=real.side,
        input_size=recipe.input_size,
        mean=recipe.mean,
        std=recipe.std,
        initialisation=recipe.initialisation,
        dropout=recipe.dropout,
        drop_path=recipe.drop_path,
        gradient_checkpointing=recipe.gradient_checkpointing,
    )


def _average(averaged: "nn.Module", network: "nn.Module", decay: float, step: int) -> None:
    import torch

    update_average(averaged.parameters(), network.parameters(), decay, step)
    with torch.no_grad():
        for mine, theirs in zip(averaged.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)


def _write(
    spec: TrialSpec,
    setup: _Setup,
    state: "_State",
    last: "nn.Module",
    out: Path,
    micro_batch: int,
    started: float,
) -> None:
    """Keep the last weights, then those that validation selected, and what was measured."""
    import torch

    model, recipe, classifier = spec.cell.model, spec.cell.recipe, setup.classifier
    classifier.network.load_state_dict(last.state_dict())
    save_weights(out / "last.safetensors", classifier, model, setup.info, setup.classes)
    classifier.network.load_state_dict(state.best)
    save_weights(out / "selected.safetensors", classifier, model, setup.info, setup.classes)
    if spec.cell.companion is not None:
        _fit_companion(spec, setup, out)
    (out / "history.json").write_text(json.dumps(state.history))
    place = setup.training.device
    write_result(
        out,
        {
            "scores": {
                "val_top1": state.best_row["val_accuracy"],
                "val_top1_last": state.history[-1]["val_accuracy"],
            },
            "selected_step": int(state.best_row["step"]),
            "num_parameters": classifier.num_parameters,
            "input_size": classifier.input_size,
            "model": classifier.resolved,
            "precision": resolved_precision(recipe.precision, place),
            # Smaller than was asked for where the memory did not hold more.
            "micro_batch": micro_batch,
            "num_training": len(setup.training),
            "num_validation": len(setup.validation),
            "seconds": time.perf_counter() - started,
            "peak_memory_bytes": (
                torch.cuda.max_memory_allocated(place) if place.type == "cuda" else None
            ),
        },
    )


def _fit_companion(spec: TrialSpec, setup: _Setup, out: Path) -> None:
    """Fit the second classifier on the images that the selected network was trained on."""
    chosen = spec.cell.companion
    assert chosen is not None
    images = setup.training
    if chosen.config.features == "pixels":
        images = as_packed(setup.parts, setup.training.device)
    features = features_of(chosen.config.features, setup.classifier, images, setup.normalise)
    labels = setup.training.source.labels
    companion: Companion = plugins.build("companions", chosen)
    fitted = companion.fit(features, labels, spec.cell.num_classes, spec.seed)
    fitted.save(out / "companion.npz")


class _State:
    """What training carries from step to step, beside the network and its optimizer."""

    def __init__(self) -> None:
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}
        self.best_row: dict[str, float] = {}

    def add(self, row: dict[str, float], network: "nn.Module") -> None:
        """Note an evaluation, and keep the weights if none before was as good."""
        self.history.append(row)
        if not self.best_row or row["val_accuracy"] > self.best_row["val_accuracy"]:
            self.best_row = row
            self.best = copy.deepcopy(network.state_dict())

    def dump(
        self,
        network: "nn.Module",
        kept: "nn.Module",
        stepper: Stepper,
        window: "Tensor",
        started: float,
    ) -> dict[str, Any]:
        return {
            "step": self.step,
            "history": self.history,
            "best": self.best,
            "best_row": self.best_row,
            "network": network.state_dict(),
            "averaged": None if kept is network else kept.state_dict(),
            "stepper": stepper.state(),
            "window": window,
            "random": random_state(window.device),
            "seconds": time.perf_counter() - started,
        }

    def load(
        self, saved: dict[str, Any], network: "nn.Module", kept: "nn.Module", stepper: Stepper
    ) -> None:
        self.step, self.history = saved["step"], saved["history"]
        self.best, self.best_row = saved["best"], saved["best_row"]
        network.load_state_dict(saved["network"])
        if saved["averaged"] is not None:
            kept.load_state_dict(saved["averaged"])
        stepper.load(saved["stepper"])
        set_random_state(saved["random"])


def _row(
    step: int, recipe: Recipe, window: list[float], validation: tuple[float, float]
) -> dict[str, float]:
    loss_sum, hits, seen = window
    if not (math.isfinite(loss_sum) and math.isfinite(validation[0])):
        raise TrainingDiverged(f"the loss is not finite after {step} steps: try a lower train.lr")
    return {
        "step": step,
        "epoch": step / recipe.eval_every,
        "train_loss": loss_sum / seen,
        "train_accuracy": hits / seen,
        "train_error": 1 - hits / seen,
        "val_loss": validation[0],
        "val_accuracy": validation[1],
        "val_error": 1 - validation[1],
    }
