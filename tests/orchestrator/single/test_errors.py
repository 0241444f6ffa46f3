"""Bad input to single steps: one line, exit code 2, nothing written, nothing executed."""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.orchestrator.single.conftest import write_digits

Told = Callable[..., str]
TRAIN = ("train", "--model", "small_cnn", "--save-path", "new.pt")
INFER = ("infer", "--out", "new.json", "--checkpoint")
PREDICTED = ("evaluate", "--predictions")
NOW = ("evaluate", "--checkpoint", "model.safetensors", "--test-dir")


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def entry(*names: str) -> dict[str, Any]:
    return {"label": names[0], "top5": [[name, 0.2] for name in names]}


def saved_as_pt(work: Path, folder: Path) -> Path:
    """The model of the work folder as a file of torch.save."""
    with safe_open(str(work / "model.safetensors"), framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        torch.save({"augury": file.metadata()["augury"], "weights": weights}, folder / "model.pt")
    return folder / "model.pt"


@pytest.fixture(scope="session", autouse=True)
def bad(work: Path) -> Path:
    """A folder of things that cannot be used."""
    folder = work / "bad"
    (folder / "empty").mkdir(parents=True)
    (folder / "noise.pt").write_bytes(b"noise" * 100)
    (folder / "noise.safetensors").write_bytes(b"noise" * 100)
    (folder / "bomb.pt").write_bytes(pickle.dumps(Bomb()))
    torch.save({"weights": Bomb()}, folder / "bomb2.pt")
    (folder / "bomb.safetensors").write_bytes(pickle.dumps(Bomb()))
    torch.save({"weights": {"a": torch.zeros(3)}}, folder / "stranger.pt")
    (folder / "half.safetensors").write_bytes((work / "model.safetensors").read_bytes()[:5000])
    write_digits(folder / "damaged", 0, 60)
    (folder / "damaged" / "two" / "x.png").write_bytes(b"no image")
    shutil.copytree(work / "data" / "test", folder / "others")
    (folder / "others" / "one").rename(folder / "others" / "eins")
    shutil.copytree(work / "data" / "test", folder / "fewer")
    shutil.rmtree(folder / "fewer" / "one")
    shutil.copytree(work / "data" / "real" / "one", folder / "single" / "one")
    torch.save({"a": Bomb()}, folder / "old.pt", pickle_protocol=4)
    side = torch.load(saved_as_pt(work, folder), weights_only=True)
    note = json.loads(side["augury"])
    for name, number in (("huge", 10**9), ("none", 0)):
        note["info"]["side"] = number
        torch.save({**side, "augury": json.dumps(note)}, folder / f"{name}.pt")
    five = ("one", "two", "three", "four", "five")
    for name, predictions in {
        "good": {"a.png": entry(*five), "b.png": entry(*five)},
        "unsorted": {"a.png": {"label": "two", "top5": [[n, 0.2] for n in five]}},
        "unknown": {"a.png": entry("eins", *five[1:])},
        "short": {"a.png": entry(*five[:4])},
    }.items():
        about = {"classes": list(five)}
        document = {"checkpoint": about, "predictions": predictions}
        (folder / f"{name}.json").write_text(json.dumps(document))
    for name, labels in {
        "one": '{"a.png": "one"}',
        "more": '{"a.png": "one", "b.png": "two", "c.png": "two", "d.png": "one"}',
        "eins": '{"a.png": "one", "b.png": "eins"}',
        "absent": '{"a.png": "one", "b.png": "two"}',
        "twice": '{"a.png": "one", "a.png": "two"}',
        "number": '{"a.png": 1}',
        "list": "[]",
        "broken": "{",
    }.items():
        (folder / f"labels-{name}.json").write_text(labels)
    return folder


TRAININGS: Sequence[tuple[Sequence[str], str]] = [
    (("--data-dir", "bad/empty"), "--data-dir: 'bad/empty' holds no class folders"),
    (("--data-dir", "nope"), "--data-dir: there is no folder 'nope'"),
    (
        ("--data-dir", "nope", "--variant", "synthetic"),
        "--data-dir: there is no folder 'nope'; expected one folder per class in it, with images "
        "(real images validate every variant)",
    ),
    (("--synthetic-dir", "nope"), "--synthetic-dir: there is no folder 'nope'"),
    (("--synthetic-dir", "bad/others"), "--synthetic-dir: class 'eins' is none of the dataset's"),
    (("--batch-size", "4000"), "--batch-size 4000: there are only "),
    (("--batch_size", "0"), "--batch-size: a number of at least 1 was expected, not 0"),
    (("--epochs", "x"), "Invalid value for '--epochs'"),
    (("--model", "resnet5O"), "--model: unknown model 'resnet5O'; did you mean 'resnet50'?"),
    (("--augmentation", "mixpu"), "--augmentation: unknown augmentation 'mixpu'; did you mean"),
    (("--augmentation", "mixup", "randaugment"), "--augmentation: mixup changes whole batches"),
    (("--optimizer", "adamx"), "--optimizer: 'adamx' is unknown; did you mean"),
    (("--variant", "reel"), "--variant: 'reel' is unknown; did you mean 'real'?"),
    (("--lr", "nan"), "--lr: a finite number was expected, not nan"),
    (("--lr", "1e30"), "the loss is not finite after "),
    (("--val-fraction", "0.0001"), "--val-fraction 0.0001: of "),
    (("--seed", "0", "1", "0"), "--seed 0: is said twice"),
    (("--seed", "x"), "--seed x: a whole number from 0 to 4294967295 was expected"),
    (("--seed", "-1"), "--seed -1: a whole number from 0 to 4294967295 was expected"),
    (("--seed", "4294967296"), "--seed 4294967296: a whole number from 0 to 4294967295 was"),
    (("--seed", "9" * 30), "--seed 999999999999999999999999999999: a whole number from 0 to 429"),
    (("--seed", "0,1"), "--seed 0,1: separate them by spaces, such as --seed 0 1 2"),
    (("--seed",), "Option '--seed' requires an argument; see `augury train --help`"),
    (("--augmentation", "mixup,cutmix"), "--augmentation mixup,cutmix: separate them by spaces"),
    (("--pretrained",), "--pretrained: small_cnn has no published weights; leave it out"),
    (
        ("--variant", "real", "--synthetic-dir", "data/synthetic"),
        "--synthetic-dir: is of synthetic images, and --variant real has none",
    ),
    (("--max-synth", "9"), "--max-synth: is of synthetic images, and --variant real has none"),
    (("--set", "subset.max_synth=9"), "--set subset.max_synth: is of synthetic images, and --v"),
    (("--set", "mixing.name=replace"), "--set mixing.name: is for --variant mixed, and this is r"),
    (("--momentum", "0.5"), "--momentum: adamw has none; say --optimizer sgd or rmsprop, or le"),
    (("--set", "train.decay=0.5"), "--set train.decay: is of --schedule step; leave it out"),
    (
        ("--epochs", "1", "--set", "train.epochs=2"),
        "--set 'train.epochs=2': --epochs says it already: keep one of the two",
    ),
    (("--epochs", "1", "--set", "train.steps=2"), "--epochs: train.steps says how long to train"),
    (("--set", "train={model: resnet18}"), "--set 'train={model: resnet18}': --model says it alr"),
    (("--set", "dataset.test_fraction=0.5"), "--set dataset.test_fraction: no test is made up"),
    (("--epochs", "2", "--warmup-epochs", "2"), "--warmup-epochs: 2 of 2 epochs leave"),
    (
        ("--schedule", "step"),
        "--schedule step and --set 'train.milestones=[10, 20]' go together: give both, or neither",
    ),
    (("--data-dir", "bad/single"), "--data-dir: holds one class alone, 'one': add a folder for"),
    (("--test-dir", "nope"), "--test-dir: there is no test folder 'nope'"),
    (("--test-dir", "bad/others"), "--test-dir: class 'eins' of 'bad/others' is not in 'data/re"),
    (("--test-dir", "bad/fewer"), "--test-dir: 'bad/fewer' has no folder for class 'one'"),
    (("--test-dir", "bad/empty", "--data-dir", "nope"), "--data-dir: there is no folder 'nope'"),
    (
        ("--data-dir", "bad/damaged", "--batch-size", "64"),
        "--batch-size 64: there are only 39 images to train on; say at most 39; those that cannot "
        "be read stop it (--skip-bad): 'two/x.png'",
    ),
    (("--data-dir", "bad/damaged"), "bad/damaged/two/x.png: not a readable"),
    (("--save-path", "bad"), "--save-path bad: is a folder; name a file in it"),
    (("--save-path", "/proc/x.pt"), "--save-path /proc/x.pt: cannot be written (No such file"),
    (("--save-path", "a" * 270 + ".pt"), "--save-path: the name of a file is too long: aaaa"),
    (
        ("--save-path", "a" * 250 + ".pt", "--seed", "0", "1"),
        "--save-path: the name of a file is too long: aaaa",
    ),
    (("--save-path", "new"), "--save-path new: the name must end in .safetensors or .pt"),
    (("--set", "seeds=[1]"), "--set 'seeds=[1]': cannot be set here; "),
    (("--set", "train.epoch=1"), "train.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
    (("--save-path", "nope/new.pt"), "--save-path nope/new.pt: there is no folder 'nope'"),
    (("--save-path", "new.onnx"), "--save-path new.onnx: the name must end in .safetensors or .pt"),
    (("--data-dir", "bad/damaged", "--batch-size", "8"), "bad/damaged/two/x.png: not a readable"),
    (("--device", "cuda:99"), "--device cuda:99: torch sees only cpu"),
    (("--epochs", "1", "2"), "Got unexpected extra argument"),
    (("--bogus_flag", "1"), "No such option: --bogus"),
]


@pytest.mark.parametrize(("words", "said"), TRAININGS, ids=[" ".join(w) for w, _ in TRAININGS])
def test_trainings_that_cannot_be(told: Told, words: Sequence[str], said: str) -> None:
    given = [word for word in TRAIN if word != "new.pt" and word != "--save-path"]
    target = [] if "--save-path" in words else ["--save-path", "new.pt"]
    assert told(*given, *target, *words).startswith(said)


OTHERS: Sequence[tuple[Sequence[str], str]] = [
    ((*INFER, "nope.pt"), "--checkpoint nope.pt: there is no such file"),
    ((*INFER, "bad/noise.pt"), "--checkpoint bad/noise.pt: cannot be read as plain tensors"),
    ((*INFER, "bad/noise.safetensors"), "--checkpoint bad/noise.safetensors: not a readable saf"),
    ((*INFER, "bad/half.safetensors"), "--checkpoint bad/half.safetensors: not a readable safet"),
    ((*INFER, "bad/bomb.pt"), "--checkpoint bad/bomb.pt: cannot be read as plain tensors"),
    ((*INFER, "bad/bomb2.pt"), "--checkpoint bad/bomb2.pt: cannot be read as plain tensors"),
    ((*INFER, "bad/bomb.safetensors"), "--checkpoint bad/bomb.safetensors: cannot be read as pl"),
    (
        (*INFER, "bad/old.pt"),
        "--checkpoint bad/old.pt: cannot be read as plain tensors: it is damaged, no file of torch"
        ".save, or holds Python objects, which are never run; save it as safetensors",
    ),
    ((*INFER, "bad/huge.pt"), "--checkpoint bad/huge.pt: its note speaks of images of 1000000000"),
    ((*INFER, "bad/none.pt"), "--checkpoint bad/none.pt: its note speaks of images of 0 pixels"),
    ((*INFER, "a" * 270), f"--checkpoint {'a' * 270}: there is no such file"),
    ((*INFER, "model.safetensors", "--test-dir", "a" * 270), "--test-dir aaaa"),
    (
        (*INFER, "model.safetensors", "--out", "a" * 270 + ".json"),
        "--out: the name of a file is too long: aaaa",
    ),
    ((*INFER, "bad/stranger.pt"), "--checkpoint bad/stranger.pt: says nothing of its model"),
    (
        (*INFER, "model.safetensors", "--test-dir", "bad/empty"),
        "--test-dir bad/empty: holds no image (.bmp, ",
    ),
    (
        (*INFER, "model.safetensors", "--test-dir", "bad/damaged"),
        "1 of 43 images cannot be read: 'two/x.png'; mend or remove it, or say --skip-bad",
    ),
    ((*INFER, "model.safetensors", "--out", "nope/new.json"), "--out nope/new.json: there is no"),
    (
        (*INFER, "model.safetensors", "--out", "new.csv"),
        "--out new.csv: the name must end in .json",
    ),
    (
        (*NOW, "bad/others"),
        "--test-dir bad/others: 1 class that the model does not know: 'eins'; rename or leave them "
        "out: it knows 'five', 'four', ",
    ),
    (
        (*NOW, "bad/fewer"),
        "--test-dir bad/fewer: has no image of 1 class of the model: 'one'; add some, or say --al",
    ),
    ((*NOW, "bad/empty"), "--test-dir bad/empty: holds no image"),
    (("evaluate",), "give --predictions FILE and --labels FILE|DIR, or --checkpoint FILE and --te"),
    ((*NOW[:3],), "--checkpoint: give --test-dir DIR with it"),
    ((*PREDICTED, "bad/good.json"), "--predictions: give --labels FILE|DIR with it"),
]
LABELLED: Sequence[tuple[str, str, str]] = [
    (
        "good",
        "one",
        "--labels bad/labels-one.json: has no label for 1 image of --predictions bad/good.json: "
        "'b.png'; add them, by paths below the folder that is predicted",
    ),
    (
        "good",
        "more",
        "--predictions bad/good.json: has no prediction of 2 images of --labels bad/labels-more."
        "json: 'c.png', 'd.png'; predict them too, or take out their labels",
    ),
    ("good", "eins", "--labels bad/labels-eins.json: 1 class that the model does not know: 'eins'"),
    ("good", "absent", "--labels bad/labels-absent.json: has no image of 3 classes of the model: "),
    ("good", "twice", "--labels bad/labels-twice.json: names 'a.png' twice: keep one"),
    ("good", "number", "--labels bad/labels-number.json: the class of 'a.png' is 1, and no text"),
    ("good", "list", "--labels bad/labels-list.json: a mapping was expected"),
    ("good", "broken", "--labels bad/labels-broken.json: is no JSON (Expecting property name"),
    ("good", "nope", "--labels bad/labels-nope.json: there is no such file"),
    ("nope", "one", "--predictions bad/nope.json: there is no such file"),
    ("labels-one", "one", "--predictions bad/labels-one.json: was not written by `augury infer`"),
    (
        "unsorted",
        "one",
        "--predictions bad/unsorted.json: 'a.png': top5 must hold different classe",
    ),
    ("unknown", "one", "--predictions bad/unknown.json: 'a.png': 'eins' is none of the classes"),
    ("short", "one", "--predictions bad/short.json: 'a.png': top5 must hold 5 classes"),
]


@pytest.mark.parametrize(("words", "said"), OTHERS, ids=[" ".join(words) for words, _ in OTHERS])
def test_what_cannot_be_inferred_or_evaluated(
    told: Told, words: Sequence[str], said: str, work: Path
) -> None:
    assert told(*words).startswith(said)
    assert not (work / "executed").exists()


@pytest.mark.parametrize(("predictions", "labels", "said"), LABELLED)
def test_labels_that_do_not_fit(told: Told, predictions: str, labels: str, said: str) -> None:
    words = (*PREDICTED, f"bad/{predictions}.json", "--labels", f"bad/labels-{labels}.json")
    assert told(*words).startswith(said)


def test_unknown_metrics(told: Told) -> None:
    assert told("evaluate", "--metric", "top1,f1") == (
        "--metric top1,f1: separate them by spaces, as in --metric top1 f1"
    )
    assert told("evaluate", "--metric", "f2") == "--metric: unknown metric 'f2'; did you mean 'f1'?"


@pytest.mark.parametrize(
    "words", [("--batch-size", "2"), ("--skip-bad",), ("--device", "cpu"), ("--threads", "1")]
)
def test_nothing_is_computed_of_predictions(told: Told, words: Sequence[str]) -> None:
    given = (*PREDICTED, "bad/good.json", "--labels", "bad/labels-absent.json")
    assert told(*given, *words).startswith(f"{words[0]}: is for --checkpoint: --predictions are")


def test_validation_images_of_ones_own_leave_no_fraction(told: Told, work: Path) -> None:
    for number, part in enumerate(("train", "val")):
        write_digits(work / "bad" / "parts" / part, 100 * number, 100 * number + 100)
    said = told(*TRAIN, "--data-dir", "bad/parts", "--val-fraction", "0.2")
    assert said == "--val-fraction: --data-dir has validation images apart; leave it out"
