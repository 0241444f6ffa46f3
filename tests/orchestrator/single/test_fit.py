"""`augury fit`: the model file, what it says of itself, and what stops a fit."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from orchestrator import dispatch
from orchestrator.plan import make_plan, sources
from orchestrator.single import watching
from orchestrator.single.generator_files import load_generator
from orchestrator.study import load_study
from tasks.datasets import digits
from tasks.errors import InputError
from tests.orchestrator.single.conftest import DIGITS, NAMES, VAE, write_digits

Ran = Callable[..., str]
Told = Callable[..., str]

STUDY = {
    "question": "q",
    "dataset": "digits",
    "subset": {"max_real": 60},
    "synthetic": {"made": {"generator": {"name": "vae", "steps": 5, "channels": [8]}}},
    "train": {"model": "small_cnn"},
}


def test_a_fit_has_the_key_of_a_studys(model: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(json.dumps(STUDY))
    study = load_study(str(tmp_path / "study.yaml"))
    (reader,) = sources(study)
    plan = make_plan([study], {reader: digits.build(digits.Config()).identify(lambda *_: "")}, {})
    (fit,) = (step.key for step in plan.steps.values() if step.kind == "fit")
    note = load_generator(model).note
    assert note.fit == fit
    assert note.classes == tuple("0123456789")
    assert (note.height, note.width, note.channels) == (8, 8, 1)
    assert sum(note.images.training) == 60
    assert set(note.losses) >= {"reconstruction"}


def test_all_images_of_a_folder_are_fitted_on(ran: Ran, work: Path) -> None:
    said = json.loads(ran(*VAE, "--out", "folder.safetensors", "--json"))
    num_images = len(list((work / "data" / "real").rglob("*.png")))
    assert said["images"] == {
        "train": num_images,
        "validation": 0,
        "per_class": said["images"]["per_class"],
        "skipped": [],
    }
    assert set(said["images"]["per_class"]) == set(NAMES)
    assert [row["step"] for row in said["history"]] == [1, 2, 3, 4, 5]
    assert said["settings"]["channels"] == [8]
    assert said["is_new"]
    # The same again is not done again, and goes into any file.
    again = json.loads(ran(*VAE, "--out", "again.safetensors", "--json"))
    assert not again["is_new"]
    assert (work / "again.safetensors").read_bytes() == (work / "folder.safetensors").read_bytes()
    assert "fitted before" in ran(*VAE, "--out", "again.safetensors")


def test_what_it_says_before_and_after(ran: Ran) -> None:
    said = ran(*VAE, *DIGITS, "--max_real", "60", "--out", "said.safetensors").splitlines()
    assert said[0].startswith(
        "vae: 5 steps of 64 images on 60 images of digits (its train part; 797 are for tests); "
        "10 classes: '0', "
    )
    assert said[1].startswith("said.safetensors: vae for grey images of 8 × 8 pixels, ")
    assert said[2].startswith("next: augury generate --generator said.safetensors --per-class ")


def test_sizes_and_parts(ran: Ran, work: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        write_digits(work / "parts" / part, 100 * number, 100 * number + 100)
    words = ("--data-dir", "parts", "--size", "16", "--out", "parts.safetensors", "--json")
    said = json.loads(ran(*VAE, *words, "--set", "subset.fraction=0.5"))
    count = {part: len(list((work / "parts" / part).rglob("*.png"))) for part in ("train", "val")}
    assert said["image"] == {"height": 16, "width": 16, "channels": 1}
    assert abs(2 * said["images"]["train"] - count["train"]) <= 1
    assert said["images"]["validation"] == count["val"]
    note = load_generator(work / "parts.safetensors").note
    assert note.images.validation_apart
    assert note.images.split == "train"


def test_a_fit_that_was_stopped_goes_on(
    ran: Ran, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*VAE, *DIGITS, "--seed", "7", "--max-real", "60")
    monkeypatch.setattr(dispatch, "CHECKPOINT_EVERY_S", 0.0)
    begun: list[int] = []

    def stop_at(number: int) -> Any:
        def progressed(self: Any, step: Any, progress: Any) -> None:
            if step.kind == "fit":
                begun.append(progress.done)
                if progress.done == number:
                    raise KeyboardInterrupt

        return progressed

    with monkeypatch.context() as patched:
        patched.setattr(watching.Lines, "progressed", stop_at(3))
        ran(*words, "--out", "stopped.safetensors", code=130)
        assert not (work / "stopped.safetensors").exists()
        patched.setattr(watching.Lines, "progressed", stop_at(0))
        ran(*words, "--out", "stopped.safetensors")
    assert begun == [1, 2, 3, 4, 5]
    ran(*words, "--out", "whole.safetensors", cache="other")
    assert (work / "whole.safetensors").read_bytes() == (work / "stopped.safetensors").read_bytes()


def test_a_fit_that_diverges_leaves_its_losses(ran: Ran, work: Path) -> None:
    ran(*VAE, *DIGITS, "--set", "lr=1e30", "--out", "bad.safetensors", code=2)
    assert not (work / "bad.safetensors").exists()
    losses = json.loads((work / "bad-losses.json").read_text())
    assert losses[-1]["step"] <= 5
    assert None in losses[-1].values()


FITS: Sequence[tuple[Sequence[str], str]] = [
    (("--generator", "vea", *DIGITS), "--generator: unknown generator 'vea'; did you mean 'vae'?"),
    (("--data-dir", "nope"), "--data-dir: there is no folder 'nope'"),
    (("--dataset", "digit"), "--dataset: unknown dataset 'digit'; did you mean 'digits'?"),
    ((*DIGITS, "--root", "x"), "--root: digits has no such setting: leave it out"),
    (("--dataset", "csv", "--root", "x"), "--dataset csv: say --set dataset.file=FILE"),
    ((*DIGITS, "--data-dir", "x"), "--data-dir and --dataset both say which images: keep one"),
    (("--root", "x"), "--root: is where the files of --dataset NAME are; say --data-dir DIR"),
    ((*DIGITS, "--skip-bad"), "--skip-bad: digits has no such setting: leave it out"),
    ((*DIGITS, "--size", "3"), "--size: a number of at least 4 was expected, not 3"),
    ((*DIGITS, "--size", "9"), "images of 9 x 9 pixels: "),
    ((*DIGITS, "--val-fraction", "0.00001"), "--val-fraction 1e-05: of 1000 images leaves none"),
    ((*DIGITS, "--set", "step=5"), "--set step: unknown key 'step'; did you mean 'steps'?"),
    ((*DIGITS, "--set", "steps=0"), "--set steps: a number greater than 0 was expected, not 0"),
    ((*DIGITS, "--set", "mode=reconstruct"), "--set 'mode=reconstruct': is of sampling, and not"),
    ((*DIGITS, "--set", "name=vae"), "--set name: --generator vae says it already: leave it out"),
    ((*DIGITS, "--set", "dataset.x=1"), "--set dataset.x: unknown key 'x'; "),
    ((*DIGITS, "--set", "dataset={x: 1}"), "--set 'dataset={x: 1}': say one setting of it, as in"),
    ((*DIGITS, "--set", "subset.x=1"), "--set subset.x: unknown key 'x'; "),
    (
        (*DIGITS, "--max-real", "9", "--set", "subset.max_real=8"),
        "--set subset.max_real: --max-real says it already: keep one",
    ),
    (
        ("--size", "8", "--set", "dataset.size=8"),
        "--set 'dataset.size=8': --size says it already: keep one of the two",
    ),
    ((*DIGITS, "--out", "x.pt"), "--out x.pt: the name must end in .safetensors, not in .pt"),
    ((*DIGITS, "--out", "nope/x.safetensors"), "--out nope/x.safetensors: there is no folder 'no"),
    ((*DIGITS, "--device", "cuda:99"), "--device cuda:99: torch sees only cpu"),
    ((*DIGITS, "--seed", "-1"), "Invalid value for '--seed': it should be greater than or"),
    ((*DIGITS, "--sead", "1"), "No such option: --sead"),
]


@pytest.mark.parametrize(("words", "said"), FITS, ids=[" ".join(words) for words, _ in FITS])
def test_fits_that_cannot_be(told: Told, words: Sequence[str], said: str) -> None:
    usual = {"--generator": "vae", "--out": "new.safetensors"}
    given = [word for pair in usual.items() if pair[0] not in words for word in pair]
    assert told("fit", *given, "--threads", "1", *words).startswith(said)


def test_folders_that_cannot_be(told: Told, work: Path) -> None:
    (work / "odd" / "cat").mkdir(parents=True)
    fit = ("fit", "--generator", "vae", "--out", "new.safetensors", "--data-dir", "odd")
    assert told(*fit).startswith("--data-dir: 'odd/cat' holds no image: add some (.bmp, ")
    (work / "odd" / "cat" / "1.png").write_bytes(b"no image")
    assert told(*fit).startswith("odd/cat/1.png: not a readable")
    assert "--skip-bad" in told(*fit)


def test_weights_stay_as_the_fit_left_them(model: Path) -> None:
    assert all(array.size for array in load_file(model).values())
    with pytest.raises(InputError, match="says nothing of a generator"):
        load_generator(_without_note(model))


def _without_note(model: Path) -> Path:
    from safetensors.numpy import save_file

    path = model.with_name("bare.safetensors")
    save_file(load_file(model), path)
    return path
