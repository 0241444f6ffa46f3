"""How near training comes to what the processor can do, and how it stands beside a plain script.

    python benchmarks/training.py [--cifar10 DIR] [--rounds 5] [--device cuda] [--only NAME]

Images/s of (a) Augury's training, with packs, augmentation and everything else that it does;
(b) the same network and optimizer step on float tensors that are in place already: the compute
limit; (c) a script of torchvision's ImageFolder and a DataLoader with the same augmentation, its
images as JPEG files. All compute on one thread, as every step of Augury does; (c) has its loader
processes beside that. Rounds alternate; medians are of rounds, and ratios are taken in each.

Last, two trainings at once over one pack: their proportional set sizes, with the pack and without.
Without `--cifar10` the images are cut from the two photographs that scikit-learn ships.
Prints one JSON object on its last line.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from tasks import plugins
from tasks.classification import Classifier, ClassifierInfo
from tasks.packs import Example, Pack, read_all, write_pack
from tasks.specs import CellSpec, ImagesSpec, Plugin, Recipe, TrialSpec
from tasks.train import train

CLASSES = tuple(f"class {index}" for index in range(10))
VALIDATION = (1, *(0,) * (len(CLASSES) - 1))
"""A single image: validation is not what is measured."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained."""

    name: str
    model: str
    side: int
    batch_size: int
    steps: int
    """Measured in each round; as many warm up before the first."""
    gpu_only: bool = False


CASES = (
    Case(name="small_cnn, 32 px", model="small_cnn", side=32, batch_size=128, steps=12),
    Case(name="resnet18, 32 px", model="resnet18", side=32, batch_size=64, steps=3),
    Case(name="resnet18, 64 px JPEG", model="resnet18", side=64, batch_size=32, steps=2),
    Case(
        name="resnet50, 224 px", model="resnet50", side=224, batch_size=128, steps=20, gpu_only=True
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cifar10", type=Path, help="folder of CIFAR-10 as Parquet or pickles")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", help="name of one case")
    parser.add_argument("--steps", type=float, default=1.0, help="scales the steps of each case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if options.only in (None, case.name) and (options.device != "cpu" or not case.gpu_only):
                place = Path(folder) / case.name.replace(" ", "_")
                place.mkdir()
                found[case.name] = _measure(case, place, options)
                print(f"{case.name}: {json.dumps(found[case.name])}", flush=True)
        memory = _memory(Path(folder)) if options.device == "cpu" and not options.only else None
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    print(json.dumps({"machine": machine, "cases": found, "memory": memory}))


def _measure(case: Case, folder: Path, options: Any) -> dict[str, Any]:
    images = _images(case.side, options.cifar10, max(2048, 2 * case.batch_size))
    pack, files = folder / "pack", folder / "files"
    _write_pack(pack, images)
    _write_files(files, images)
    device, steps = torch.device(options.device), max(1, round(case.steps * options.steps))
    contestants: dict[str, Callable[[], float]] = {
        "a": lambda: _augury(case, pack, folder, device, steps),
        "b": lambda: _in_place(case, pack, device, steps),
        "c": lambda: _plain(case, files, device, steps),
    }
    for contestant in contestants.values():
        contestant()
    rounds = [
        {name: contestant() for name, contestant in contestants.items()}
        for _ in range(options.rounds)
    ]
    rates = {name: [each[name] for each in rounds] for name in contestants}
    return {
        "images_per_s": {name: round(statistics.median(each), 1) for name, each in rates.items()},
        "a/b": _ratio(rates["a"], rates["b"]),
        "a/c": _ratio(rates["a"], rates["c"]),
        "c/b": _ratio(rates["c"], rates["b"]),
    }


def _ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Median of the rounds' ratios, and the smallest and largest of them."""
    found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "median": round(statistics.median(found), 3),
        "low": round(min(found), 3),
        "high": round(max(found), 3),
    }


# The images


def _images(side: int, cifar10: Path | None, number: int) -> list[Example]:
    """Real images, a tenth of each class."""
    pixels = list(_cifar(cifar10, number)) if cifar10 else list(_tiles(side, number))
    found = []
    for index, each in enumerate(pixels):
        scaled = np.asarray(Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC))
        label = index % len(CLASSES)
        name = f"{label}/{index:06d}"
        found.append(Example(pixels=scaled, label=label, source=name, sha256=name))
    return found


def _cifar(root: Path, number: int) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    module = plugins.module("datasets", "cifar10")
    reader = module.build(module.Config(root=str(root)))
    for index, example in enumerate(reader.read("train")):
        if index == number:
            return
        yield example.pixels


def _tiles(side: int, number: int) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    random = np.random.default_rng(0)
    for index in range(number):
        photograph = photographs[index % len(photographs)]
        top, left = (int(random.integers(0, s - side)) for s in photograph.shape[:2])
        yield photograph[top : top + side, left : left + side]


def _write_pack(out: Path, images: list[Example]) -> None:
    out.mkdir()
    read_all(write_pack(out, lambda: images, CLASSES, None, len(images)))


def _write_files(out: Path, images: list[Example]) -> None:
    for example in images:
        path = out / CLASSES[example.label] / f"{example.source.rpartition('/')[2]}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(example.pixels).save(path, quality=90)


# The contestants


def _model(case: Case) -> Plugin:
    if case.model == "small_cnn":
        return plugins.plugin("classifiers", "small_cnn")
    config = plugins.module("classifiers", "timm").Config(architecture=case.model)
    return plugins.plugin("classifiers", "timm", config)


def _recipe(case: Case, steps: int) -> Recipe:
    return Recipe(
        steps=2 * steps,
        eval_every=steps,
        batch_size=case.batch_size,
        optimizer="sgd",
        lr=0.01,
        weight_decay=5e-4,
        momentum=0.9,
        schedule="cosine",
        warmup_steps=0,
        label_smoothing=0.0,
        input_size=case.side,
        augmentations=(plugins.plugin("augmentations", "base"),),
    )


class Unsaved:
    """No checkpoints: a round is short."""

    def load(self) -> dict[str, Any] | None:
        return None

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        pass


def trial(case: Case, pack: Path, steps: int) -> TrialSpec:
    """A training on all images of a pack but a few for validation."""
    labels = Pack(pack).labels
    counts = tuple(int((labels == label).sum()) - held for label, held in enumerate(VALIDATION))
    images = ImagesSpec(pack="train", split_seed=0, validation=VALIDATION, training=counts)
    cell = CellSpec(
        images=images,
        sets=(),
        model=_model(case),
        recipe=_recipe(case, steps),
        num_classes=len(CLASSES),
    )
    return TrialSpec(cell=cell, seed=0)


def _augury(case: Case, pack: Path, folder: Path, device: torch.device, steps: int) -> float:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    work = train(trial(case, pack, steps), {"train": pack}, out, Unsaved(), str(device))
    next(work)
    started = time.perf_counter()
    next(work)
    seconds = time.perf_counter() - started
    work.close()  # type: ignore[attr-defined]
    return steps * case.batch_size / seconds


def _network(case: Case, device: torch.device) -> tuple[Classifier, torch.optim.Optimizer]:
    torch.manual_seed(0)
    info = ClassifierInfo(
        num_classes=len(CLASSES), channels=3, side=case.side, input_size=case.side
    )
    classifier: Classifier = plugins.build("classifiers", _model(case), info)
    network = classifier.network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    return classifier, optimizer


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    with torch.autocast("cuda", torch.bfloat16, enabled=images.device.type == "cuda"):
        loss = functional.cross_entropy(network(images), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


@contextmanager
def _timed(device: torch.device) -> Iterator[list[float]]:
    seconds: list[float] = []
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    yield seconds
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds.append(time.perf_counter() - started)


def _in_place(case: Case, pack: Path, device: torch.device, steps: int) -> float:
    classifier, optimizer = _network(case, device)
    rows = np.arange(case.batch_size, dtype=np.int64)
    opened = Pack(pack)
    images = opened.batch(rows).to(device).float().div(255).sub(0.5).div(0.25)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(opened.labels[rows]).to(device)
    for _ in range(steps):
        _step(classifier.network, optimizer, images, labels)
    with _timed(device) as seconds:
        for _ in range(steps):
            _step(classifier.network, optimizer, images, labels)
    return steps * case.batch_size / seconds[0]


def _plain(case: Case, files: Path, device: torch.device, steps: int) -> float:
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    classifier, optimizer = _network(case, device)
    chain = transforms.Compose(
        [
            transforms.RandomCrop(case.side, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.25,) * 3),
        ]
    )
    loader: Any = DataLoader(
        ImageFolder(str(files), chain),
        batch_size=case.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=min(8, os.cpu_count() or 1),
        pin_memory=device.type == "cuda",
        persistent_workers=True,
    )
    network = classifier.network

    def run(wanted: int) -> None:
        done = 0
        while done < wanted:
            for images, labels in loader:
                _step(
                    network,
                    optimizer,
                    images.to(device, non_blocking=True, memory_format=torch.channels_last),
                    labels.to(device, non_blocking=True),
                )
                done += 1
                if done == wanted:
                    break

    run(steps)
    with _timed(device) as seconds:
        run(steps)
    return steps * case.batch_size / seconds[0]


# Memory of two trainings at once

MEMORY_CASE = Case(name="memory", model="small_cnn", side=32, batch_size=64, steps=2)
MEMORY_IMAGES = 60_000

CHILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[3])
from benchmarks.training import MEMORY_CASE, Unsaved, trial
from tasks.train import train

spec = trial(MEMORY_CASE, Path(sys.argv[1]), 1000)
work = train(spec, {"train": Path(sys.argv[1])}, Path(sys.argv[2]), Unsaved())
next(work)
print("ready", flush=True)
sys.stdin.readline()
"""


def _memory(folder: Path) -> dict[str, Any]:
    """Proportional set sizes of two trainings of a whole pass each, and of the pack within them."""
    pack = folder / "memory"
    tiles = _images(MEMORY_CASE.side, None, 600)
    many = [
        replace(each, source=f"{each.source}-{copy}", sha256=f"{each.sha256}-{copy}")
        for copy in range(MEMORY_IMAGES // len(tiles))
        for each in tiles
    ]
    _write_pack(pack, many)
    processes = []
    for index in range(2):
        out = folder / f"memory-{index}"
        out.mkdir()
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", CHILD, str(pack), str(out), str(Path(__file__).parents[1])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        found = [_pss(process.pid, "pixels.bin") for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    megabytes = 1 / 2**20
    return {
        "pack_mb": round((pack / "pixels.bin").stat().st_size * megabytes),
        "pack_pss_mb": [round(mapped * megabytes) for mapped, _ in found],
        "whole_pss_mb": [round(whole * megabytes) for _, whole in found],
    }


def _pss(process: int, name: str) -> tuple[int, int]:
    """Bytes of the mapping of a file, and of everything, each page shared out among its users."""
    mapped = whole = 0
    inside = False
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(name)
        elif line.startswith("Pss:"):
            size = int(line.split()[1]) * 1024
            whole += size
            mapped += size * inside
    return mapped, whole


if __name__ == "__main__":
    main()
