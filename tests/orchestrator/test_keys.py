"""A key names what a step computes: everything that moves a result is in it, and nothing else."""

import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from orchestrator import graph, real, sets
from orchestrator.inputs import identify
from orchestrator.overlay import merge
from orchestrator.plan import VERSIONS, Plan, Step, make_plan, sources
from orchestrator.settings import (
    EditSettings,
    ImbalanceSettings,
    MixingSettings,
    SetSettings,
    SplitSettings,
    SubsetSettings,
    TrainSettings,
)
from orchestrator.study import StudySpec, load_study
from tasks import plugins
from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.editing import About
from tasks.edits import masks
from tasks.errors import InputError
from tasks.specs import DatasetInfo, NotHashed, SplitInfo, canonical_json, content_key

INFO = DatasetInfo(
    classes=tuple("abcd"),
    splits={
        "train": SplitInfo(digest="train", counts=(30, 40, 50, 60)),
        "test": SplitInfo(digest="test", counts=(9, 9, 9, 9)),
        "all": SplitInfo(digest="all", counts=(20, 20, 20, 20)),
    },
)

GOLDEN_STUDY = """
question: Which names do results have?
dataset: digits
subset: {max_real: 100}
synthetic:
  made: {generator: {name: vae, steps: 10, sampling: {batch_size: 64}}, multiplier: 2, seed: 3}
train: {model: small_cnn, epochs: 2, batch_size: 32}
variant: mixed
seeds: [7]
"""
GOLDEN_KEYS = {
    "pack digits train": "f08c2f8c33d6dc39bb01d8926ee9e0c20bf6ef3e8de4249427d15311140e6cc7",
    "pack digits test": "babc0125150c71d81e0f5741cf27dcfc23e30341c3e3e54de2fbde4d2028bbfd",
    "check digits for duplicates": (
        "3a8a268c5761b1cbdb788009cd3f19b0d56228b5f57418f9a0f70bf704f99ef5"
    ),
    "fit vae": "8237752938d0d4bd668a6fe5c62d5b6b9abf221566c9e1d9f583f70c982acc77",
    "sample vae": "51f38cdb94a2fcbd5e6f4059c4b5e35af66c0fbaec311ff69d38e3ce17467fa0",
    "gather vae": "663b3a04d508578f7e9f7a860f8e1376740a64b84ac78e105403cea81a488806",
    "fit extractor": "73d597cf58a48286791d3b9bd993b399112ffe1a1495e9a00626280ee007202e",
    "features of made": "5e05ef4484d81ac24b2cfca560fd6a6aaf321e82d1e711f3596f731db0a1ad8e",
    "features of train images": "cbb1d39e2272259a46f4ba9a449cea636252b74e7de83382aa533e4241f898e6",
    "features of test images": "3b1cd7c4d464a4855c30f93bd7e0592b305d0294ee2f5f8bf59cccf30f8667ea",
    "measure made": "a2b2c0ab07db546c854cb4598d312b8a23dd03a45448075b42d28ef091797f66",
    "measure test images": "73843cada19d3fb6b19cab10e5564887512c6d22640f0e0c97c294bbc8c69e3e",
    "audit made": "b546c627afbedc3f004326429fc443de3d5f59fe84c27b0c744f4a91b8267d50",
    "train small_cnn": "9303475a6c462b01fd3e4461b2bb61607d627a868643a7d44a845238b6135ec5",
    "evaluate small_cnn": "9268d36e0232c9c447b1cf25e0420e5567e210c632aaee4d8654d7cfafddaed3",
}
"""Of results that users may hold: where one of these changes, their stores count for nothing."""

Document = dict[str, Any]

BASE: Document = {
    "question": "q",
    "dataset": {"name": "digits"},
    "synthetic": {"made": {"generator": {"name": "vae"}}},
    "train": {"model": {"name": "small_cnn"}, "optimizer": "sgd"},
    "variant": "mixed",
    "seeds": [0, 1],
}
"""SGD, because momentum is inert for adamw."""
MEASURED: Document = {
    **BASE,
    "synthetic": {"made": {"generator": {"name": "vae"}, "filters": ["confidence"]}},
    "measures": ["fid", "cas"],
    "audit": {"max_test_duplicates": 0},
}
"""With every kind of step but those of edits."""
EVERY_KIND: Document = {
    **MEASURED,
    "synthetic": {**MEASURED["synthetic"], "edited": {"editor": "sdedit"}},
    "sets": ["made", "edited"],
}
OF_STUDIES = tuple(kind for kind in VERSIONS if kind not in ("edit_files", "lineage"))
"""`lineage` rests on a folder, see test_edits, and `edit_files` on no study."""
AFTER_TRIALS = ("features", "fidelity", "cas", "audit", "gate")
"""Kinds of step that no trial's key rests on."""


def loaded(folder: Path, document: Document | str, name: str = "study") -> StudySpec:
    text = document if isinstance(document, str) else json.dumps(document)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return load_study(str(path))


def planned(spec: StudySpec) -> Plan:
    return make_plan([spec], dict.fromkeys(sources(spec), INFO), {})


def steps_of(folder: Path, document: Document | str, name: str = "study") -> dict[str, Step]:
    return dict(planned(loaded(folder, document, name)).steps)


def kinds(steps: dict[str, Step], *wanted: str) -> set[str]:
    return {key for key, step in steps.items() if step.kind in wanted}


@pytest.fixture
def _forgotten() -> Iterator[None]:
    """Nothing that planning remembers of one VERSION is believed at another."""
    forget()
    yield
    forget()


def forget() -> None:
    for module in (graph, real, sets):
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


# Golden keys


def test_keys_are_what_they_were(tmp_path: Path) -> None:
    spec = loaded(tmp_path, GOLDEN_STUDY)
    plan = make_plan([spec], identify(sources(spec)), {})
    assert {step.title: key for key, step in plan.steps.items()} == GOLDEN_KEYS


def test_keys_do_not_depend_on_the_process(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOLDEN_STUDY)
    code = (
        "import sys; from orchestrator.inputs import identify;"
        "from orchestrator.plan import make_plan, sources;"
        "from orchestrator.study import load_study;"
        "spec = load_study(sys.argv[1]);"
        "print(*make_plan([spec], identify(sources(spec)), {}).steps)"
    )
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed, "AUGURY_CACHE": str(tmp_path)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert set(found.stdout.split()) == set(GOLDEN_KEYS.values())


# Every setting


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of one file's settings, and where it stands in a study."""

    label: str
    field: str
    kind: type
    place: tuple[str, ...]
    around: Document
    """What the study says beside it, so that the field matters."""


def section(name: str, kind: type, place: tuple[str, ...], around: Document) -> list[Setting]:
    return [
        Setting(label=f"{name}.{item.name}", field=item.name, kind=kind, place=place, around=around)
        for item in dataclasses.fields(kind)
    ]


def is_marked(setting: Setting) -> bool:
    """The field says of itself that it enters no key."""
    hint = typing.get_type_hints(setting.kind, include_extras=True)[setting.field]
    return any(isinstance(mark, NotHashed) for mark in getattr(hint, "__metadata__", ()))


REQUIRED: dict[str, Document] = {
    "albumentations": {"transforms": [{"name": "HorizontalFlip"}]},
    "csv": {"file": "data/images.csv"},
    "huggingface": {"path": "user/name"},
    "image_folder": {"root": "data/real"},
    "parquet": {"root": "data/images.parquet"},
}
"""Settings without which a file cannot be named."""
GENERATOR_PLACE = ("synthetic", "made", "generator")
EDITS_PLACE = ("synthetic", "edited")
PROMPTS = Path(__file__).with_name("prompts.txt")
PLACES = {
    "datasets": ("dataset",),
    "augmentations": ("train", "augmentation"),
    "companions": ("train", "companion"),
    "classifiers": ("train", "model"),
    "filters": ("synthetic", "made", "filters"),
    "extractors": ("extractor",),
}


def all_settings() -> Iterator[Setting]:
    yield from section("split", SplitSettings, ("dataset",), {})
    yield from section("subset", SubsetSettings, ("subset",), {})
    yield from section("set", SetSettings, ("synthetic", "made"), {})
    yield from section("train", TrainSettings, ("train",), {})
    yield from section("mixing", MixingSettings, ("mixing",), {})
    yield from section(
        "imbalance",
        ImbalanceSettings,
        ("subset", "imbalance"),
        {"subset": {"imbalance": {"name": "long_tail", "factor": 0.5}}},
    )
    for kind, place in PLACES.items():
        for name in plugins.names(kind):
            around = nested(place, {"name": name, **REQUIRED.get(name, {})})
            yield from section(name, plugins.module(kind, name).Config, place, around)
    for name in plugins.names("generators"):
        module = plugins.module("generators", name)
        around = {"synthetic": {"made": {"generator": {"name": name}}}}
        yield from section(name, module.Config, GENERATOR_PLACE, around)
        sampling = (*GENERATOR_PLACE, "sampling")
        yield from section(f"{name}.sampling", module.Sampling, sampling, around)
    yield from section("edits", EditSettings, EDITS_PLACE, edits("sdedit"))
    for name in plugins.names("editors"):
        config = plugins.module("editors", name).Config
        yield from section(name, config, (*EDITS_PLACE, "editor"), edits(name))
    for name, mask in masks.OF_THEMSELVES.items():
        around = merge(edits("sdedit"), nested((*EDITS_PLACE, "mask"), {"name": name}))
        own = section(name, type(mask), (*EDITS_PLACE, "mask"), around)
        yield from (setting for setting in own if setting.field != "name")


def edits(name: str) -> Document:
    """A set of edited images by this editor, with what it needs."""
    about: About = plugins.module("editors", name).ABOUT
    document: Document = {"editor": {"name": name}}
    if about.prompt:
        document["prompts"] = str(PROMPTS)
    if about.mask == "needed":
        document["mask"] = "full"
    return {"synthetic": {"edited": document}, "sets": ["edited"]}


CYCLICAL: Document = {"synthetic": {"made": {"generator": {"annealing": "cyclical"}}}}
RECONSTRUCTED: Document = {
    "synthetic": {"made": {"generator": {"sampling": {"mode": "reconstruct"}}}}
}
BY_CLIP: Document = {"synthetic": {"made": {"filters": {"by": "clip"}}}}
STAGES = [{"variant": "real", "epochs": 10}, {"variant": "mixed", "epochs": 20}]
BESIDE: dict[str, Document] = {
    "split.mean": {"dataset": {"mean": [0.1], "std": [0.2]}},
    "split.std": {"dataset": {"mean": [0.1], "std": [0.2]}},
    "mixing.ratio": {"mixing": {"name": "replace"}},
    "mixing.synthetic_probability": {"mixing": {"name": "swap"}},
    "train.milestones": {"train": {"schedule": "step", "milestones": [10]}},
    "train.decay": {"train": {"schedule": "step", "milestones": [10]}},
    "set.refill": {"synthetic": {"made": {"filters": "blank"}}},
    "set.max_draws": {"synthetic": {"made": {"filters": "blank"}}},
    "near_duplicate.quantile": {"synthetic": {"made": {"filters": {"by": "features"}}}},
    "vae.cycles": CYCLICAL,
    "dvae.cycles": CYCLICAL,
    "vae.sampling.posterior": RECONSTRUCTED,
    "dvae.sampling.posterior": RECONSTRUCTED,
    "dvae.sampling.corrupt": RECONSTRUCTED,
    "clip_guided.sampling.guidance": {
        "synthetic": {
            "made": {"generator": {"label_dropout": 0.1, "sampling": {"conditional": True}}}
        }
    },
    "clip_guided.sampling.conditional": {
        "synthetic": {"made": {"generator": {"label_dropout": 0.1}}}
    },
    "bottom_fraction.prompt": BY_CLIP,
    "bottom_fraction.checkpoint": BY_CLIP,
    "timm.pretrained": {"train": {"model": {"architecture": "resnet50"}}},
}
"""What a field needs said beside it to be legal, or to matter."""

FROM_FILES = ("img2img", "instruct_pix2pix", "sdxl_inpaint", "flux_fill", "flux_kontext")
"""Editors that take a single file, which a `config` describes."""

CHOSEN: dict[str, Any] = {
    "split.mean": [0.3],
    "split.std": [0.3],
    "subset.imbalance": "step",
    "set.histogram": {"a": 5},
    **{f"{name}.betas": [0.1, 0.99] for name in ("vanilla_gan", "lsgan", "wgan_gp")},
    **{f"{name}.betas": [0.1, 0.99] for name in ("cgan", "biggan")},
    "inception.weights": f"{BY_CONTENT}0",
    "dvae.corruptions": ["blur"],
    "dvae.strengths": {"blur": 0.5},
    "vqvae.prior": {"share": 0.4},
    "bottom_fraction.prompt": "a drawing of a {}",
    "bottom_fraction.checkpoint": "somebody/clip",
    "clip_score.prompt": "a drawing of a {}",
    "clip_guided.prompt": "a drawing of a {}",
    "albumentations.transforms": [{"name": "VerticalFlip"}],
    "base.scale": [0.5, 1.0],
    "base.ratio": [1.0, 1.5],
    "random_erasing.area": [0.1, 0.2],
    "random_erasing.aspect": [0.5, 2.0],
    "train.stages": STAGES,
    "train.milestones": [10, 20],
    "timm.architecture": "resnet18",
    "train.optimizer": "adamw",
    "sdedit.ddpm": {"steps": 10},
    "flux_fill.max_tokens": 256,
    "flux_kontext.max_tokens": 256,
    **{f"{name}.config": "somebody/pipeline" for name in FROM_FILES},
}
"""Alternatives where the default tells nothing, or is not what stands in `BASE`."""

OF_DATA = ("cifar100.labels", "cub200.crop")
"""What a reader makes of its files; all else that it is told is where they are, and its digests
say what was found there."""


def nested(place: tuple[str, ...], value: Any) -> Any:
    for part in reversed(place):
        value = {part: value}
    return value


FILLED_IN = (
    *("timm.weights", "transformers.folder", "clip.folder", "dinov2.folder", "inception.file"),
    *("clip_score.folder", "bottom_fraction.folder", "clip_guided.folder"),
    *(f"{name}.config_folder" for name in FROM_FILES),
    *(f"{name}.folder" for name in (*FROM_FILES, "kandinsky_inpaint", "qwen_image_edit")),
    "kandinsky_inpaint.prior_folder",
)
"""Where planning found local weights that it names by content: no study says it."""
SETTINGS = {setting.label: setting for setting in all_settings() if setting.label not in FILLED_IN}
INERT = {
    "train.pretrained": "Augury's own models have no weights to start from; see timm.pretrained",
    **{label: "it is marked" for label, setting in SETTINGS.items() if is_marked(setting)},
}
"""Fields that change no key while the data's digest stays, with the reason."""


def alternatives(setting: Setting) -> Iterator[Any]:
    """Values that the field may take beside its default; not all of them are legal."""
    if setting.label in CHOSEN:
        yield CHOSEN[setting.label]
        return
    hint = typing.get_type_hints(setting.kind)[setting.field]
    choices = [hint, *typing.get_args(hint)]
    item = next(f for f in dataclasses.fields(setting.kind) if f.name == setting.field)
    default = None if item.default is dataclasses.MISSING else item.default
    for choice in choices:
        if typing.get_origin(choice) is Literal:
            yield from (value for value in typing.get_args(choice) if value != default)
    match default:
        case bool():
            yield not default
        case int():
            yield from (default + 1, default * 2, default + 8)
        case float():
            yield from (default + 0.1, default / 2, default * 2, default + 1)
        case tuple():
            yield [*default, default[-1]]
        case str():
            yield f"{default}-other"
        case None:
            yield from (16, 0.25, "other")


@pytest.mark.parametrize("label", SETTINGS)
def test_every_setting_is_in_some_key_or_is_known_to_be_inert(label: str, tmp_path: Path) -> None:
    setting = SETTINGS[label]
    around = merge(merge(BASE, setting.around), BESIDE.get(label, {}))
    before = set(steps_of(tmp_path, around))
    complaints = []
    for value in alternatives(setting):
        changed = merge(around, nested((*setting.place, setting.field), value))
        try:
            after = set(steps_of(tmp_path, changed))
        except InputError as error:
            complaints.append(str(error))
            continue
        assert (before == after) == (label in INERT), f"{label}: {value!r}"
        return
    raise AssertionError(f"{label}: no alternative is legal: {complaints}")


def test_only_settings_that_exist_are_called_inert() -> None:
    assert set(INERT) | set(BESIDE) | set(CHOSEN) <= set(SETTINGS)


def test_of_a_reader_only_what_it_makes_of_its_files_is_hashed() -> None:
    readers = [setting for setting in SETTINGS.values() if setting.place == ("dataset",)]
    own = [setting.label for setting in readers if setting.kind is not SplitSettings]
    assert sorted(set(own) - set(INERT)) == sorted(OF_DATA)


def test_a_key_and_a_description_stand_for_each_other(tmp_path: Path) -> None:
    """Keys of trials are put together from parts: none may be forgotten."""
    by_key: dict[str, str] = {}
    for label, setting in SETTINGS.items():
        around = merge(merge(BASE, setting.around), BESIDE.get(label, {}))
        for value in itertools.islice(alternatives(setting), 3):
            changed = merge(around, nested((*setting.place, setting.field), value))
            try:
                found = steps_of(tmp_path, changed)
            except InputError:
                continue
            for key, step in found.items():
                text = step.kind + canonical_json(step.spec)
                assert by_key.setdefault(key, text) == text
    assert len(set(by_key.values())) == len(by_key) > 200


# Every part of a spec


def altered(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case None:
            return 12
        case tuple():
            return (*value, *value[:1]) if value else ("x",)
    for item in dataclasses.fields(value):
        try:
            return replace(value, **{item.name: altered(getattr(value, item.name))})
        except ValueError:
            continue
    raise AssertionError(f"nothing of {value!r} can be altered")


def inside(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every dataclass in `value`, itself first, with the way to it."""
    yield path, value
    for item in dataclasses.fields(value):
        inner = getattr(value, item.name)
        if dataclasses.is_dataclass(inner) and item.name not in ("config", "sampling"):
            yield from inside(inner, (*path, item.name))


def put(value: Any, path: tuple[str, ...], new: Any) -> Any:
    if not path:
        return new
    inner = put(getattr(value, path[0]), path[1:], new)
    return replace(value, **{path[0]: inner})


NOT_IN_KEYS = {
    ("sample", "synthetic", "generator"): "the fit's key holds it",
    ("sample", "synthetic", "images"): "the fit's key holds them",
    ("gather", "shards"): "how a set was cut is not part of what it is",
    ("gather", "sources"): "the key of the set says them",
    ("edit", "recipe", "masks"): "their digest holds them",
    ("edit", "recipe", "generator"): "the fit's key holds it",
    ("evaluate", "classes"): "the trial's key says them",
    ("evaluate", "precision"): "the trial's key says it",
    ("evaluate", "companion"): "the trial's key says it",
    ("filter", "synthetic", "generator"): "the fit's key holds it",
    ("filter", "synthetic", "images"): "the fit's key holds them",
    ("filter", "shards"): "how a set was cut is not part of what it is",
    ("cas", "classes"): "the pack's key says them",
    ("gate", "name"): "is for its message",
}


def test_every_field_of_every_spec_is_hashed(tmp_path: Path) -> None:
    seen = set()
    for step in steps_of(tmp_path, EVERY_KIND).values():
        for path, part in inside(step.spec):
            for item in dataclasses.fields(part):
                old = getattr(part, item.name)
                if dataclasses.is_dataclass(old) and not dataclasses.fields(old):
                    continue
                other = put(step.spec, path, replace(part, **{item.name: altered(old)}))
                same = content_key(step.kind, 1, other) == content_key(step.kind, 1, step.spec)
                where = (step.kind, *path, item.name)
                known = any(where[: len(prefix)] == prefix for prefix in NOT_IN_KEYS)
                assert same == known, where
                seen.add(step.kind)
    assert seen == set(OF_STUDIES)


# What may be said in two ways

SAME: dict[str, tuple[Document, Document]] = {
    "a dataset's short form": ({"dataset": "digits"}, {"dataset": {"name": "digits"}}),
    "a model's short form": (
        {"train": {"model": "small_cnn"}},
        {"train": {"model": {"name": "small_cnn", "width": 24, "dropout": 0}}},
    ),
    "a generator's short form": (
        {"synthetic": {"made": {"generator": "vae"}}},
        {"synthetic": {"made": {"generator": {"name": "vae", "beta": 1, "sampling": {}}}}},
    ),
    "one image for each": ({}, {"synthetic": {"made": {"multiplier": 1}}}),
    "the whole, as integer": ({}, {"subset": {"fraction": 1}}),
    "the whole, as float": ({}, {"subset": {"fraction": 1.0}}),
    "more than there is": ({}, {"subset": {"max_real": 5000}}),
    "exactly what there is": ({}, {"subset": {"max_real": 162}}),
    "a cap above all classes": ({}, {"subset": {"per_class": 60}}),
    "an alias": (
        {"train": {"model": "vit_b16"}},
        {"train": {"model": "vit_base_patch16_224"}},
    ),
    "a model by architecture": (
        {"train": {"model": "resnet50"}},
        {"train": {"model": {"name": "timm", "architecture": "resnet50.a1_in1k"}}},
    ),
    "momentum without sgd": (
        {"train": {"optimizer": "adamw"}},
        {"train": {"optimizer": "adamw", "momentum": 0.5}},
    ),
    "the default rate": (
        {"train": {"optimizer": "adamw"}},
        {"train": {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.05}},
    ),
    "epochs and their steps": ({"train": {"epochs": 3}}, {"train": {"steps": 9}}),
    "sets by name": ({}, {"sets": ["made"]}),
    "one set's name alone": ({"sets": "made"}, {"sets": ["made"]}),
    "real images and an unused set": (
        {"variant": "real", "synthetic": {}},
        {"variant": "real", "sets": ["made"], "synthetic": {"made": {"seed": 5}}},
    ),
    "a set that nobody names": (
        {},
        {"sets": ["made"], "synthetic": {"other": {"generator": "ddpm"}}},
    ),
    "seeds in another order": ({"seeds": [0, 1]}, {"seeds": [1, 0]}),
    "another question": ({}, {"question": "Why?"}),
    "other metrics": ({}, {"report": {"metrics": ["f1", "top5"]}}),
    "other weights to keep": ({}, {"keep_weights": "none"}),
    "another set's name": ({}, {"synthetic": {"made": None, "other": {"generator": "vae"}}}),
    "an arm's name": (
        {"arms": {"one": {"train": {"epochs": 9}}}},
        {"arms": {"uno": {"train": {"epochs": 9}}}},
    ),
    "an arm and an axis": (
        {"arms": {"one": {"train": {"epochs": 9}}}},
        {"axes": {"train.epochs": [9]}},
    ),
}


def without_nothing(document: Document) -> Document:
    sets = {name: value for name, value in document["synthetic"].items() if value is not None}
    return {**document, "synthetic": sets}


@pytest.mark.parametrize("what", SAME)
def test_what_means_the_same_has_the_same_keys(what: str, tmp_path: Path) -> None:
    first, second = (steps_of(tmp_path, without_nothing(merge(BASE, each))) for each in SAME[what])
    assert set(first) == set(second)


@pytest.mark.parametrize("spelling", ["1e-3", "0.001", "1.0e-03", ".001"])
def test_numbers_are_read_as_numbers(spelling: str, tmp_path: Path) -> None:
    text = GOLDEN_STUDY.replace("epochs: 2", f"epochs: 2, lr: {spelling}")
    spec = loaded(tmp_path, text)
    plan = make_plan([spec], identify(sources(spec)), {})
    # 1e-3 is adamw's default.
    assert set(plan.steps) == set(GOLDEN_KEYS.values())


def test_the_name_of_a_study_is_in_no_key(tmp_path: Path) -> None:
    assert set(steps_of(tmp_path, BASE, "one")) == set(steps_of(tmp_path, BASE, "two"))


def test_the_order_of_sets_is_in_no_key(tmp_path: Path) -> None:
    both = merge(BASE, {"synthetic": {"other": {"generator": "vae", "seed": 1}}})
    first = steps_of(tmp_path, {**both, "sets": ["made", "other"]})
    second = steps_of(tmp_path, {**both, "sets": ["other", "made"]})
    assert set(first) == set(second)
    alone = steps_of(tmp_path, {**both, "sets": ["other"]})
    assert not kinds(alone, "trial") & kinds(first, "trial")


def test_axes_on_inert_settings_make_one_cell(tmp_path: Path) -> None:
    document = {**BASE, "variant": "real", "axes": {"synthetic.made.seed": [0, 1]}}
    plan = planned(loaded(tmp_path, document))
    assert len(plan.studies[0].cells) == 1
    assert plan.unique == 2


def test_other_sampling_reuses_the_fit(tmp_path: Path) -> None:
    one = steps_of(tmp_path, merge(BASE, nested((*GENERATOR_PLACE, "sampling"), {"batch_size": 8})))
    two = steps_of(tmp_path, BASE)
    assert kinds(one, "fit", "pack") == kinds(two, "fit", "pack")
    assert not kinds(one, "sample", "gather", "trial") & kinds(two, "sample", "gather", "trial")


def test_a_larger_set_reuses_the_fit(tmp_path: Path) -> None:
    one = steps_of(tmp_path, merge(BASE, {"synthetic": {"made": {"multiplier": 3}}}))
    assert kinds(one, "fit") == kinds(steps_of(tmp_path, BASE), "fit")


def test_the_set_and_the_trial_have_seeds_of_their_own(tmp_path: Path) -> None:
    here = steps_of(tmp_path, BASE)
    other_seeds = steps_of(tmp_path, {**BASE, "seeds": [2, 3]})
    made = ("pack", "fit", "sample", "gather")
    assert kinds(here, *made) == kinds(other_seeds, *made)
    assert not kinds(here, "trial") & kinds(other_seeds, "trial")


def test_another_test_split_trains_nothing_anew(tmp_path: Path) -> None:
    spec = loaded(tmp_path, BASE)
    other = {**INFO.splits, "test": SplitInfo(digest="other", counts=(1, 1, 1, 1))}
    infos = dict.fromkeys(sources(spec), replace(INFO, splits=other))
    here, there = planned(spec).steps, make_plan([spec], infos, {}).steps
    assert kinds(dict(here), "trial", "fit") == kinds(dict(there), "trial", "fit")
    assert not kinds(dict(here), "evaluate") & kinds(dict(there), "evaluate")


# Versions


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize("kind", OF_STUDIES)
def test_the_version_of_a_kind_of_step_is_in_its_keys_and_in_those_after(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = merge(EVERY_KIND, {"dataset": {"drop_test_duplicates": True}})
    before = steps_of(tmp_path, document)
    monkeypatch.setitem(VERSIONS, kind, VERSIONS[kind] + 1)
    forget()
    after = steps_of(tmp_path, document)
    assert not kinds(before, kind) & kinds(after, kind)
    same = kinds(before, "evaluate") & kinds(after, "evaluate")
    assert bool(same) == (kind in AFTER_TRIALS)


OF_DATA_ALONE = ("pack", "duplicates")


@pytest.mark.parametrize(
    ("kind", "name", "same", "partly"),
    [
        # The features of real images, and what they get as a set, stay what they are.
        ("generators", "vae", (*OF_DATA_ALONE, "extractor"), ("features", "fidelity")),
        ("classifiers", "small_cnn", (*OF_DATA_ALONE, "fit", "sample"), ()),
        (
            *("filters", "confidence", (*OF_DATA_ALONE, "fit", "sample", "extractor")),
            ("features", "fidelity"),
        ),
        ("extractors", "classifier", (*OF_DATA_ALONE, "fit", "sample", "extractor"), ()),
        ("datasets", "digits", (), ()),
    ],
)
def test_the_version_of_a_file_is_in_the_keys_that_rest_on_it(
    kind: str,
    name: str,
    same: tuple[str, ...],
    partly: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = steps_of(tmp_path, MEASURED)
    module = plugins.module(kind, name)
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    after = steps_of(tmp_path, MEASURED)
    changed = set(VERSIONS) - {*same, *partly}
    assert not kinds(before, *changed) & kinds(after, *changed)
    assert kinds(before, *same) == kinds(after, *same)


# Data


def write_png(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of twelve real PNG files."""
    for index in range(24):
        write_png(tmp_path / "real" / ("cat", "dog")[index % 2] / f"{index:02d}.png", index)
    return tmp_path / "real"


def folder_keys(root: Path, cache: Path) -> set[str]:
    document = {
        "question": "q",
        "dataset": {"name": "image_folder", "root": str(root)},
        "train": {"model": "small_cnn"},
    }
    spec = loaded(cache, document)
    return set(make_plan([spec], identify(sources(spec), cache / "files.sqlite"), {}).steps)


def test_equal_folders_have_equal_keys_wherever_they_are(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert folder_keys(folder, tmp_path) == folder_keys(tmp_path / "elsewhere", tmp_path)


def rewrite(root: Path) -> None:
    """Other bytes of the same length in place, with the old times put back."""
    path = root / "cat" / "00.png"
    old, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    # The clock of files ticks slowly: only a later change can be told by its time.
    while path.stat().st_ctime_ns == old.st_ctime_ns:
        path.write_bytes(data)
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_mtime_ns == old.st_mtime_ns
    assert path.stat().st_size == old.st_size


def replace_file(root: Path) -> None:
    """Another file moved over the old one, with its size and times."""
    path = root / "cat" / "00.png"
    old, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    aside = root.parent / "aside"
    aside.write_bytes(data)
    os.utime(aside, ns=(old.st_atime_ns, old.st_mtime_ns))
    aside.replace(path)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "changed in place": rewrite,
    "replaced": replace_file,
    "added": lambda root: write_png(root / "cat" / "99.png", 99),
    "added twice": lambda root: shutil.copy(root / "cat" / "00.png", root / "cat" / "99.png"),
    "removed": lambda root: (root / "cat" / "00.png").unlink(),
    "renamed": lambda root: (root / "cat" / "00.png").rename(root / "cat" / "zz.png"),
    "moved to another class": lambda root: (root / "cat" / "00.png").rename(
        root / "dog" / "00.png"
    ),
    "a class renamed": lambda root: (root / "cat").rename(root / "cow"),
    "swapped": lambda root: _swap(root / "cat" / "00.png", root / "cat" / "02.png"),
}


def _swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_are_noticed(change: str, folder: Path, tmp_path: Path) -> None:
    before = folder_keys(folder, tmp_path)
    assert folder_keys(folder, tmp_path) == before
    CHANGES[change](folder)
    assert folder_keys(folder, tmp_path) != before


def test_what_is_no_image_is_in_no_key(folder: Path, tmp_path: Path) -> None:
    before = folder_keys(folder, tmp_path)
    (folder / "cat" / "notes.txt").write_text("a list of cats")
    (folder / "README").write_text("cats and dogs")
    (folder / "cat" / ".hidden.png").write_bytes(b"x")
    os.utime(folder / "cat" / "00.png")
    assert folder_keys(folder, tmp_path) == before
