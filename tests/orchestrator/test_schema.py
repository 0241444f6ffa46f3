"""The schema takes what `study.py` takes, as far as a schema can tell."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from orchestrator import yaml12
from orchestrator.schema import study_schema
from orchestrator.settings import MixingSettings, SubsetSettings, TrainSettings
from orchestrator.study import STUDY_KEYS, bundled, load_study
from orchestrator.validating import field_names
from tasks import plugins
from tasks.errors import InputError

SCHEMA = study_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PLAIN = {
    "question": "Does it help?",
    "dataset": "digits",
    "train": {"model": "small_cnn"},
    "synthetic": {"made": {"generator": "vae"}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(PLAIN)
    *parents, last = path.split("/")
    here = document
    for part in parents:
        here = here.setdefault(part, {})
    here[last] = value
    return document


def takes(document: Any) -> bool:
    return bool(VALIDATOR.is_valid(document))


def loads(document: Any, folder: Path) -> bool:
    # JSON is YAML.
    path = folder / "study.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    try:
        load_study(str(path))
    except InputError:
        return False
    return True


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", bundled())
def test_bundled_studies_fit(name: str) -> None:
    document = yaml12.parse(bundled()[name].read_text(encoding="utf-8"))
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


GOOD = [
    ("dataset", {"name": "digits", "size": 8, "val_fraction": 0.2}),
    ("dataset", {"name": "image_folder", "root": "a", "test": "b", "split_seed": 1}),
    ("subset", {"fraction": 0.5, "max_real": 100}),
    ("subset", None),
    ("train/model", "vit_b16"),
    ("train/model", "resnet50.a1_in1k"),
    ("train/model", {"name": "small_cnn", "width": 8}),
    ("train/model", {"name": "resnet50", "pretrained": True}),
    ("train/model", {"name": "timm", "architecture": "resnet18"}),
    ("train/lr", None),
    ("synthetic/made", {"folder": "images", "skip_bad": True}),
    (
        "synthetic/made",
        {"generator": {"name": "ddpm", "sampling": {"steps": 10}}, "per_class": 3, "seed": 1},
    ),
    ("sets", "made"),
    ("axes", {"train.epochs": [1, 2], "variant": ["real", "mixed"], "train.model.width": [8, 16]}),
    ("arms", {"short": {"train": {"epochs": 1}}, "plain": {}}),
    ("seeds", [0, 7]),
    ("report", {"metrics": ["top1", "f1"]}),
    ("keep_weights", "none"),
    ("smoke", {"train": {"epochs": 1}, "synthetic": {"made": {"generator": {"steps": 2}}}}),
    ("train/model", {"best_of": {"study": "architecture", "metric": "val_top1"}}),
]
BAD = [
    ("trian", {}),
    ("question", 3),
    ("dataset", "digts"),
    ("dataset", "image_folder"),
    ("dataset", {"name": "digits", "sise": 8}),
    ("dataset", {"name": "digits", "size": 2}),
    ("subset/fraction", 1.5),
    ("subset/per_clas", 3),
    ("train", "small_cnn"),
    ("train/epochs", "30"),
    ("train/epochs", True),
    ("train/epochs", 0),
    ("train/optimizer", "adam"),
    ("train/model", "resnet5O"),
    ("train/model", {"name": "small_cnn", "widht": 8}),
    ("train/model", {"name": "resnet50", "architecture": "resnet18"}),
    ("train/model", {"best_of": {"metric": "val_top1"}}),
    ("train/model", {"best_of": {"study": "architecture", "metric": "top1"}}),
    ("synthetic/made", {"multiplier": 1}),
    ("synthetic/made", {"generator": "vea"}),
    ("synthetic/made", {"generator": "vae", "folder": "images"}),
    ("synthetic/made", {"generator": {"name": "vae", "sampling": {"sampler": "ddim"}}}),
    ("variant", "fake"),
    ("axes", {"variant": "real"}),
    ("axes", {"variant": []}),
    ("axes", {"epochs": [1]}),
    ("axes", {"train.epochs": [1, "two"]}),
    ("arms", {"short": {"epochs": 1}}),
    ("seeds", 3),
    ("seeds", [1, 1]),
    ("compare", {"base": {"variant": "real"}}),
    ("report", {"metrics": ["top2"]}),
    ("report", {"metric": ["top1"]}),
    ("keep_weights", "some"),
]


@pytest.mark.parametrize(("path", "value"), GOOD)
def test_good_studies_fit(path: str, value: Any, tmp_path: Path) -> None:
    document = changed(path, value)
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []
    assert loads(document, tmp_path)


@pytest.mark.parametrize(("path", "value"), BAD)
def test_broken_studies_do_not(path: str, value: Any, tmp_path: Path) -> None:
    document = changed(path, value)
    assert not takes(document)
    assert not loads(document, tmp_path)


def test_smoke_is_as_strict_with_names() -> None:
    assert takes(changed("smoke", {"train": {"epochs": 3}}))
    assert not takes(changed("smoke", {"train": {"epcohs": 3}}))


@pytest.mark.parametrize("key", ["question", "dataset", "train"])
def test_what_is_required_is_missed(key: str) -> None:
    assert not takes({name: value for name, value in PLAIN.items() if name != key})


def test_all_keys_defaults_and_docstrings_are_in_it() -> None:
    assert set(SCHEMA["properties"]) == set(STUDY_KEYS)
    train = SCHEMA["properties"]["train"]["anyOf"][0]["properties"]
    assert set(train) == {"model", *field_names(TrainSettings)}
    assert train["epochs"]["default"] == 30
    assert train["epochs"]["description"].startswith("Passes over n_ref images")
    metrics = SCHEMA["properties"]["report"]["properties"]["metrics"]
    assert metrics["items"]["enum"] == list(plugins.names("metrics"))
