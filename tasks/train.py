"""Trains one classifier on real, synthetic or mixed images; no test image is ever seen here."""

import copy
import functools
import json
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import plugins
from tasks.classification import Classifier, ClassifierInfo, save_weights
from tasks.images import Images, Normalise, part
from tasks.packs import Indices, Pack, select, select_first
from tasks.results import write_result
from tasks.specs import Checkpoints, Progress, Recipe, TrialSpec, Work

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

EVAL_BATCH = 512


class TrainingDiverged(ValueError):
    """The loss became NaN or infinite."""


def train(
    spec: TrialSpec,
    real: Path,
    sets: Sequence[Path],
    out: Path,
    checkpoints: Checkpoints,
    device: str = "cpu",
) -> Work:
    """Train for `recipe.steps` optimizer steps and keep the weights that validation prefers.

    Writes `selected.safetensors` (best validation accuracy, ties to the earlier evaluation),
    `last.safetensors`, `history.json` and `result.json` into `out`. Yields after each evaluation.

    Args:
        real: the train pack, which also holds the validation images.
        sets: the packs of the synthetic sets, in the order of `spec.cell.sets`.
    """
    import torch
    from torch.nn import functional

    started = time.perf_counter()
    recipe, place = spec.cell.recipe, torch.device(device)
    torch.manual_seed(spec.seed)
    setup = _set_up(spec, real, sets, place)
    network, images, normalise = setup.classifier.network, setup.training, setup.normalise
    optimizer, scheduler = _optimizer(network, recipe)
    window = torch.zeros(3, device=place)
    state = _State()
    saved = checkpoints.load()
    if saved is not None:
        state.load(saved, network, optimizer)
        window += saved["window"].to(place)
    while state.step < recipe.steps:
        scheduler.step_update(state.step)
        network.train()
        rows = batch_rows(len(images), recipe.batch_size, state.step, spec.seed)
        labels = images.labels[rows.to(place)]
        with _autocast(place):
            logits = network(normalise(images.batch(rows)))
            loss = functional.cross_entropy(
                logits.float(), labels, label_smoothing=recipe.label_smoothing
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        state.step += 1
        hits = (logits.detach().argmax(1) == labels).sum()
        seen = torch.tensor(len(rows), device=place)
        window += torch.stack((loss.detach() * len(rows), hits, seen))
        if state.step % recipe.eval_every == 0 or state.step == recipe.steps:
            validation = evaluate(network, setup.validation, normalise)
            row = _row(state.step, recipe, window.tolist(), validation)
            window.zero_()
            state.add(row, network)
            yield Progress(done=state.step, total=recipe.steps, metrics=row)
        checkpoints.save_if_due(functools.partial(state.dump, network, optimizer, window))
    _write(spec, setup, state, out, time.perf_counter() - started)


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """What a training works with, in place on its device."""

    classifier: Classifier
    info: ClassifierInfo
    classes: tuple[str, ...]
    training: Images
    validation: Images
    normalise: Normalise


def _set_up(spec: TrialSpec, real: Path, sets: Sequence[Path], place: "torch.device") -> _Setup:
    """Open the packs and build the network, whose weights take torch's global seed."""
    cell, pack = spec.cell, Pack(real)
    validation_rows, training_rows = select(pack, cell.images)
    parts = [part(pack, training_rows, pack.classes)]
    for each, path in zip(cell.sets, sets, strict=True):
        synthetic = Pack(path)
        parts.append(part(synthetic, select_first(synthetic, each.counts), pack.classes))
    info = ClassifierInfo(
        num_classes=cell.num_classes,
        channels=pack.channels,
        side=pack.side,
        input_size=cell.recipe.input_size,
    )
    classifier: Classifier = plugins.build("classifiers", cell.model, info)
    classifier.network.to(place)
    side, channels = classifier.input_size, classifier.channels
    return _Setup(
        classifier=classifier,
        info=info,
        classes=pack.classes,
        training=Images(parts, side, channels, place),
        validation=Images([part(pack, validation_rows, pack.classes)], side, channels, place),
        normalise=Normalise(classifier.mean, classifier.std, place),
    )


def _write(spec: TrialSpec, setup: _Setup, state: "_State", out: Path, seconds: float) -> None:
    """Keep the last weights, then those that validation selected, and what was measured."""
    import torch

    classifier, model = setup.classifier, spec.cell.model
    save_weights(out / "last.safetensors", classifier, model, setup.info, setup.classes)
    classifier.network.load_state_dict(state.best)
    save_weights(out / "selected.safetensors", classifier, model, setup.info, setup.classes)
    (out / "history.json").write_text(json.dumps(state.history))
    on_gpu = setup.training.device.type == "cuda"
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
            "num_training": len(setup.training),
            "num_validation": len(setup.validation),
            "seconds": seconds,
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        },
    )


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
        self, network: "nn.Module", optimizer: "torch.optim.Optimizer", window: "Tensor"
    ) -> dict[str, Any]:
        import torch

        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return {
            "step": self.step,
            "history": self.history,
            "best": self.best,
            "best_row": self.best_row,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "window": window,
            "rng": torch.get_rng_state(),
            "cuda_rng": cuda,
        }

    def load(
        self, saved: dict[str, Any], network: "nn.Module", optimizer: "torch.optim.Optimizer"
    ) -> None:
        import torch

        self.step, self.history = saved["step"], saved["history"]
        self.best, self.best_row = saved["best"], saved["best_row"]
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"].cpu())
        if saved["cuda_rng"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(saved["cuda_rng"].cpu())


def batch_rows(num_images: int, batch_size: int, step: int, seed: int) -> "Tensor":
    """Which images step `step` (from 0) draws: consecutive rows of endless shuffled passes.

    A function of its arguments alone, so that a resumed training draws the same batches.
    """
    import torch

    start = step * batch_size
    drawn: list[Indices] = []
    missing = batch_size
    while missing:
        number, offset = divmod(start + batch_size - missing, num_images)
        drawn.append(_permutation(num_images, seed, number)[offset : offset + missing])
        missing -= len(drawn[-1])
    return torch.from_numpy(np.concatenate(drawn))


@functools.lru_cache(maxsize=2)
def _permutation(num_images: int, seed: int, number: int) -> Indices:
    # SeedSequence keeps (seed, pass) pairs apart: seed 0, pass 1 is not seed 1, pass 0.
    return np.random.default_rng(np.random.SeedSequence((seed, number))).permutation(num_images)


def _optimizer(network: "nn.Module", recipe: Recipe) -> tuple["torch.optim.Optimizer", Any]:
    from timm.optim._optim_factory import create_optimizer_v2
    from timm.scheduler.scheduler_factory import create_scheduler_v2

    optimizer = create_optimizer_v2(
        network,
        opt=recipe.optimizer,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=recipe.schedule,
        num_epochs=recipe.steps,
        warmup_epochs=recipe.warmup_steps,
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return optimizer, scheduler


def _autocast(device: "torch.device") -> AbstractContextManager[Any]:
    import torch

    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def evaluate(network: "nn.Module", images: Images, normalise: Normalise) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over all `images`."""
    import torch
    from torch.nn import functional

    logits = torch.cat(logits_of(network, images, normalise))
    loss = functional.cross_entropy(logits, images.labels)
    accuracy = (logits.argmax(1) == images.labels).double().mean()
    return float(loss), float(accuracy)


def logits_of(network: "nn.Module", images: Images, normalise: Normalise) -> "list[Tensor]":
    """Logits of all `images` in float32, batch by batch."""
    import torch

    network.eval()
    parts = []
    with torch.no_grad(), _autocast(images.device):
        for start in range(0, len(images), EVAL_BATCH):
            rows = torch.arange(start, min(start + EVAL_BATCH, len(images)))
            parts.append(network(normalise(images.batch(rows))).float())
    return parts


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
