"""Fits a generator on the training images of a subset."""

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import plugins
from tasks.devices import memory_peak_bytes, prepare
from tasks.errors import InputError
from tasks.generation import Generator, image_info
from tasks.packs import Indices, Pack, select
from tasks.results import write_result
from tasks.specs import Checkpoints, FitSpec, Progress, Work

if TYPE_CHECKING:
    from torch import Tensor

PRELOAD_BYTES = 2 * 2**30
"""Training images that take no more are held on the device; others are read batch by batch."""
ILLUSTRATED_CLASSES = 10

Reader = Callable[["Tensor"], tuple["Tensor", "Tensor"]]
"""Positions among the training images -> uint8 images and int64 labels on the device."""


class FitDiverged(ValueError):
    """A loss, a gradient or a weight is no finite number; `losses.json` holds the way there."""


def fit(spec: FitSpec, pack: Path, out: Path, checkpoints: Checkpoints, device: str) -> Work:
    """Fit `spec.generator`; write its weights, losses, pictures of how it works, and a result.

    - `weights.safetensors`: what sampling needs.
    - `losses.json`: a row about every hundredth of the steps, with the mean of each loss since the
      last; null where it was not measured or no finite number. All rows hold the same names.
    - `visuals.npz`: what `illustrate` shows, by name, rows × columns × H × W × C; a row for each of
      the first ten classes, in label order, that have training images.
    - `result.json`: the last value of each loss, seconds, memory, number of parameters.

    Step k depends on the weights, the seed and k alone: batches and noise come from generators
    seeded by (seed, k), and torch's global state, which dropout uses, is seeded likewise and put
    back. So only weights, step and history are saved, and a fit that goes on from a checkpoint
    equals one that never stopped, on a CPU bit for bit.

    Yields a Progress about every hundredth of the steps, with the losses averaged since the last.

    Raises InputError for images that the generator cannot make, and FitDiverged.
    """
    prepare(device)
    images = Pack(pack)
    indices = select(images, spec.images)[1]
    if not len(indices):
        raise InputError("no training images to fit a generator on: raise the subset's counts")
    info, side = image_info(images)
    with _seeded(_seed(spec.seed, "weights"), device):
        generator: Generator = plugins.build("generators", spec.generator, info)
    generator.to(device)
    read = _reader(images, indices, side, device)
    begun = time.monotonic()
    done, history = 0, list[dict[str, Any]]()
    if (saved := checkpoints.load()) is not None:
        generator.load_state_dict(saved["generator"])
        done, history = saved["step"], saved["history"]
        begun -= saved["seconds"]

    for stop in _stops(done, generator.num_steps):
        losses = _run(generator, read, len(indices), spec.seed, range(done, stop), device)
        done = stop
        history.append({"step": done, **_for_json(losses)})
        seconds = time.monotonic() - begun
        finished = done == generator.num_steps
        if finished or not _all_finite(losses):
            _write_losses(out, history)
        if not _all_finite(losses) or (finished and not _is_sound(generator)):
            raise FitDiverged(_divergence(spec.generator.name, done, losses))
        if finished:
            _write(out, generator, history, seconds, device)
            _illustrate(out, generator, images, indices, side, spec.seed)
        else:
            checkpoints.save_if_due(functools.partial(_state, generator, done, history, seconds))
        yield Progress(done=done, total=generator.num_steps, metrics=losses)


def _stops(done: int, total: int) -> list[int]:
    """Where to report and save: each hundredth, and often enough that little work can be lost."""
    every = max(1, min(total // 100, 500))
    return [*range((done // every + 1) * every, total, every), total]


def _run(
    generator: Generator, read: Reader, num_images: int, seed: int, steps: range, device: str
) -> dict[str, float]:
    """Take these steps and return the mean of each loss over those that measured it."""
    import torch

    sums: dict[str, Tensor] = {}
    times: dict[str, int] = {}
    rng = torch.Generator(device)
    for step in steps:
        batch = read(batch_positions(num_images, generator.batch_size, step, seed))
        rng.manual_seed(_seed(seed, f"noise of step {step}"))
        with _seeded(_seed(seed, f"dropout of step {step}"), device):
            losses = generator.step(*batch, rng)
        # Sums stay on the device: asking for a number would wait for the GPU at every step.
        for name, value in losses.items():
            sums[name] = sums[name] + value.double() if name in sums else value.double()
            times[name] = times.get(name, 0) + 1
    return {name: float(total) / times[name] for name, total in sums.items()}


def batch_positions(num_images: int, batch_size: int, step: int, seed: int) -> "Tensor":
    """The training images of a step: slices of one shuffled pass after another, joined end to end.

    A batch may span passes, so all are full and every image is seen equally often.
    """
    import torch

    start, stop = step * batch_size, (step + 1) * batch_size
    passes = range(start // num_images, (stop - 1) // num_images + 1)
    joined = torch.cat([_permutation(num_images, seed, number) for number in passes])
    offset = passes.start * num_images
    return joined[start - offset : stop - offset]


@functools.lru_cache(maxsize=2)
def _permutation(num_images: int, seed: int, number: int) -> "Tensor":
    import torch

    rng = torch.Generator().manual_seed(_seed(seed, f"pass {number}"))
    return torch.randperm(num_images, generator=rng)


def _seed(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}, {purpose}".encode()).digest()[:8]) >> 1


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's global state inside the block, and put it back as it was."""
    import torch

    on_gpu = device.startswith("cuda")
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # Not torch.manual_seed, which reaches for GPUs even in a fit on the CPU.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _reader(pack: Pack, indices: Indices, side: int | None, device: str) -> Reader:
    import torch

    labels = torch.from_numpy(pack.labels[indices]).to(device)
    first = pack.batch(indices[:1], side)
    if first.numel() * len(indices) <= PRELOAD_BYTES:
        images = pack.batch(indices, side).to(device)
        return lambda at: (images[at.to(device)], labels[at.to(device)])
    return lambda at: (pack.batch(indices[at.numpy()], side).to(device), labels[at.to(device)])


def _state(
    generator: Generator, done: int, history: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    return {
        "generator": generator.state_dict(),
        "step": done,
        "history": history,
        "seconds": seconds,
    }


def _all_finite(losses: dict[str, float]) -> bool:
    return all(math.isfinite(value) for value in losses.values())


def _is_sound(generator: Generator) -> bool:
    """The last step moved the weights after its losses were taken."""
    return all(bool(tensor.isfinite().all()) for tensor in generator.sampler_state().values())


def _divergence(name: str, done: int, losses: dict[str, float]) -> str:
    shown = ", ".join(f"{loss}={value:g}" for loss, value in losses.items())
    weights = "its weights are not finite; " if _all_finite(losses) else ""
    return (
        f"{name} diverged by step {done} ({weights}{shown}): lower its lr; "
        "losses.json holds the history"
    )


def _for_json(losses: dict[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN: null stands for it."""
    return {name: value if math.isfinite(value) else None for name, value in losses.items()}


def _write_losses(out: Path, history: list[dict[str, Any]]) -> None:
    names = dict.fromkeys(name for row in history for name in row)
    rows = [{name: row.get(name) for name in names} for row in history]
    (out / "losses.json").write_text(json.dumps(rows, allow_nan=False))


def _write(
    out: Path, generator: Generator, history: list[dict[str, Any]], seconds: float, device: str
) -> None:
    from safetensors.torch import save_file

    tensors = {name: t.contiguous().cpu() for name, t in generator.sampler_state().items()}
    save_file(tensors, out / "weights.safetensors")
    last = {name: value for row in history for name, value in row.items() if name != "step"}
    result = {
        "losses": last,
        "seconds": seconds,
        "peak_memory_bytes": memory_peak_bytes(device),
        "num_parameters": generator.num_parameters,
    }
    write_result(out, result)


def _illustrate(
    out: Path, generator: Generator, pack: Pack, indices: Indices, side: int | None, seed: int
) -> None:
    """Write `visuals.npz`: one row for a training image, the first of its class."""
    import torch

    labels, firsts = np.unique(pack.labels[indices], return_index=True)
    labels, firsts = labels[:ILLUSTRATED_CLASSES], firsts[:ILLUSTRATED_CLASSES]
    rngs = [
        torch.Generator().manual_seed(_seed(seed, f"illustration of row {row}"))
        for row in range(len(labels))
    ]
    real = pack.batch(indices[firsts], side)
    pictures = generator.illustrate(torch.from_numpy(labels), rngs, real)
    arrays = {name: each.permute(0, 1, 3, 4, 2).numpy() for name, each in pictures.items()}
    np.savez_compressed(out / "visuals.npz", **arrays)  # type: ignore[arg-type]
