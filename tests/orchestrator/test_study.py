"""A study file becomes cells, or one line that says what is wrong in it and what would do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid import Cell, base_subset, candidates, cells
from orchestrator.models import model_label
from orchestrator.overlay import merge
from orchestrator.settings import EvaluationSet, FolderSet, GeneratedSet
from orchestrator.study import StudySpec, bundled, load_study
from tasks.errors import InputError

Load = Callable[..., StudySpec]

HEAD = "question: Does it help?\ndataset: digits\n"
PLAIN = HEAD + "train: {model: small_cnn}\n"
WITH_SET = PLAIN + "synthetic: {made: {generator: vae}}\n"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes a study to a file and loads it."""

    def write_and_load(text: str, *overrides: str, smoke: bool = False) -> StudySpec:
        path = tmp_path / "asked.yaml"
        path.write_text(text, encoding="utf-8")
        return load_study(str(path), overrides, smoke)

    return write_and_load


@pytest.fixture
def refusal(load: Load, tmp_path: Path) -> Callable[..., str]:
    """What is said of a broken study, after the name of its file."""

    def said(text: str, *overrides: str, smoke: bool = False) -> str:
        with pytest.raises(InputError) as caught:
            load(text, *overrides, smoke=smoke)
        message = str(caught.value)
        prefix = f"{tmp_path / 'asked.yaml'}: "
        assert message.startswith(prefix)
        assert "\n" not in message
        return message.removeprefix(prefix)

    return said


def only(spec: StudySpec) -> Cell:
    (cell,) = cells(spec)
    return cell


# What is read


@pytest.mark.parametrize("smoke", [False, True])
@pytest.mark.parametrize("name", bundled())
def test_bundled_studies_load(name: str, smoke: bool) -> None:
    spec = load_study(name, smoke=smoke)
    assert spec.name == (f"{name}-smoke" if smoke else name)
    assert spec.question.endswith("?")


def test_defaults(load: Load) -> None:
    spec = load(PLAIN)
    assert (spec.name, spec.question) == ("asked", "Does it help?")
    assert (spec.seeds, spec.metrics, spec.keep_weights) == ((0, 1, 2), ("top1",), "all")
    assert (spec.baseline, spec.best_of, spec.axis_names) == ({}, None, ())
    cell = only(spec)
    assert cell.coordinates == ()
    assert cell.settings.variant == "real"
    assert cell.settings.train.epochs == 30


def test_short_forms_are_whole_forms(load: Load) -> None:
    short = only(load(WITH_SET)).settings
    whole = only(
        load(
            "question: Q?\ndataset: {name: digits}\ntrain: {model: {name: small_cnn}}\n"
            "synthetic: {made: {generator: {name: vae, sampling: {}}}}\nsets: made\n"
        )
    ).settings
    assert short == whole


@pytest.mark.parametrize(
    "model",
    [
        "vit_b16",
        "vit_base_patch16_224",
        "vit_base_patch16_224.augreg2_in21k_ft_in1k",
        "{name: vit_b16}",
        "{name: timm, architecture: vit_b16}",
    ],
)
def test_aliases_are_resolved_with_their_tag(load: Load, model: str) -> None:
    found = only(load(HEAD + f"train: {{model: {model}}}")).settings.model
    assert found.name == "timm"
    assert model_label(found) == "vit_base_patch16_224.augreg2_in21k_ft_in1k"


def test_pretrained_goes_to_models_that_have_weights(load: Load) -> None:
    spec = load(PLAIN + "axes: {train.model: [small_cnn, resnet18]}", "train.pretrained=true")
    small, timm = (cell.settings.model for cell in cells(spec))
    assert not hasattr(small.config, "pretrained")
    assert timm.config.pretrained is True
    own = load(HEAD + "train: {model: {name: resnet18, pretrained: false}, pretrained: true}")
    assert only(own).settings.model.config.pretrained is False


def test_axes_expand_in_order_the_last_fastest(load: Load) -> None:
    spec = load(WITH_SET + "axes: {variant: [real, mixed], train.epochs: [1, 2]}")
    assert spec.axis_names == ("variant", "train.epochs")
    assert [tuple(value for _, value in cell.coordinates) for cell in cells(spec)] == [
        ("real", 1),
        ("real", 2),
        ("mixed", 1),
        ("mixed", 2),
    ]


def test_axes_reach_into_short_forms(load: Load) -> None:
    spec = load(
        WITH_SET + "axes: {train.model.width: [8, 16], synthetic.made.generator.steps: [2]}"
    )
    found = [cell.settings for cell in cells(spec)]
    assert [settings.model.config.width for settings in found] == [8, 16]
    made = found[0].sets[0][1]
    assert isinstance(made, GeneratedSet)
    assert made.generator.config.steps == 2


def test_arms_come_before_axes(load: Load) -> None:
    text = (
        PLAIN + "arms: {wide: {train: {model: {width: 48}}}, short: {train: {epochs: 1}}}\n"
        "axes: {train.batch_size: [8, 16]}\ncompare: {baseline: {arm: wide}}"
    )
    spec = load(text)
    assert spec.axis_names == ("arm", "train.batch_size")
    assert spec.baseline == {"arm": "wide"}
    found = cells(spec)
    assert [dict(cell.coordinates)["arm"] for cell in found] == ["wide", "wide", "short", "short"]
    assert [cell.settings.model.config.width for cell in found] == [48, 48, 24, 24]
    assert [cell.settings.train.epochs for cell in found] == [30, 30, 1, 1]
    assert [cell.settings.train.batch_size for cell in found] == [8, 16, 8, 16]


def test_settings_that_do_nothing_are_put_back(load: Load) -> None:
    """`variant: real` names no set, so that such cells collapse to one when they are planned."""
    text = PLAIN + "synthetic: {a: {generator: vae}, b: {generator: ddpm}}\n"
    spec = load(text + "axes: {sets: [a, b, [a, b]], variant: [real, mixed]}")
    found = cells(spec)
    assert len(found) == 6
    real = [cell.settings for cell in found if cell.settings.variant == "real"]
    assert len(real) == 3
    assert all(settings == real[0] for settings in real)
    assert real[0].sets == ()
    mixed = [cell.settings for cell in found if cell.settings.variant == "mixed"]
    assert [[name for name, _ in settings.sets] for settings in mixed] == [["a"], ["b"], ["a", "b"]]


def test_equal_cells_are_equal_however_they_are_written(load: Load) -> None:
    one = only(load(PLAIN + "subset: {fraction: 1}")).settings
    other = only(load(PLAIN + "subset: {fraction: 1.0, max_real: null}")).settings
    assert one == other == only(load(PLAIN + "subset:")).settings


def test_a_folder_is_a_set(load: Load) -> None:
    made = only(load(PLAIN + "synthetic: {a: {folder: images, skip_bad: true}}")).settings.sets[0][
        1
    ]
    assert isinstance(made, FolderSet)
    assert (made.reader.config.root, made.reader.config.skip_bad) == ("images", True)


def test_short_forms_are_whole_forms_in_every_section(load: Load) -> None:
    short = load(
        WITH_SET + "mixing: replace\nsubset: {imbalance: semi}\nevaluate_on: {other: digits}",
        "train.augmentation=rotation",
        "train.companion=cart",
    )
    whole = load(
        WITH_SET + "mixing: {name: replace}\nsubset: {imbalance: {name: semi, factor: null}}\n"
        "evaluate_on: {other: {name: digits, part: null, allow_missing: false}}",
        "train.augmentation=[{name: rotation}]",
        "train.companion={name: cart}",
    )
    assert only(short).settings == only(whole).settings
    assert short.evaluation_sets == whole.evaluation_sets
    (other,) = short.evaluation_sets
    assert isinstance(other, EvaluationSet)
    assert (other.name, other.part, other.allow_missing) == ("other", None, False)


def test_augmentations_come_in_their_order_and_only_those_applied(load: Load) -> None:
    text = "train.augmentation=[augmix, {name: mixup, probability: 0}, base, cutmix]"
    found = only(load(PLAIN, text)).settings.augmentations
    assert [each.name for each in found] == ["augmix", "base", "cutmix"]


def test_a_profile_has_its_own_factor(load: Load) -> None:
    spec = load(
        PLAIN + "axes: {subset.imbalance: [semi, long_tail, {name: long_tail, factor: 0.05}, null]}"
    )
    shapes = [cell.settings.subset.imbalance for cell in cells(spec)]
    assert [shape and shape.imbalance.factor for shape in shapes] == [0.1, 0.01, 0.05, None]


@pytest.mark.parametrize(("said", "folds"), [("", None), ("folds: null", None), ("folds: 5", 5)])
def test_folds(said: str, folds: int | None, load: Load) -> None:
    assert load(PLAIN + said).folds == folds


def test_smoke_may_say_other_test_sets_and_folds(load: Load) -> None:
    text = (
        PLAIN + "folds: 10\nevaluate_on: {other: {name: image_folder, root: a, part: all}}\n"
        "smoke: {folds: 2, evaluate_on: {other: {name: digits}}}"
    )
    small = load(text, smoke=True)
    assert small.folds == 2
    (other,) = small.evaluation_sets
    assert isinstance(other, EvaluationSet)
    assert (other.dataset.reader.name, other.part) == ("digits", None)


def test_baseline_is_spelled_as_the_axis_is(load: Load) -> None:
    spec = load(
        PLAIN + "axes: {subset.fraction: [0.5, 1]}\ncompare: {baseline: {subset.fraction: 1.0}}"
    )
    assert repr(spec.baseline["subset.fraction"]) == "1"


# Smoke and --set


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"name": "n", "x": 1}}, {"a": {"name": "n", "y": 2}}, None),
        ({"a": {"name": "n", "x": 1}}, {"a": {"name": "m"}}, {"a": {"name": "m"}}),
        ({"a": {"name": "n", "x": 1}}, {"a": "m"}, {"a": "m"}),
        ({"a": "n"}, {"a": {"x": 1}}, {"a": {"name": "n", "x": 1}}),
        ({"a": "n"}, {"a": {"name": "m"}}, {"a": {"name": "m"}}),
        ({"a": {"folder": "f"}}, {"a": {"generator": "g"}}, {"a": {"generator": "g"}}),
        ({"a": {"generator": "g"}}, {"a": {"folder": "f"}}, {"a": {"folder": "f"}}),
        ({"a": {"best_of": {"study": "s"}}}, {"a": {"name": "n"}}, {"a": {"name": "n"}}),
        ({"a": "n"}, {"a": {"best_of": {"study": "s"}}}, {"a": {"best_of": {"study": "s"}}}),
    ],
)
def test_merge(base: dict[str, Any], over: dict[str, Any], merged: dict[str, Any] | None) -> None:
    before = repr(base)
    expected = {"a": {"name": "n", "x": 1, "y": 2}} if merged is None else merged
    assert merge(base, over) == expected
    assert repr(base) == before


def test_smoke_shrinks_only_when_asked(load: Load) -> None:
    text = (
        PLAIN + "synthetic: {made: {folder: images}}\n"
        "smoke: {train: {epochs: 1, model: {width: 8}}, synthetic: {made: {generator: vae}}}"
    )
    whole, small = only(load(text)).settings, only(load(text, smoke=True)).settings
    assert (whole.train.epochs, whole.model.config.width) == (30, 24)
    assert (small.train.epochs, small.model.config.width) == (1, 8)
    assert isinstance(whole.sets[0][1], FolderSet)
    assert isinstance(small.sets[0][1], GeneratedSet)
    assert load(text, smoke=True).name == "asked-smoke"


def test_set_is_parsed_as_the_file_is_and_comes_after_smoke(load: Load) -> None:
    text = PLAIN + "smoke: {train: {lr: 1}}"
    spec = load(text, "train.lr=1e-3", "train.model.width=8", " seeds = [4] ", smoke=True)
    assert spec.seeds == (4,)
    assert only(spec).settings.train.lr == 0.001
    assert only(spec).settings.model.config.width == 8
    assert spec.overrides == ("train.lr=1e-3", "train.model.width=8", " seeds = [4] ")


def test_set_of_an_axis_replaces_or_adds_it(load: Load) -> None:
    text = WITH_SET + "axes: {variant: [real, mixed]}"
    spec = load(text, "axes.variant=[mixed]", "axes.train.epochs=[1, 2]")
    assert spec.axes == {"variant": ("mixed",), "train.epochs": (1, 2)}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epochs", "--set 'train.epochs': write path=value, such as train.epochs=10"),
        ("=3", "--set '=3': write path=value"),
        ("train..epochs=3", "--set 'train..epochs=3': write path=value"),
        ("variant=real", "--set variant: 'variant' is an axis of this study; say --set "),
        ("train.model=small_cnn", "--set train.model: 'train.model.width' is an axis of this"),
        ("train.model.width.x=1", "--set train.model.width.x: 'train.model.width' is an axis"),
        ("seeds.x=1", "--set 'seeds.x=1': seeds: a mapping was expected, not [0]"),
        ("train.epochs=[1", "--set 'train.epochs=[1': line 1, column 3: not YAML"),
        ("train.epochs=", "train.epochs: a whole number was expected, not nothing"),
        ("train.epcohs=1", "train.epcohs: unknown key 'epcohs'; did you mean 'epochs'?"),
        ("question.x=1", "question: a sentence was expected, not a mapping of name, x"),
    ],
)
def test_set_refusals(refusal: Callable[..., str], override: str, said: str) -> None:
    text = WITH_SET + "seeds: [0]\naxes: {variant: [real], train.model.width: [8]}"
    assert refusal(text, override).startswith(said)


def test_smoke_must_be_there_and_be_a_mapping(refusal: Callable[..., str]) -> None:
    assert refusal(PLAIN, smoke=True).startswith("smoke: this study has no smoke section")
    assert (
        refusal(PLAIN + "smoke: small", smoke=True) == "smoke: a mapping was expected, not 'small'"
    )


# best_of


def siblings(folder: Path, second: str, first: str = "axes: {train.epochs: [1, 2]}") -> str:
    (folder / "first.yaml").write_text(PLAIN + first, encoding="utf-8")
    path = folder / "second.yaml"
    path.write_text(second, encoding="utf-8")
    return str(path)


def test_best_of_takes_a_value_of_the_sibling(tmp_path: Path) -> None:
    text = HEAD + "train: {model: small_cnn, epochs: {best_of: {study: first}}}"
    spec = load_study(siblings(tmp_path, text))
    assert spec.best_of is not None
    assert (spec.best_of.path, spec.best_of.metric) == ("train.epochs", "val_top1")
    assert candidates(spec) == (1, 2)
    assert [cells(spec, value)[0].settings.train.epochs for value in candidates(spec)] == [1, 2]


def test_best_of_may_decide_the_subset(tmp_path: Path) -> None:
    text = PLAIN + "subset: {fraction: {best_of: {study: first}}}"
    spec = load_study(siblings(tmp_path, text, "axes: {subset.fraction: [0.5, 1]}"))
    assert base_subset(spec, 0.5).fraction == 0.5


def test_every_candidate_is_checked(tmp_path: Path) -> None:
    axes = "synthetic: {made: {generator: vae}}\naxes: {variant: [real, mixed]}"
    path = siblings(tmp_path, PLAIN + "variant: {best_of: {study: first}}", axes)
    with pytest.raises(InputError, match="sets: variant 'mixed' must say which set"):
        load_study(path)


def test_an_axis_beside_best_of_is_refused(tmp_path: Path) -> None:
    text = (
        PLAIN.replace("small_cnn", "{best_of: {study: first}}") + "axes: {train.model.width: [8]}"
    )
    path = siblings(tmp_path, text, "axes: {train.model: [small_cnn, resnet18]}")
    with pytest.raises(InputError, match=r"best_of decides train\.model already"):
        load_study(path)


@pytest.mark.parametrize(
    ("best_of", "said"),
    [
        ("{study: frist}", "train.epochs.best_of.study: frist: there is no such file"),
        ("{study: first, metric: top1}", "train.epochs.best_of.metric: 'top1' selects nothing"),
        ("{study: 5}", "train.epochs.best_of: {study: NAME, metric: val_top1} was expected"),
        ("first", "train.epochs.best_of: {study: NAME, metric: val_top1} was expected"),
        ("{study: quickstart}", "train.epochs.best_of: study 'quickstart' has no axis"),
        ("{study: second}", "train.epochs.best_of.study: second.yaml: best_of goes round"),
        ("{study: asked}", "train.epochs.best_of.study: asked: there is no such file"),
    ],
)
def test_best_of_refusals(tmp_path: Path, best_of: str, said: str) -> None:
    text = HEAD + f"train: {{model: small_cnn, epochs: {{best_of: {best_of}}}}}"
    path = siblings(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_study(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_best_of_stands_in_the_study_once(refusal: Callable[..., str]) -> None:
    best = "{best_of: {study: architecture}}"
    assert refusal(HEAD + f"train: {{model: {best}, epochs: {best}}}").startswith(
        "train.epochs: a study takes one setting with best_of"
    )
    assert refusal(PLAIN + f"arms: {{a: {{train: {{model: {best}}}}}}}").startswith(
        "arms.a.train.model: best_of stands in the study itself, not in arms"
    )
    assert refusal(PLAIN + f"axes: {{train.model: [{best}]}}").startswith(
        "axes.train.model: best_of stands in the study itself, not in axes"
    )


# What is refused: the path in the file, the value, and what would do

OF_TRAIN = [
    ("epochs: 30.0", "train.epochs: a whole number was expected, not 30.0"),
    ("epochs: '3'", "train.epochs: a whole number was expected, not '3'"),
    ("epochs: true", "train.epochs: a whole number was expected, not true"),
    ("epochs: null", "train.epochs: a whole number was expected, not nothing"),
    ("epochs: {a: 1}", "train.epochs: a whole number was expected, not a mapping of a"),
    ("epochs: 0", "train.epochs: a number of at least 1 was expected, not 0"),
    ("lr: 0", "train.lr: a number greater than 0 was expected, not 0"),
    ("lr: fast", "train.lr: a number was expected, not 'fast'"),
    ("lr: .nan", "train.lr: a finite number was expected, not nan"),
    ("lr: 1e999", "train.lr: a finite number was expected, not inf"),
    ("momentum: 1", "train.momentum: a number less than 1 was expected, not 1"),
    ("input_size: 4096", "train.input_size: a number of at most 2048 was expected, not 4096"),
    ("pretrained: 3", "train.pretrained: true or false was expected, not 3"),
    ("optimizer: adamww", "train.optimizer: 'adamww' is unknown; did you mean 'adamw'?"),
    ("optimizer: 3", "train.optimizer: 3 is unknown; choose from: adam, adamw, lamb, lion"),
    ("ema: 1", "train.ema: a number less than 1 was expected, not 1"),
    ("clip_grad: 0", "train.clip_grad: a number greater than 0 was expected, not 0"),
    ("precision: half", "train.precision: 'half' is unknown; choose from: auto, bfloat16"),
    (
        "batch_size: 8, accumulate: 5",
        "train: accumulate: 5 leaves fewer than the two images that batch norm needs in a "
        "micro-batch; batch_size 8 allows 4",
    ),
    (
        "epochs: 5, warmup_epochs: 5",
        "train: warmup_epochs: 5 of 5 epochs leaves none at the full rate: give fewer",
    ),
    ("schedule: step", "train: schedule: step and milestones go together: give both, or neither"),
    ("milestones: [2]", "train: schedule: step and milestones go together: give both, or neither"),
    ("schedule: step, milestones: [6, 3]", "train: milestones must rise, such as [60, 120, 160]"),
    ("schedule: step, milestones: [3, 3]", "train: milestones must rise, such as [60, 120, 160]"),
    (
        "schedule: step, milestones: [3, 0]",
        "train.milestones[1]: a number of at least 1 was expected, not 0",
    ),
    ("stages: []", "train: stages is empty: name one or more, or leave it out"),
    ("stages: [real]", "train.stages[0]: a mapping was expected, not 'real'"),
    ("stages: [{variant: real}]", "train.stages[0].epochs: is missing"),
    (
        "stages: [{variant: rael, epochs: 1}]",
        "train.stages[0].variant: 'rael' is unknown; did you mean 'real'?",
    ),
    (
        "stages: [{variant: real, epochs: 1, varaint: real}]",
        "train.stages[0].varaint: unknown key 'varaint'; did you mean 'variant'?",
    ),
    (
        "epochs: 3, stages: [{variant: real, epochs: 2}]",
        "train: the stages add up to 2 epochs, train.epochs is 3: they must be equal",
    ),
    ("companion: tree", "train.companion.name: unknown companion 'tree'; choose from: cart"),
    (
        "companion: {name: cart, depth: 3}",
        "train.companion.depth: unknown key 'depth'; did you mean 'max_depth'?",
    ),
    ("companion: [cart]", "train.companion: a name or a mapping was expected, not ['cart']"),
    ("epoch: 3", "train.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
]
OF_AUGMENTATION = [
    ("mixpu", "train.augmentation.name: unknown augmentation 'mixpu'; did you mean 'mixup'?"),
    ("5", "train.augmentation: a name or a mapping was expected, not 5"),
    ("{alpha: 1}", "train.augmentation.name: is missing; choose from: albumentations, augmix"),
    ("[mixup, 5]", "train.augmentation[1]: a name or a mapping was expected, not 5"),
    (
        "[rotation, {name: mixup, alfa: 1}]",
        "train.augmentation[1].alfa: unknown key 'alfa'; did you mean 'alpha'?",
    ),
    (
        "{name: mixup, probability: 2}",
        "train.augmentation.probability: a number of at most 1 was expected, not 2",
    ),
    (
        "[mixup, randaugment]",
        "train.augmentation: mixup changes whole batches and randaugment single images before "
        "them: put randaugment first",
    ),
    (
        "[augmix, {name: cutmix, probability: 0}, trivialaugment]",
        "train.augmentation: cutmix changes whole batches and trivialaugment single images before",
    ),
]
OF_MODEL = [
    ("smal_cnn", "train.model: unknown model 'smal_cnn'; did you mean 'small_cnn'?"),
    ("resnet5O", "train.model: unknown model 'resnet5O'; did you mean 'resnet50'?"),
    ("qqqqqqqq", "train.model: unknown model 'qqqqqqqq'; say small_cnn or transformers, or a timm"),
    ("resnet50.foo", "train.model: unknown model 'resnet50.foo'; timm has no weights 'foo' of"),
    ("5", "train.model: a name or a mapping was expected, not 5"),
    ("{width: 3}", "train.model.name: is missing; say small_cnn or transformers, or a timm name"),
    ("{name: 5}", "train.model.name: a name was expected, not 5; say small_cnn"),
    ("{name: small_cnn, widht: 8}", "train.model.widht: unknown key 'widht'; did you mean 'width'"),
    (
        "{name: small_cnn, width: 1}",
        "train.model.width: a number of at least 4 was expected, not 1",
    ),
    ("{name: timm, architecture: 5}", "train.model.architecture: a timm name was expected, not 5"),
    ("{name: resnet50, architecture: x}", "train.model.architecture: 'resnet50' names it already"),
    ("{name: test_vit, pretrained: 1}", "train.model.pretrained: true or false was expected"),
]
OF_DATASET = [
    ("digts", "dataset.name: unknown dataset 'digts'; did you mean 'digits'?"),
    ("5", "dataset: a name or a mapping was expected, not 5"),
    ("{size: 8}", "dataset.name: is missing; choose from: cifar10, cifar100, csv, cub200, digits"),
    ("image_folder", "dataset.root: is missing"),
    ("{name: image_folder, root: 5}", "dataset.root: text was expected, not 5"),
    ("{name: digits, size: 2}", "dataset.size: a number of at least 4 was expected, not 2"),
    ("{name: digits, split_sed: 1}", "dataset.split_sed: unknown key 'split_sed'; did you mean"),
    ("{name: digits, mean: [0.5]}", "dataset: mean and std go together: give both, or neither"),
    (
        "{name: digits, mean: [0.5, 0.5], std: [1, 1]}",
        "dataset: mean and std hold one number for grey images, three for colour",
    ),
    ("{name: digits, mean: [0.5], std: [0]}", "dataset: std holds 0, which cannot be divided by"),
    (
        "{name: digits, mean: [127], std: [1]}",
        "dataset.mean[0]: a number of at most 1 was expected, not 127",
    ),
    ("{name: digits, grayscale: 1}", "dataset.grayscale: true or false was expected, not 1"),
    (
        "{name: digits, drop_test_duplicates: exact}",
        "dataset.drop_test_duplicates: true or false was expected, not 'exact'",
    ),
]
OF_SET = [
    ("5", "synthetic.a: a mapping was expected, not 5"),
    ("{seed: 1}", "synthetic.a: needs one of generator, editor, folder, has none"),
    (
        "{folder: x, generator: vae}",
        "synthetic.a: needs one of generator, editor, folder, has generator",
    ),
    ("{folder: 5}", "synthetic.a.folder: the path of a folder was expected, not 5"),
    ("{folder: x, skip_bad: 3}", "synthetic.a.skip_bad: true or false was expected, not 3"),
    ("{folder: x, seed: 3}", "synthetic.a.seed: unknown key 'seed'; choose from: folder, skip_bad"),
    (
        "{generator: vea}",
        "synthetic.a.generator.name: unknown generator 'vea'; did you mean 'vae'?",
    ),
    ("{generator: vae, sed: 1}", "synthetic.a.sed: unknown key 'sed'; did you mean 'seed'?"),
    ("{generator: vae, multiplier: 0.5}", "synthetic.a.multiplier: a whole number was expected"),
    ("{generator: vae, multiplier: 1, per_class: 1}", "synthetic.a: multiplier and per_class both"),
    (
        "{generator: {name: ddpm, stps: 1}}",
        "synthetic.a.generator.stps: unknown key 'stps'; did you",
    ),
    (
        "{generator: {name: ddpm, channels: [32, x]}}",
        "synthetic.a.generator.channels[1]: a whole number was expected, not 'x'",
    ),
    (
        "{generator: {name: ddpm, channels: 32}}",
        "synthetic.a.generator.channels: a list was expected, not 32",
    ),
    (
        "{generator: {name: ddpm, channels: [31]}}",
        "synthetic.a.generator: channels=[31]: each must be a multiple of 8",
    ),
    (
        "{generator: {name: ddpm, sampling: {steps: 33}}}",
        "synthetic.a.generator.sampling: steps=33 does not divide timesteps=1000",
    ),
    (
        "{generator: {name: ddpm, sampling: {sampler: dim}}}",
        "synthetic.a.generator.sampling.sampler: 'dim' is unknown; did you mean 'ddim'?",
    ),
    (
        "{generator: {name: vae, sampling: 3}}",
        "synthetic.a.generator.sampling: a mapping was expected, not 3",
    ),
]
OF_THE_REST = [
    ("trian: {}", "trian: unknown key 'trian'; did you mean 'train'?"),
    ("subset: 5", "subset: a mapping was expected, not 5"),
    ("subset: {fraction: 1.5}", "subset.fraction: a number of at most 1 was expected, not 1.5"),
    ("subset: {max: 3}", "subset.max: unknown key 'max'; did you mean 'max_real'?"),
    ("subset: {max_synth: 0}", "subset.max_synth: a number of at least 1 was expected, not 0"),
    ("subset: {imbalance: 5}", "subset.imbalance: a name or a mapping was expected, not 5"),
    (
        "subset: {imbalance: longtail}",
        "subset.imbalance.name: 'longtail' is unknown; did you mean 'long_tail'?",
    ),
    ("subset: {imbalance: {factor: 0.1}}", "subset.imbalance.name: is missing"),
    (
        "subset: {imbalance: {name: step, factor: 10}}",
        "subset.imbalance.factor: a number of at most 1 was expected, not 10",
    ),
    (
        "subset: {imbalance: {name: step, facto: 0.1}}",
        "subset.imbalance.facto: unknown key 'facto'; did you mean 'factor'?",
    ),
    ("mixing: replcae", "mixing.name: 'replcae' is unknown; did you mean 'replace'?"),
    ("mixing: 0.5", "mixing: a name or a mapping was expected, not 0.5"),
    ("mixing: {raito: 0.5}", "mixing.raito: unknown key 'raito'; did you mean 'ratio'?"),
    ("mixing: {ratio: 0.5}", "mixing: ratio belongs to `name: replace`: leave it out, or say so"),
    (
        "mixing: {name: replace, ratio: 1}",
        "mixing.ratio: a number less than 1 was expected, not 1",
    ),
    (
        "mixing: {synthetic_probability: 0.5}",
        "mixing: synthetic_probability belongs to `name: swap`: leave it out, or say so",
    ),
    ("mixing: {loss_weight: 0}", "mixing.loss_weight: a number greater than 0 was expected, not 0"),
    ("mixing: {soft_label: 1.5}", "mixing.soft_label: a number of at most 1 was expected, not 1.5"),
    ("folds: 1", "folds: a whole number from 2 to 100 was expected, not 1"),
    ("folds: 5.0", "folds: a whole number from 2 to 100 was expected, not 5.0"),
    ("folds: true", "folds: a whole number from 2 to 100 was expected, not true"),
    ("evaluate_on: [a]", "evaluate_on: a mapping was expected, not ['a']"),
    ("evaluate_on: {a: 5}", "evaluate_on.a: a name or a mapping was expected, not 5"),
    (
        "evaluate_on: {a: {name: digits, splt: test}}",
        "evaluate_on.a.splt: unknown key 'splt'; did you mean",
    ),
    (
        "evaluate_on: {a: {name: digits, part: 5}}",
        "evaluate_on.a.part: a name was expected, not 5",
    ),
    (
        "evaluate_on: {a: {name: digits, allow_missing: 5}}",
        "evaluate_on.a.allow_missing: true or false was expected, not 5",
    ),
    (
        "evaluate_on: {a: {name: digits, val_fraction: 0.2}}",
        "evaluate_on.a.val_fraction: is that of the dataset itself: leave it out here",
    ),
    ("variant: rael", "variant: 'rael' is unknown; did you mean 'real'?"),
    ("variant: mixed", "sets: variant 'mixed' must say which set; there are: none"),
    ("sets: made", "sets: unknown set 'made'; there are none to choose from"),
    ("sets: [[a]]", "sets: unknown set ['a']"),
    ("sets: 5", "sets: a list of set names was expected, not 5"),
    ("synthetic: [a]", "synthetic: a mapping was expected, not ['a']"),
    ("axes: [a]", "axes: a mapping was expected, not ['a']"),
    ("axes: {variant: real}", "axes.variant: a list with at least one value was expected, not"),
    ("axes: {train.epochs: []}", "axes.train.epochs: a list with at least one value was expected"),
    ("axes: {train.epochs: [1, 1]}", "axes.train.epochs: a value stands twice in [1, 1]"),
    ("axes: {trian.epochs: [1]}", "axes.trian.epochs: unknown path 'trian.epochs'; did you mean"),
    ("axes: {train.epochs: [1], train: [{}]}", "axes.train.epochs: lies inside the axis 'train'"),
    ("arms: [a]", "arms: a mapping was expected, not ['a']"),
    ("arms: {a: 5}", "arms.a: a mapping was expected, not 5"),
    ("arms: {a: {trian: {}}}", "arms.a.trian: unknown key 'trian'; did you mean 'train'?"),
    (
        "seeds: 3",
        "seeds: a list of different whole numbers from 0 to 4294967295 was expected, not 3",
    ),
    (
        "seeds: [1, 1]",
        "seeds: a list of different whole numbers from 0 to 4294967295 was expected, not [1, 1]",
    ),
    (
        "seeds: [0.0]",
        "seeds: a list of different whole numbers from 0 to 4294967295 was expected, not [0.0]",
    ),
    ("compare: real", "compare: {baseline: {axis: value}} was expected, not 'real'"),
    ("compare: {baseline: {}}", "compare.baseline: is empty; say {axis: value}"),
    ("compare: {baseline: real}", "compare.baseline: a mapping was expected, not 'real'"),
    ("report: [top1]", "report: a mapping was expected, not ['top1']"),
    ("report: {metrics: top1}", "report.metrics: a list of names was expected, not 'top1'"),
    ("report: {metrics: [top2]}", "report.metrics: unknown metric 'top2'; did you mean"),
    ("report: {metric: [top1]}", "report.metric: unknown key 'metric'; did you mean 'metrics'?"),
    ("keep_weights: slected", "keep_weights: 'slected' is unknown; did you mean 'selected'?"),
]
BROKEN = [
    *((HEAD + f"train: {{model: small_cnn, {line}}}", said) for line, said in OF_TRAIN),
    *((HEAD + f"train: {{model: {line}}}", said) for line, said in OF_MODEL),
    *(
        (HEAD + f"train: {{model: small_cnn, augmentation: {line}}}", said)
        for line, said in OF_AUGMENTATION
    ),
    *((PLAIN.replace("digits", line), said) for line, said in OF_DATASET),
    *((PLAIN + f"synthetic: {{a: {line}}}", said) for line, said in OF_SET),
    *((PLAIN + line, said) for line, said in OF_THE_REST),
    (HEAD + "train: small_cnn", "train: a mapping was expected, not 'small_cnn'"),
    (HEAD, "train.model: is missing; small_cnn or a timm name such as resnet50"),
    ("question: Q?\ntrain: {model: small_cnn}", "dataset: is missing; choose from: cifar10"),
    ("dataset: digits", "question: is missing; say in one sentence what the study asks"),
    ("question: [a]", "question: a sentence was expected, not ['a']"),
    ("- a", "a study is a mapping, not ['a']; see `augury schema`"),
    ("", "a study is a mapping, not nothing; see `augury schema`"),
    ("a: 1\na: 2", "line 2: the key 'a' stands twice: keep one"),
    ("a: [1", "line 1, column 6: not YAML"),
]


@pytest.mark.parametrize(("text", "said"), BROKEN, ids=[said[:40] for _, said in BROKEN])
def test_refusals(refusal: Callable[..., str], text: str, said: str) -> None:
    assert refusal(text).startswith(said)


@pytest.mark.parametrize("train", ["model: {name: resnet18, pretrained: true}", "model: resnet18"])
def test_initialisation_is_for_training_from_scratch(
    train: str, refusal: Callable[..., str]
) -> None:
    text = f"{HEAD}train: {{{train}, pretrained: true, initialisation: he}}"
    assert refusal(text).startswith("train.initialisation: is for training from scratch")


def test_baselines_must_be_on_the_grid(refusal: Callable[..., str]) -> None:
    text = PLAIN + "axes: {train.epochs: [1, 2]}\ncompare: {baseline: {%s}}"
    assert refusal(text % "train.epoch: 1") == (
        "compare.baseline.train.epoch: is no axis; did you mean 'train.epochs'?"
    )
    assert refusal(text % "train.epochs: 3") == (
        "compare.baseline.train.epochs: 3 is not on the axis; it holds [1, 2]"
    )
    assert "choose from: arm" in refusal(PLAIN + "arms: {a: {}}\ncompare: {baseline: {x: a}}")


def test_an_error_of_one_cell_names_it(refusal: Callable[..., str]) -> None:
    axes = PLAIN + "axes: {train.epochs: [1, 2.5]}"
    assert refusal(axes).endswith("not 2.5 (in the cell train.epochs=2.5)")
    arms = PLAIN + "arms: {good: {}, bad: {train: {model: vit_b17}}}"
    assert refusal(arms).endswith("did you mean 'vit_b16'? (in the cell arm='bad')")
    of_all = HEAD + "train: {model: vit_b17}\narms: {one: {}}\naxes: {train.epochs: [1, 2]}"
    assert "in the cell" not in refusal(of_all)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^quickstrat: there is no such file.*'quickstart'\?$"):
        load_study("quickstrat")
    with pytest.raises(InputError, match=r"is a folder; name a study file in it$"):
        load_study(str(tmp_path))
    with pytest.raises(InputError, match="there is no such file"):
        load_study("x" * 5000)
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"question: \xe9t\xe9\n")
    with pytest.raises(InputError, match=r"latin\.yaml: not UTF-8 text"):
        load_study(str(path))


def test_a_folder_of_a_bundled_study_s_name_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quickstart").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_study("quickstart").name == "quickstart"
