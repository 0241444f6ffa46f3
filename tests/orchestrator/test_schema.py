"""The schema takes what `study.py` takes, as far as a schema can tell."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from orchestrator import yaml12
from orchestrator.grid import APART
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
    ("train/stages", [{"variant": "real", "epochs": 10}, {"variant": "mixed", "epochs": 20}]),
    ("train/pretrained", False),
    ("train/augmentation", "mixup"),
    ("train/augmentation", {"name": "random_erasing", "fill": "noise", "area": [0.1, 0.2]}),
    ("train/augmentation", ["base", {"name": "randaugment", "num_ops": 3}, "cutmix"]),
    ("train/augmentation", [{"name": "albumentations", "transforms": [{"name": "Blur", "p": 1}]}]),
    ("train/augmentation", []),
    ("train/augmentation", None),
    ("train/companion", "cart"),
    ("train/companion", {"name": "cart", "features": "embedding"}),
    ("train/model", {"name": "resnet50", "stem": "small"}),
    ("dataset", {"name": "digits", "grayscale": True, "mean": [0.5], "std": [0.25]}),
    ("dataset", {"name": "csv", "file": "images.csv", "drop_test_duplicates": True}),
    ("subset/imbalance", "semi"),
    ("subset/imbalance", {"name": "long_tail", "factor": 0.02}),
    ("subset/imbalance", None),
    ("mixing", "fill_tail"),
    ("mixing", {"name": "replace", "ratio": 0.3, "loss_weight": 0.5, "soft_label": 0.9}),
    ("mixing", {"loss_weight": 0.5}),
    ("mixing", None),
    ("folds", 5),
    ("folds", None),
    ("evaluate_on", {"other": "digits"}),
    (
        "evaluate_on",
        {"other": {"name": "image_folder", "root": "a", "part": "all", "allow_missing": True}},
    ),
    ("evaluate_on", {"other": {"name": "digits", "size": 8, "grayscale": True}}),
    ("evaluate_on", None),
    ("synthetic/made", {"folder": "images", "skip_bad": True}),
    (
        "synthetic/made",
        {"generator": {"name": "ddpm", "sampling": {"steps": 10}}, "per_class": 3, "seed": 1},
    ),
    ("synthetic/made", {"editor": "sdedit", "multiplier": 2, "seed": 3}),
    ("synthetic/made", {"editor": {"name": "sdedit", "strength": 0.5}, "mask": "strokes"}),
    ("synthetic/made", {"editor": "sdedit", "mask": {"name": "strokes", "max_coverage": 0.4}}),
    ("synthetic/made", {"editor": {"provider": "openai"}, "prompts": __file__}),
    ("evaluate_on", {"shifted": {"editor": "sdedit", "mask": "saliency", "of": "test"}}),
    ("sets", "made"),
    ("axes", {"train.epochs": [1, 2], "variant": ["real", "mixed"], "train.model.width": [8, 16]}),
    ("axes", {"mixing": ["concat", {"name": "replace"}], "subset.imbalance": ["semi", None]}),
    ("axes", {"mixing.loss_weight": [0.5, 1], "subset.max_synth": [10, None]}),
    ("axes", {"train.augmentation": [None, "mixup", ["base", "mixup"]]}),
    ("axes", {"train.companion": [None, "cart"], "train.ema": [None, 0.99]}),
    ("arms", {"short": {"train": {"epochs": 1}}, "plain": {}}),
    ("arms", {"tail": {"mixing": "fill_tail", "subset": {"imbalance": "long_tail"}}}),
    ("seeds", [0, 7]),
    ("report", {"metrics": ["top1", "f1"]}),
    ("keep_weights", "none"),
    ("smoke", {"train": {"epochs": 1}, "synthetic": {"made": {"generator": {"steps": 2}}}}),
    ("train/model", {"best_of": {"study": "architecture", "metric": "val_top1"}}),
]
BAD = [
    ("train/stages", [{"variant": "real"}]),
    ("train/stages", [{"variant": "fake", "epochs": 30}]),
    ("train/pretrained", 3),
    ("train/augmentation", "mixpu"),
    ("train/augmentation", "albumentations"),
    ("train/augmentation", ["base", {"name": "mixup", "alfa": 1}]),
    ("train/augmentation", {"name": "mixup", "probability": 2}),
    ("train/companion", ["cart"]),
    ("train/companion", {"name": "cart", "max_depth": 0}),
    ("train/model", {"name": "timm", "weights": "w.safetensors"}),
    ("dataset", {"name": "digits", "grayscale": 1}),
    ("dataset", {"name": "digits", "mean": [2], "std": [1]}),
    ("subset/imbalance", "skewed"),
    ("subset/imbalance", {"factor": 0.1}),
    ("subset/imbalance", {"name": "step", "factor": 10}),
    ("subset/max_synth", 0),
    ("mixing", "blend"),
    ("mixing", {"name": "swap", "probability": 0.5}),
    ("mixing", {"name": "replace", "ratio": 1}),
    ("folds", 1),
    ("folds", 101),
    ("evaluate_on", ["digits"]),
    ("evaluate_on", {"other": {"name": "digits", "split_seed": 1}}),
    ("evaluate_on", {"other": {"name": "digits", "splt": "test"}}),
    ("axes", {"mixing.proportion": [1]}),
    ("axes", {"folds": [2, 3]}),
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
    ("train/optimizer", "adamx"),
    ("train/model", "resnet5O"),
    ("train/model", {"name": "small_cnn", "widht": 8}),
    ("train/model", {"name": "resnet50", "architecture": "resnet18"}),
    ("train/model", {"best_of": {"metric": "val_top1"}}),
    ("train/model", {"best_of": {"study": "architecture", "metric": "top1"}}),
    ("synthetic/made", {"multiplier": 1}),
    ("synthetic/made", {"generator": "vea"}),
    ("synthetic/made", {"editor": "sdedti"}),
    ("synthetic/made", {"editor": {"name": "sdedit", "strengh": 0.5}}),
    ("synthetic/made", {"editor": "sdedit", "mask": {"name": "strokes", "coverage": 0.4}}),
    ("synthetic/made", {"editor": "sdedit", "folder": "images"}),
    ("evaluate_on", {"shifted": {"editor": "sdedit", "of": "train"}}),
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
    assert set(train) == {*APART, *field_names(TrainSettings)}
    mixing = SCHEMA["properties"]["mixing"]["anyOf"][0]["anyOf"][1]
    assert set(mixing["properties"]) == set(field_names(MixingSettings))
    subset = SCHEMA["properties"]["subset"]["anyOf"][0]
    assert set(subset["properties"]) == set(field_names(SubsetSettings))
    assert "long-tailed" in json.dumps(subset["properties"]["imbalance"])
    assert train["epochs"]["default"] == 30
    assert train["epochs"]["description"].startswith("Passes over n_ref images")
    metrics = SCHEMA["properties"]["report"]["properties"]["metrics"]
    assert metrics["items"]["enum"] == list(plugins.names("metrics"))
