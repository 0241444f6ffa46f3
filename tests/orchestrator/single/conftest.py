"""Class folders of real handwritten digits, and one small model trained on them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from orchestrator import cli
from orchestrator.ledger import Ledger
from orchestrator.plan import Step
from orchestrator.single.performing import carry_out, in_store, outstanding
from orchestrator.single.places import Place
from orchestrator.single.study_sets import Asked, StudySet, find_set
from tasks.specs import Progress
from tests.orchestrator.commands import augury

NAMES = ("zero", "one", "two", "three", "four", "five", "six")
RECIPE = ("--model", "small_cnn", "--epochs", "3", "--batch-size", "32", "--threads", "1")


def write_digits(folder: Path, start: int, stop: int) -> None:
    """Write the digits from `start` to `stop` that have a name, as PNG files."""
    digits = load_digits()
    for index in range(start, stop):
        if digits.target[index] < len(NAMES):
            pixels = (digits.images[index] * 255 / 16).astype(np.uint8)
            path = folder / NAMES[digits.target[index]] / f"{index:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user works: `data/real`, `data/synthetic`, `data/test` and `model.safetensors`."""
    folder = tmp_path_factory.mktemp("single")
    write_digits(folder / "data" / "real", 0, 300)
    write_digits(folder / "data" / "synthetic", 300, 500)
    write_digits(folder / "data" / "test", 500, 640)
    done = augury(folder, "train", *RECIPE, "--save-path", "model.safetensors")
    assert done.returncode == 0, done.stderr
    return folder


VAE = ("fit", "--generator", "vae", "--threads", "1", "--set", "steps=5", "channels=[8]")
"""A fit of seconds; what it makes is of no use."""
DIGITS = ("--dataset", "digits")


@pytest.fixture(scope="session")
def model(work: Path) -> Path:
    """A generator that was fitted on 60 digits, as a study would: `vae.safetensors`."""
    words = (*VAE, *DIGITS, "--max-real", "60", "--val-fraction", "0.1")
    done = augury(work, *words, "--out", "vae.safetensors")
    assert done.returncode == 0, done.stderr
    return work / "vae.safetensors"


GENERATOR = {"name": "vae", "steps": 5, "channels": [8]}
STUDY = {
    "question": "q",
    "dataset": "digits",
    "subset": {"max_real": 60},
    "synthetic": {
        "made": {"generator": GENERATOR, "per_class": 3},
        "rebuilt": {
            "generator": {**GENERATOR, "sampling": {"mode": "reconstruct", "batch_size": 7}},
            "per_class": 3,
        },
        "sifted": {"generator": GENERATOR, "per_class": 3, "filters": ["blank"]},
        "there": {"folder": "data/synthetic"},
        "edited": {
            "editor": {"name": "sdedit", "steps": 4, "ddpm": {"steps": 5, "channels": [8]}},
            "per_image": 2,
        },
    },
    "axes": {"sets": [["made"], ["rebuilt"], ["sifted"], ["edited"]]},
    "variant": "synthetic",
    "train": {"model": "small_cnn"},
    "seeds": [0],
}


class Unwatched:
    """Shows nothing."""

    def progressed(self, step: Step, progress: Progress) -> None: ...


def make_sets(asked: Asked) -> StudySet:
    """Do the steps of a study that make a set, without Ray."""
    found = find_set(asked)
    at = in_store(Ledger(asked.store), Place(device="cpu", threads=1))
    carry_out(outstanding(found.images, found.whole.plan.steps, at), at, Unwatched())
    return find_set(asked)


@pytest.fixture(scope="session")
def store(work: Path, model: Path) -> Path:
    """The store of a study, `study.yaml`, whose sets are made."""
    (work / "study.yaml").write_text(json.dumps(STUDY))
    place = work / "store"
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(work)
        patched.setenv("AUGURY_CACHE", str(work / "cache"))
        for name in ("made", "rebuilt", "sifted", "edited"):
            make_sets(Asked(given=f"study.yaml:{name}", store=str(place)))
    return place


@pytest.fixture
def ran(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command that must end well, and gives what it prints."""

    def run(*words: Any, code: int = 0, cache: str = "cache") -> str:
        monkeypatch.chdir(work)
        monkeypatch.setenv("AUGURY_CACHE", str(work / cache))
        monkeypatch.setattr("sys.argv", ["augury", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert ended.value.code == code, said.err
        return said.out

    return run


@pytest.fixture
def told(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command that must be refused: one line, exit code 2, nothing written."""

    def run(*words: Any) -> str:
        monkeypatch.chdir(work)
        monkeypatch.setenv("AUGURY_CACHE", str(work / "cache"))
        monkeypatch.setattr("sys.argv", ["augury", *map(str, words)])
        before = sorted(path for path in work.iterdir())
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert ended.value.code == 2
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert sorted(path for path in work.iterdir()) == before
        return said.err.removeprefix("error: ").strip()

    return run
