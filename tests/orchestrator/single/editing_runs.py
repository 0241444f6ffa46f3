"""Runs `augury generate --input-dir` in the test's own process, its steps one after the other."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

from orchestrator import cli
from orchestrator.planned import Step
from orchestrator.single import editing_run
from orchestrator.single.generator_files import NOTE, FittedOn, GeneratorNote
from orchestrator.steps import StepFailed, perform
from tasks import plugins
from tasks.edit_files import PNG_TEXT
from tasks.specs import Key

NAMES = ("zero", "one", "two")


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a command that failed."""
        assert self.code == 2, (self.code, self.out, self.err)
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")


@dataclass(frozen=True, kw_only=True)
class HereOutcome:
    """As `orchestrator.execute.Outcome`."""

    losses: Mapping[Key, str]
    drained: bool = False
    user_error: str | None = None


def here(
    steps: Mapping[Key, Step], ledger: Any, options: Any, setting: Any, exporting: Any
) -> HereOutcome:
    """Does what `orchestrator.execute.execute` does, without Ray."""
    for step in steps.values():
        exporting.started(step)
        try:
            for progress in perform(step, setting, "cpu"):
                exporting.progressed(step, progress)
        except StepFailed as error:
            exporting.failed(step, error.message)
        else:
            exporting.finished(step)
    return HereOutcome(losses={})


Run = Callable[..., Said]


def runner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs commands in `folder`."""

    def run(*words: Any) -> Said:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("AUGURY_CACHE", str(folder / "cache"))
        monkeypatch.setattr("sys.argv", ["augury", "generate", *map(str, words)])
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert isinstance(code, int)
        assert "Traceback" not in out.getvalue() + err.getvalue()
        return Said(code=code, out=out.getvalue(), err=err.getvalue())

    monkeypatch.setattr(editing_run, "on_ray", here)
    return run


def write_images(folder: Path, number: int = 12, side: int = 8) -> None:
    """Digits in class folders, each class with a folder inside, as PNG."""
    digits = load_digits()
    chosen = [index for index, label in enumerate(digits.target) if label < len(NAMES)][:number]
    for index in chosen:
        image = Image.fromarray((digits.images[index] * 15).astype(np.uint8))
        path = folder / NAMES[digits.target[index]] / "seen" / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.resize((side, side + 2)).save(path)


def write_ddpm(path: Path, side: int) -> None:
    """What `augury fit` would write of grey images, but for the weights."""
    note = GeneratorNote(
        generator="ddpm",
        version=plugins.module("generators", "ddpm").VERSION,
        settings={},
        seed=0,
        channels=1,
        height=side,
        width=side,
        classes=NAMES,
        images=FittedOn(
            dataset="image_folder",
            split="train",
            digest="",
            size=None,
            grayscale=False,
            split_seed=0,
            validation=(0, 0, 0),
            validation_apart=False,
            training=(4, 4, 4),
        ),
        fit="",
        steps=1,
        num_parameters=1,
        losses={},
    )
    text = TypeAdapter(GeneratorNote).dump_json(note).decode()
    save_file({"none": np.zeros(1, np.float32)}, path, metadata={NOTE: text})


def contents(folder: Path) -> dict[str, bytes]:
    """Every image in class folders, by its path."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.glob("*/**/*.png")}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(".")}


def manifest(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "manifest.parquet").to_pylist()
    return rows


def id_in(path: Path) -> str:
    """The id that an image's file says of itself."""
    with Image.open(path) as image:
        found: str = image.text[PNG_TEXT]  # type: ignore[attr-defined]
        return found


def check_whole(folder: Path, num_edits: int, refused: int = 0) -> None:
    """All is there, each once, as manifest and images say; and nothing else."""
    rows = manifest(folder)
    assert len(rows) == num_edits
    made = [row for row in rows if not row["refusal"]]
    assert len(made) == num_edits - refused
    assert {row["file"] for row in made} == set(contents(folder))
    assert len({(r["source"], r["prompt_id"], r["replica"]) for r in rows}) == num_edits
    assert all(id_in(folder / row["file"]) == row["edit_id"] for row in made)
    assert [p for p in folder.rglob("*") if ".part" in p.name] == []
    assert list((folder / ".augury" / "aside").iterdir()) == []


def private_files(folder: Path) -> Sequence[str]:
    """What a run leaves for the next one."""
    root = folder / ".augury"
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def recipe(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["recipe"]
    return found
