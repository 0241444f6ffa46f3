"""`augury infer` and `augury evaluate`: files, figures, and scikit-learn's on the same images."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from tests.orchestrator.commands import augury
from tests.orchestrator.single.conftest import RECIPE


@pytest.fixture(scope="session")
def predictions(work: Path) -> Path:
    """What `augury infer` writes of the test images."""
    words = ("--checkpoint", "model.safetensors", "--out", "predictions.json")
    done = augury(work, "infer", *words, "--batch_size", "50", "--all-probabilities")
    assert done.returncode == 0, done.stderr
    return work / "predictions.json"


def evaluated(work: Path, *words: str) -> Any:
    done = augury(work, "evaluate", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_file_of_predictions(predictions: Path, work: Path) -> None:
    said = json.loads(predictions.read_text())
    classes = said["checkpoint"]["classes"]
    test = work / "data" / "test"
    assert set(said["predictions"]) == {
        path.relative_to(test).as_posix() for path in test.rglob("*.png")
    }
    for entry in said["predictions"].values():
        every = entry["probabilities"]
        best = sorted(every, reverse=True)
        assert entry["label"] == entry["top5"][0][0] == classes[every.index(best[0])]
        assert [value for _, value in entry["top5"]] == best[:5]
        assert sum(every) == pytest.approx(1, abs=1e-5)


def test_the_figures_are_those_of_scikit_learn(predictions: Path, work: Path) -> None:
    said = evaluated(work, "--predictions", "predictions.json", "--labels", "data/test")
    file = json.loads(predictions.read_text())
    classes = file["checkpoint"]["classes"]
    entries = file["predictions"]
    true = [name.partition("/")[0] for name in entries]
    guessed = [entry["label"] for entry in entries.values()]
    macro = {"average": "macro", "zero_division": 0}
    every = np.array([entry["probabilities"] for entry in entries.values()])
    assert said["metrics"] == pytest.approx(
        {
            "top1": metrics.accuracy_score(true, guessed),
            "top5": metrics.top_k_accuracy_score(true, every, k=5, labels=classes),
            "precision": metrics.precision_score(true, guessed, **macro),
            "recall": metrics.recall_score(true, guessed, **macro),
            "f1": metrics.f1_score(true, guessed, **macro),
        }
    )
    # Neither chance nor perfect, so that each figure is put to the test.
    assert 0.2 < said["metrics"]["top1"] < said["metrics"]["top5"] < 1
    matrix = metrics.confusion_matrix(true, guessed, labels=classes)
    assert said["confusion"] == matrix.tolist()
    report = metrics.classification_report(true, guessed, output_dict=True, zero_division=0)
    for name in classes:
        assert said["per_class"][name] == pytest.approx(
            {
                "images": report[name]["support"],
                "precision": report[name]["precision"],
                "recall": report[name]["recall"],
                "f1": report[name]["f1-score"],
            }
        )


def test_a_saved_model_on_labelled_images_without_folders(predictions: Path, work: Path) -> None:
    flat = work / "flat"
    flat.mkdir()
    labels = {}
    for path in (work / "data" / "test").rglob("*.png"):
        labels[path.name] = path.parent.name
        shutil.copy(path, flat)
    (flat / "labels.json").write_text(json.dumps(labels))
    now = evaluated(
        work, "--checkpoint", "model.safetensors", "--test-dir", "flat", "--metric", "ece", "f1"
    )
    of_file = evaluated(
        work, "--predictions", "predictions.json", "--labels", "data/test", "--metric", "f1", "ece"
    )
    assert now["metrics"] == pytest.approx(of_file["metrics"])


def test_unreadable_images_may_be_left_out(predictions: Path, work: Path) -> None:
    shutil.copytree(work / "data" / "test", work / "damaged")
    (work / "damaged" / "one" / "bad.png").write_bytes(b"no image")
    words = ("--checkpoint", "model.safetensors", "--test-dir", "damaged", "--out", "some.json")
    done = augury(work, "infer", *words, "--skip-bad")
    assert done.returncode == 0
    assert done.stderr == "left out, as they cannot be read: 1 image, 'one/bad.png'\n"
    done = augury(work, "evaluate", "--predictions", "some.json", "--labels", "damaged")
    assert "1 image that cannot be read is left out: 'one/bad.png'" in done.stdout
    assert "true \\ predicted" in done.stdout


def test_a_metric_without_a_score_says_why(predictions: Path, work: Path) -> None:
    words = ("--predictions", "predictions.json", "--labels", "data/test", "--metric", "few_shot")
    said = evaluated(work, *words, "top1")
    assert said["metrics"]["few_shot"] is None
    assert list(said["notes"]) == ["few_shot"]
    assert "how many images of each class were trained on" in said["notes"]["few_shot"]
    assert said["notes"]["few_shot"] in augury(work, "evaluate", *words).stdout


def test_letters_stay_as_they_are(work: Path) -> None:
    folder = work / "letters"
    (folder / "straße").mkdir(parents=True)
    names = ["straße/ä.png", os.fsdecode(b"\xff.png")]
    for name, path in zip(names, sorted((work / "data" / "test").rglob("*.png")), strict=False):
        shutil.copy(path, folder / name)
    for chosen, text in ((folder / "straße", '"ä.png": {'), (folder, r'"\udcff.png": {')):
        words = ("--checkpoint", "model.safetensors", "--test-dir", str(chosen), "--threads", "1")
        done = augury(work, "infer", *words, "--out", "letters.json")
        assert done.returncode == 0, done.stderr
        assert text in (work / "letters.json").read_text()
    assert set(json.loads((work / "letters.json").read_text())["predictions"]) == set(names)


def test_a_checkpoint_is_read_by_its_content(work: Path) -> None:
    said = []
    for saved, name in (("model.safetensors", "really.pt"), ("model.pt", "really.safetensors")):
        done = augury(work, "train", *RECIPE, "--save-path", saved)
        assert done.returncode == 0, done.stderr
        shutil.copy(work / saved, work / name)
        words = ("--checkpoint", name, "--test-dir", "data/test", "--metric", "top1", "ece")
        said.append(evaluated(work, *words, "--threads", "1")["metrics"])
    assert said[0] == said[1]
