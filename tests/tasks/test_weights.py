"""Weights files stand alone, and those of strangers do no harm."""

import json
import os
import pickle
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tasks import plugins
from tasks.classification import (
    Classifier,
    ClassifierInfo,
    load_for,
    load_noted,
    load_weights,
    save_weights,
)
from tasks.classifiers import small_cnn, timm
from tasks.errors import InputError
from tasks.specs import Plugin

CLASSES = ("ant", "bee", "cat")
INFO = ClassifierInfo(
    num_classes=3,
    channels=3,
    side=40,
    input_size=32,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    initialisation="he",
    dropout=0.25,
)
SMALL = plugins.plugin("classifiers", "small_cnn", small_cnn.Config(width=4))
MODELS = {
    "small_cnn": SMALL,
    "resnet": plugins.plugin(
        "classifiers", "timm", timm.Config(architecture="test_resnet.r160_in1k")
    ),
    "vit": plugins.plugin("classifiers", "timm", timm.Config(architecture="test_vit.r160_in1k")),
}
SUFFIXES = ("safetensors", "pt", "pth")


def written(path: Path, model: Plugin = SMALL, info: ClassifierInfo = INFO) -> Classifier:
    torch.manual_seed(0)
    built: Classifier = plugins.build("classifiers", model, info)
    save_weights(path, built, model, info, CLASSES)
    return built


def note_of(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        with safe_open(str(path), framework="pt") as file:
            text = file.metadata()["augury"]
    else:
        text = torch.load(path, weights_only=True)["augury"]
    note: dict[str, Any] = json.loads(text)
    return note


def with_note(path: Path, note: Any) -> Path:
    """The same tensors with another note, JSON unless it is text already."""
    text = note if isinstance(note, str) else json.dumps(note)
    if path.suffix == ".safetensors":
        save_file(load_file(path), path, {"augury": text})
    else:
        torch.save({**torch.load(path, weights_only=True), "augury": text}, path)
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load_weights(path)
    assert str(error.value).startswith(f"{path.name}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_holds_all_that_prediction_needs(model: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{suffix}"
    info = replace(INFO, gradient_checkpointing=model != "small_cnn")
    built = written(path, MODELS[model], info)
    loaded, classes = load_weights(path)
    assert classes == CLASSES
    assert (loaded.input_size, loaded.channels) == (32, 3)
    assert (loaded.mean, loaded.std) == (INFO.mean, INFO.std)
    assert loaded.resolved == built.resolved
    assert not getattr(loaded.network, "grad_checkpointing", False)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.network.eval()(images), built.network.eval()(images))
        assert torch.equal(loaded.features(images), built.features(images))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert note_of(path)["info"]["dropout"] == 0.25


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_weights_give_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{suffix}"
    written(path)
    first = path.read_bytes()
    written(path)
    assert path.read_bytes() == first


def test_pretrained_weights_are_not_fetched_again(tmp_path: Path) -> None:
    config = timm.Config(architecture="test_resnet.r160_in1k", stem="imagenet")
    model = plugins.plugin("classifiers", "timm", config)
    written(tmp_path / "w.pt", model, replace(INFO, initialisation="default"))
    note = note_of(tmp_path / "w.pt")
    for start in (True, f"sha256:{'0' * 64}"):
        settings = {**note["settings"], "pretrained": start}
        path = with_note(tmp_path / "w.pt", {**note, "settings": settings})
        assert "from scratch" not in load_weights(path)[0].resolved


def test_a_file_of_an_older_augury_is_read(tmp_path: Path) -> None:
    """Its note says nothing of what could not be asked for."""
    path = tmp_path / "w.safetensors"
    written(path, info=replace(INFO, dropout=None, initialisation="default"))
    note = note_of(path)
    info = {name: note["info"][name] for name in ("num_classes", "channels", "side", "input_size")}
    assert load_weights(with_note(path, {**note, "info": info}))[1] == CLASSES


@pytest.mark.parametrize(("suffix", "other"), [("safetensors", "pt"), ("pt", "safetensors")])
def test_a_file_is_what_it_contains(suffix: str, other: str, tmp_path: Path) -> None:
    built = written(tmp_path / f"w.{suffix}")
    (tmp_path / f"w.{suffix}").rename(tmp_path / f"w.{other}")
    loaded, note = load_noted(tmp_path / f"w.{other}")
    assert (note.classes, note.info) == (CLASSES, INFO)
    for name, tensor in built.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_left_of_a_file_that_cannot_be_written(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"w.{suffix}").mkdir()
    with pytest.raises(OSError, match="directory"):
        written(tmp_path / f"w.{suffix}")
    assert [each.name for each in tmp_path.iterdir()] == [f"w.{suffix}"]


def test_a_name_may_be_as_long_as_can_be(tmp_path: Path) -> None:
    written(tmp_path / f"{'a' * 252}.pt")
    assert load_weights(tmp_path / f"{'a' * 252}.pt")[1] == CLASSES


def test_strange_pickles_are_refused_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Payload(tmp_path / "trace"), protocol=4))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        refused(tmp_path / "w.pt", "holds Python objects, which are never run")
    assert said == []
    assert not (tmp_path / "trace").exists()


# Classes


def test_weights_for_the_same_classes_are_taken_in_any_order(tmp_path: Path) -> None:
    written(tmp_path / "w.pt")
    assert load_for(tmp_path / "w.pt", ("cat", "ant", "bee"))[1] == CLASSES


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("ant", "bee"), "of 2 classes it knows 'cat', which is not asked for"),
        (("ant", "bee", "cat", "dog"), "of 4 classes it does not know 'dog'"),
        (
            ("ant", *"dcba", "e"),
            "of 6 classes it does not know 'a', 'b', 'c' and 2 more and knows 'bee', 'cat', which "
            "are not asked for",
        ),
    ],
)
def test_weights_for_other_classes_are_refused(
    classes: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    written(tmp_path / "w.pt")
    with pytest.raises(InputError, match=f"^w.pt: {message}$"):
        load_for(tmp_path / "w.pt", classes)


# What strangers may have written


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{suffix}"
    written(path)
    whole = path.read_bytes()
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, "not a readable|cannot be read")
    path.write_bytes(b"\0" * 1000)
    refused(path, "not a readable|cannot be read")
    path.unlink()
    refused(path, "not a readable|cannot be read")
    path.mkdir()
    refused(path, "not a readable|cannot be read")


class Payload:
    """Makes a folder as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["torch", "old torch", "pickle", "as safetensors"])
def test_nothing_is_executed(form: str, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "w.pt"
    written(path)
    content = {**torch.load(path, weights_only=True), "more": Payload(trace)}
    if form == "as safetensors":
        path = tmp_path / "w.safetensors"
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "old torch")
    refused(path, "not a readable|holds Python objects, which are never run")
    assert not trace.exists()
    # The payload works, so that it is the reader who refused it.
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_foreign_checkpoints_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{suffix}"
    tensors = {"weight": torch.zeros(3)}
    save_file(tensors, path) if suffix == "safetensors" else torch.save(tensors, path)
    refused(path, "says nothing of its model; only Augury's weights will do")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, {"weights": {}}, {1: torch.zeros(1)}])
def test_files_without_tensors_are_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "holds no tensors by name")


def test_what_unfolds_to_more_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    written(path)
    content = torch.load(path, weights_only=True)
    wide = {**content["weights"], "head.3.weight": torch.zeros(1).expand(10**6, 10**4)}
    torch.save({**content, "weights": wide}, path)
    refused(path, "a tensor is larger than what is stored of it")
    torch.save(content, path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "z.pt", "w", 8) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    refused(tmp_path / "z.pt", "is compressed")


def changes(**values: Any) -> dict[str, Any]:
    return values


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (changes(classes=["ant", "bee"]), "its note names 2 classes for 3 outputs"),
        (changes(classes=["ant", "bee", "bee"]), "its note names 2 classes for 3 outputs"),
        (changes(classes=["ant", "bee", 3]), "note cannot be read"),
        (changes(name="resnet"), "unknown classifier 'resnet'"),
        (changes(name="../small_cnn"), "unknown classifier"),
        (changes(name=["timm"]), "note cannot be read"),
        (changes(settings={"width": 4.5}), "note cannot be read"),
        (changes(settings={"wide": 4}), "note cannot be read"),
        (changes(settings={"width": 512, "stages": 5}), "does not fit small_cnn"),
        (changes(settings={"width": 4, "stages": 1}), "does not fit small_cnn"),
        (changes(settings={}), r"does not fit small_cnn \(features\.0\.weight is 4×3×3×3, not 24×"),
        (changes(input_size=10**9), "asks for images of 1000000000 pixels"),
        (changes(input_size=0), "asks for images of 0 pixels"),
        (changes(channels=4), "numbers that no classifier has"),
        (changes(mean=[0.5]), "numbers that no classifier has"),
        (changes(std=[1, 1, 0]), "numbers that no classifier has"),
        (changes(mean=[float("nan")] * 3), "numbers that no classifier has"),
        (changes(mean=["0.5"] * 3), "note cannot be read"),
        (
            changes(name="timm", settings={"architecture": "hf-hub:evil/network"}),
            "has no model 'hf-hub:evil/network'",
        ),
        (
            changes(name="timm", settings={"architecture": "vit_giant_patch14_224"}),
            "does not fit timm",
        ),
        (changes(name="transformers", settings={"pretrained": True}), "nothing of its network"),
        (
            changes(name="transformers", settings={"network": '{"model_type": "vit"}'}),
            "does not fit transformers",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_notes_that_cannot_be_are_refused(
    changed: dict[str, Any], message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"w.{suffix}"
    written(path)
    refused(with_note(path, {**note_of(path), **changed}), message)


def test_a_note_may_not_ask_for_more_outputs_than_the_head_has(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    written(path)
    note = note_of(path)
    number = 100_000
    more = {"classes": [str(i) for i in range(number)]}
    info = {**note["info"], "num_classes": number}
    refused(
        with_note(path, {**note, **more, "info": info}), r"head\.3\.weight is 3×8, not 100000×8"
    )
    refused(with_note(path, {**note, "info": {**info, "dropout": 2}}), "its note names 3 classes")
    bad = {**note["info"], "dropout": 2}
    refused(with_note(path, {**note, "info": bad}), "numbers that no classifier has")


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", "null", "[" * 100_000])
def test_notes_that_are_none_are_refused(note: str, tmp_path: Path) -> None:
    written(tmp_path / "w.pt")
    refused(with_note(tmp_path / "w.pt", note), "note cannot be read")
