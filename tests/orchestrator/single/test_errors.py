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
    (("--seed", "-1"), "--seed -1: is no whole number from 0 on"),
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
    ((*INFER, "bad/bomb.safetensors"), "--checkpoint bad/bomb.safetensors: not a readable safet"),
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
    ((*NOW, "bad/others"), "1 class of the labels that the model does not know: 'eins'"),
    ((*NOW, "bad/fewer"), "1 class of the model without a label (--allow-missing, if"),
    ((*NOW, "bad/empty"), "--test-dir bad/empty: holds no image"),
    (("evaluate",), "give --predictions FILE and --labels FILE|DIR, or --checkpoint FILE and --te"),
    ((*NOW[:3],), "--checkpoint: give --test-dir DIR with it"),
    ((*PREDICTED, "bad/good.json"), "--predictions: give --labels FILE|DIR with it"),
]
LABELLED: Sequence[tuple[str, str, str]] = [
    ("good", "one", "1 prediction without a label: 'b.png'"),
    ("good", "more", "2 labels without a prediction: 'c.png', 'd.png'"),
    ("good", "eins", "1 class of the labels that the model does not know: 'eins'"),
    ("good", "absent", "3 classes of the model without a label (--allow-missing, if that is mean"),
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
    assert told("evaluate", "--metric", "f2") == "--metric: unknown metric 'f2'; did you mean 'f1'?"
