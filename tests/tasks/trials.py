"""Small trainings on digits, for the tests of what trains and predicts."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tasks import plugins
from tasks.classifiers import small_cnn
from tasks.packs import Example, read_all, write_pack
from tasks.results import read_result
from tasks.specs import CellSpec, ImagesSpec, Plugin, Recipe, TrialSpec
from tasks.train import train

CLASSES = tuple("0123456789")
RECIPE = Recipe(
    steps=12,
    eval_every=4,
    batch_size=16,
    optimizer="adamw",
    lr=0.01,
    weight_decay=0.05,
    momentum=0.9,
    schedule="cosine",
    warmup_steps=2,
    label_smoothing=0.1,
    input_size=None,
)
TINY = plugins.plugin("classifiers", "small_cnn", small_cnn.Config(width=8, dropout=0.2))


class Memory:
    """Checkpoints kept as bytes, as a file would, at every step or at none."""

    def __init__(self, saves: bool = False) -> None:
        self.saves = saves
        self.saved: bytes | None = None

    def load(self) -> dict[str, Any] | None:
        if self.saved is None:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(self.saved), weights_only=True)
        return state

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        if self.saves:
            buffer = io.BytesIO()
            torch.save(state(), buffer)
            self.saved = buffer.getvalue()


def write(out: Path, examples: list[Example], classes: tuple[str, ...] = CLASSES) -> Path:
    out.mkdir()
    read_all(write_pack(out, lambda: examples, classes, None, len(examples)))
    return out


def some_digits(split: str) -> list[Example]:
    """Fifteen of each class."""
    reader = plugins.build("datasets", plugins.plugin("datasets", "digits"))
    taken = dict.fromkeys(range(10), 0)
    found = []
    for example in reader.read(split):
        if taken[example.label] < 15:
            taken[example.label] += 1
            found.append(example)
    return found


def trial(
    training: int = 10, model: Plugin = TINY, seed: int = 0, validation: int = 5, **changes: Any
) -> TrialSpec:
    images = ImagesSpec(
        pack="p", split_seed=0, validation=(validation,) * 10, training=(training,) * 10
    )
    recipe = replace(RECIPE, **changes)
    cell = CellSpec(images=images, sets=(), model=model, recipe=recipe, num_classes=10)
    return TrialSpec(cell=cell, seed=seed)


def packs_of(spec: TrialSpec, real: Path, sets: tuple[Path, ...] = ()) -> dict[str, Path]:
    """The folders of the packs that `spec` names."""
    names = [each.pack for each in spec.cell.sets]
    return {"p": real, **dict(zip(names, sets, strict=True))}


def trained(
    spec: TrialSpec,
    real: Path,
    out: Path,
    sets: tuple[Path, ...] = (),
    checkpoints: Memory | None = None,
) -> Path:
    out.mkdir(exist_ok=True)
    read_all(train(spec, packs_of(spec, real, sets), out, checkpoints or Memory()))
    return out


def history_of(out: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((out / "history.json").read_text())
    return rows


def assert_equal_results(one: Path, other: Path) -> None:
    """Bit for bit."""
    assert history_of(one) == history_of(other)
    for name in ("selected.safetensors", "last.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    first, second = (read_result(out) | {"seconds": None} for out in (one, other))
    assert first == second
