"""Feeds a training: the images of each step, augmented, with their targets, where it runs."""

import multiprocessing
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import plugins
from tasks.augmentation import Augmentation, AugmentationInfo, Batch, Place
from tasks.drawing import Draw
from tasks.images import Images, Source
from tasks.specs import Plugin

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

    import torch
    from torch import Tensor

NUM_WORKERS = {"cpu": 1, "cuda": 4}
"""Processes that prepare batches where images are augmented one by one, or streamed to a device.

A constant of the device, so that more cores run more trials; no batch depends on it."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A study's list of augmentations, cut in two where it leaves the worker processes."""

    on_worker: tuple[Augmentation, ...] = ()
    on_device: tuple[tuple[Place, Augmentation], ...] = ()


def pipeline(
    chosen: Sequence[Plugin], worker: AugmentationInfo, device: AugmentationInfo
) -> Pipeline:
    """Build the augmentations; all up to the last that needs a worker process run in one.

    The order is that of the list: `misplaced` says whether it can be kept.

    Args:
        worker: the images as they are read; `device`: as the network takes them.
    """
    places: list[Place] = [plugins.module("augmentations", each.name).PLACE for each in chosen]
    cut = max((i + 1 for i, place in enumerate(places) if place == "worker"), default=0)
    return Pipeline(
        on_worker=tuple(plugins.build("augmentations", each, worker) for each in chosen[:cut]),
        on_device=tuple(
            (place, plugins.build("augmentations", each, device))
            for place, each in zip(places[cut:], chosen[cut:], strict=True)
        ),
    )


def misplaced(names: Sequence[str]) -> tuple[str, str] | None:
    """The first two names whose order cannot be kept: whole batches are changed after images."""
    places = [plugins.module("augmentations", name).PLACE for name in names]
    for index, place in enumerate(places):
        if place == "device" and "worker" in places[index:]:
            return names[index], names[index + places[index:].index("worker")]
    return None


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Turns labels into class probabilities times loss weight."""

    real: "Tensor"
    """num_classes × num_classes: a row a label."""
    synthetic: "Tensor"
    num_real: int

    def of(self, rows: "Tensor", labels: "Tensor") -> "Tensor":
        """N × num_classes, of images that stand at `rows` of a list with the real ones first."""
        import torch

        if self.real is self.synthetic:
            return self.real[labels]
        synthetic = (rows >= self.num_real)[:, None]
        return torch.where(synthetic, self.synthetic[labels], self.real[labels])


def targets(
    num_classes: int,
    num_real: int,
    label_smoothing: float,
    soft_label: float,
    loss_weight: float,
    device: "torch.device",
) -> Targets:
    """Tables of targets; label smoothing comes on top of soft labels (Szegedy et al., 2016)."""
    import torch

    def table(confidence: float, weight: float) -> "Tensor":
        rest = (1 - confidence) / max(1, num_classes - 1)
        hard = torch.eye(num_classes)
        soft = hard * confidence + (1 - hard) * rest
        smooth = soft * (1 - label_smoothing) + label_smoothing / num_classes
        return (smooth * weight).to(device)

    real = table(1.0, 1.0)
    same = soft_label == 1 and loss_weight == 1
    synthetic = real if same else table(soft_label, loss_weight)
    return Targets(real=real, synthetic=synthetic, num_real=num_real)


class Feed:
    """The batches of a training; each is a function of its step alone, wherever it is made."""

    def __init__(self, images: Images, draw: Draw, chain: Pipeline, goals: Targets) -> None:
        self._images, self._draw, self._chain, self._goals = images, draw, chain, goals

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of the steps from `start` to `stop`, on the device; uint8 if unchanged."""
        import torch

        device = self._images.device
        first = len(self._chain.on_worker)
        with closing(self._read(start, stop)) as read:
            for step, (rows, images) in enumerate(_ahead(read, device), start):
                goals = self._goals.of(rows, self._images.labels[rows])
                batch = Batch(images=self._images.shaped(images), targets=goals)
                for index, (place, augmentation) in enumerate(self._chain.on_device, first):
                    if place == "device" and batch.images.dtype == torch.uint8:
                        batch = replace(batch, images=batch.images.float() / 255)
                    draws = generator(self._draw.seed, step, index, device)
                    batch = augmentation(batch, draws)
                yield batch

    def _read(self, start: int, stop: int) -> "Generator[tuple[Tensor, Tensor]]":
        import torch

        if not self._chain.on_worker and not self._images.streams:
            for step in range(start, stop):
                rows = self._draw.rows(step)
                yield torch.from_numpy(rows), self._images.batch(rows)
            return
        from torch.utils.data import DataLoader

        kind = self._images.device.type
        steps: Any = _Steps(self._images.source, self._draw, self._chain.on_worker)
        yield from DataLoader(
            steps,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=NUM_WORKERS[kind],
            # Two batches ahead in each process, in pinned memory that a GPU copies from by itself.
            prefetch_factor=2,
            pin_memory=kind == "cuda",
            multiprocessing_context=_processes(),
            worker_init_fn=_end_with_parent,
            # Its own, or it would draw from the one that dropout draws from.
            generator=torch.Generator(),
        )


def _end_with_parent(worker: int) -> None:
    """Let a worker process end when the training does, even where that was killed.

    torch's own watch looks at the process that it was forked from, which lives on with it.
    """

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _processes() -> "ForkServerContext":
    """How worker processes start: a fork of one with threads, as Ray's are, may never wake up."""
    context = multiprocessing.get_context("forkserver")
    # Loaded once, by the server that they are forked from, and not by each of them.
    context.set_forkserver_preload(["__main__", "tasks.feeding", "torchvision.transforms.v2"])
    return context


def _ahead(
    read: "Iterator[tuple[Tensor, Tensor]]", device: "torch.device"
) -> "Iterator[tuple[Tensor, Tensor]]":
    """Rows and images on the device; to a GPU one step is copied while another is computed."""
    import torch

    if device.type != "cuda":
        yield from read
        return
    stream = torch.cuda.Stream(device)
    waiting: tuple[Tensor, Tensor] | None = None
    for rows, images in read:
        with torch.cuda.stream(stream):
            sent = (rows.to(device, non_blocking=True), images.to(device, non_blocking=True))
        if waiting is not None:
            yield waiting
        torch.cuda.current_stream(device).wait_stream(stream)
        for tensor in sent:
            # The allocator must not give the memory away while it is computed on.
            tensor.record_stream(torch.cuda.current_stream(device))
        waiting = sent
    if waiting is not None:
        yield waiting


class _Steps:
    """What a worker process computes: the rows of a step, and their images."""

    def __init__(self, source: Source, draw: Draw, chain: Sequence[Augmentation]) -> None:
        self._source, self._draw, self._chain = source, draw, tuple(chain)

    def __getitem__(self, step: int) -> "tuple[Tensor, Tensor]":
        import torch

        rows = self._draw.rows(step)
        # These change images alone, so that there is no need of targets.
        batch = Batch(images=self._source.batch(rows), targets=torch.zeros(len(rows), 1))
        for index, augmentation in enumerate(self._chain):
            source = generator(self._draw.seed, step, index, torch.device("cpu"))
            batch = augmentation(batch, source)
        return torch.from_numpy(rows), batch.images


def generator(seed: int, step: int, index: int, device: "torch.device") -> "torch.Generator":
    """The randomness of augmentation number `index` at a step: no draw moves another's."""
    import torch

    state = np.random.SeedSequence((seed, step, index)).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) >> 1)
