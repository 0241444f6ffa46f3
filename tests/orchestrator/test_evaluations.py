"""What trials are tested on: the test split, folds of the train split, and further test sets."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.inputs import placeholder
from orchestrator.overlay import merge
from orchestrator.plan import Plan, Step, make_plan, needed, sources
from orchestrator.study import StudySpec, load_study
from tasks.errors import InputError
from tasks.specs import (
    DatasetInfo,
    DuplicatesSpec,
    EvaluateSpec,
    FitSpec,
    Key,
    PackSpec,
    SplitInfo,
    TrialSpec,
)

Document = dict[str, Any]


def info_of(classes: str = "abcd", **splits: tuple[int, ...]) -> DatasetInfo:
    return DatasetInfo(
        classes=tuple(classes),
        splits={
            name: SplitInfo(digest=f"{name} {counts}", counts=counts)
            for name, counts in splits.items()
        },
    )


INFO = info_of(train=(10, 21, 32, 43), test=(5, 5, 5, 5))
WITH_VAL = info_of(train=(10, 21, 32, 43), val=(4, 4, 4, 4), test=(5, 5, 5, 5))
OTHER = info_of("dcba", train=(1, 1, 1, 1), test=(7, 7, 7, 7))
"""The same classes in another order."""

BASE: Document = {
    "question": "q",
    "dataset": {"name": "image_folder", "root": "real"},
    "train": {"model": "small_cnn", "epochs": 2, "batch_size": 10},
    "seeds": [0, 1],
}
FURTHER: Document = {"evaluate_on": {"drawn": {"name": "image_folder", "root": "drawn"}}}
MADE: Document = {"synthetic": {"made": {"generator": "vae"}}, "variant": "mixed"}


def loaded(folder: Path, *changes: Mapping[str, Any]) -> StudySpec:
    document = BASE
    for each in changes:
        document = merge(document, each)
    path = folder / "study.yaml"
    path.write_text(json.dumps(document))
    return load_study(str(path))


def planned(spec: StudySpec, info: DatasetInfo = INFO, other: DatasetInfo = OTHER) -> Plan:
    infos = {source: other if source.config.root == "drawn" else info for source in sources(spec)}
    return make_plan([spec], infos, {})


def of_kind(plan: Plan, kind: str) -> dict[Key, Step]:
    return {key: step for key, step in plan.steps.items() if step.kind == kind}


def keys_of(plan: Plan, kind: str) -> set[Key]:
    return set(of_kind(plan, kind))


def trials_of(plan: Plan) -> list[TrialSpec]:
    return [s.spec for s in of_kind(plan, "trial").values() if isinstance(s.spec, TrialSpec)]


def evaluations_of(plan: Plan) -> list[EvaluateSpec]:
    found = [step.spec for step in of_kind(plan, "evaluate").values()]
    return [spec for spec in found if isinstance(spec, EvaluateSpec)]


def packs_of(plan: Plan) -> dict[tuple[str, str], PackSpec]:
    """By root and split."""
    found = [step.spec for step in of_kind(plan, "pack").values()]
    specs = [spec for spec in found if isinstance(spec, PackSpec)]
    return {(spec.reader.config.root, spec.split): spec for spec in specs}


# Folds


def test_each_image_is_held_out_once_at_each_seed(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, {"folds": 5}))
    assert (plan.requested, plan.unique) == (10, 10)
    (cell,) = plan.studies[0].cells
    assert [(trial.seed, trial.fold) for trial in cell.trials] == [
        (seed, fold) for seed in (0, 1) for fold in range(5)
    ]
    held = [spec.held_out.fold for spec in evaluations_of(plan) if spec.held_out is not None]
    assert sorted(map(str, held)) == sorted(str((fold, 5)) for fold in range(5) for _ in range(2))
    per_step = [step.size for step in of_kind(plan, "evaluate").values()]
    assert sum(per_step) == 2 * 106


def test_a_fold_is_neither_trained_on_nor_validated_on(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, {"folds": 3}))
    for trial in trials_of(plan):
        images = trial.cell.images
        assert images.fold is not None
        index, of = images.fold
        for label, number in enumerate((10, 21, 32, 43)):
            out = number * (index + 1) // of - number * index // of
            assert images.validation[label] + images.training[label] == number - out
    assert {spec.test for spec in evaluations_of(plan)} == {trials_of(plan)[0].cell.images.pack}
    assert ("real", "test") not in packs_of(plan)


@pytest.mark.parametrize("match", ["steps", "epochs"])
def test_all_folds_train_for_as_long(match: str, tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, {"folds": 7, "train": {"batch_size": 1, "match": match}}))
    sizes = {sum(trial.cell.images.training) for trial in trials_of(plan)}
    assert len(sizes) > 1
    assert len({trial.cell.recipe.steps for trial in trials_of(plan)}) == 1


def test_a_generator_is_fitted_for_each_fold_and_shared_by_seeds(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, MADE, {"folds": 4}))
    fits = [s.spec for s in of_kind(plan, "fit").values() if isinstance(s.spec, FitSpec)]
    assert sorted(str(fit.images.fold) for fit in fits) == [f"({i}, 4)" for i in range(4)]
    for trial in trials_of(plan):
        gathered = plan.steps[trial.cell.sets[0].pack]
        shard = plan.steps[gathered.needs[0]]
        fit = next(plan.steps[need] for need in shard.needs if plan.steps[need].kind == "fit")
        assert isinstance(fit.spec, FitSpec)
        assert fit.spec.images == trial.cell.images


def test_folds_and_a_test_split_share_no_trial(tmp_path: Path) -> None:
    folds, plain = planned(loaded(tmp_path, {"folds": 2})), planned(loaded(tmp_path))
    assert not keys_of(folds, "trial") & keys_of(plain, "trial")
    assert keys_of(folds, "pack") < keys_of(plain, "pack")


def test_equal_cells_are_one_in_every_fold(tmp_path: Path) -> None:
    axes = {"axes": {"variant": ["real", "mixed"], "synthetic.made.seed": [0, 1]}}
    plan = planned(loaded(tmp_path, MADE, axes, {"folds": 2}))
    assert len(plan.studies[0].cells) == 3
    assert plan.unique == 3 * 2 * 2


def test_folds_need_no_test_split(tmp_path: Path) -> None:
    info = info_of(train=(10, 10, 10, 10), test=(0, 0, 0, 0))
    assert planned(loaded(tmp_path, {"folds": 2}), info).unique == 4
    with pytest.raises(InputError, match="dataset: no image is left to test on"):
        planned(loaded(tmp_path), info)


def test_more_folds_than_images_are_refused(tmp_path: Path) -> None:
    info = info_of(train=(3, 3, 3, 3), test=(1, 1, 1, 1))
    with pytest.raises(InputError, match=r"folds: fold 0 of 5 holds no image.*: say fewer folds"):
        planned(loaded(tmp_path, {"folds": 5}), info)


# Validation images that come apart


def test_validation_images_have_a_pack_of_their_own(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, MADE), WITH_VAL)
    packs = packs_of(plan)
    assert set(packs) == {("real", "train"), ("real", "val"), ("real", "test")}
    (trial, _) = trials_of(plan)
    images = trial.cell.images
    assert images.validation == (4, 4, 4, 4)
    assert images.training == (10, 21, 32, 43)
    assert images.validation_pack is not None
    for key in keys_of(plan, "trial"):
        assert images.validation_pack in plan.steps[key].needs
    assert plan.studies[0].num_validation == 16


def test_val_fraction_does_nothing_beside_them(tmp_path: Path) -> None:
    one, two = (
        planned(loaded(tmp_path, {"dataset": {"val_fraction": fraction}}), WITH_VAL)
        for fraction in (0.1, 0.5)
    )
    assert set(one.steps) == set(two.steps)


def test_other_validation_images_train_anew(tmp_path: Path) -> None:
    splits = {**WITH_VAL.splits, "val": SplitInfo(digest="new", counts=(4, 4, 4, 4))}
    here, there = (
        planned(loaded(tmp_path), info) for info in (WITH_VAL, replace(WITH_VAL, splits=splits))
    )
    assert not keys_of(here, "trial") & keys_of(there, "trial")


def test_folds_leave_them_whole(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, {"folds": 2}), WITH_VAL)
    assert {trial.cell.images.validation for trial in trials_of(plan)} == {(4, 4, 4, 4)}
    assert {sum(trial.cell.images.training) for trial in trials_of(plan)} == {52, 54}


# Further test sets


def test_further_sets_are_evaluated_on_and_trained_for_once(tmp_path: Path) -> None:
    plain, plan = planned(loaded(tmp_path)), planned(loaded(tmp_path, FURTHER))
    assert keys_of(plain, "trial") == keys_of(plan, "trial")
    assert keys_of(plain, "evaluate") < keys_of(plan, "evaluate")
    assert plan.studies[0].further == (("drawn", 28),)
    for trial in plan.trials():
        (name, key), step = trial.further[0], plan.steps[trial.further[0][1]]
        assert (name, step.size) == ("drawn", 28)
        assert trial.evaluations == (trial.evaluate, key)
        assert isinstance(step.spec, EvaluateSpec)
        assert step.spec.classes == INFO.classes
        assert plan.steps[step.spec.test].spec == packs_of(plan)["drawn", "test"]
        assert not trial.is_finished({trial.trial, trial.evaluate})
        assert trial.is_finished({trial.evaluate, key})


def test_further_sets_are_shared_by_folds(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, FURTHER, {"folds": 2}))
    assert len(of_kind(plan, "evaluate")) == 2 * 2 * 2
    whole = [spec for spec in evaluations_of(plan) if spec.held_out is None]
    assert {plan.steps[spec.test].title for spec in whole} == {"pack image_folder test"}


@pytest.mark.parametrize(
    ("said", "other", "split", "size"),
    [
        ({}, OTHER, "test", 28),
        ({"part": "train"}, OTHER, "train", 4),
        ({}, replace(info_of(test=(1,) * 4, all=(9,) * 4), undivided=True), "all", 36),
        (
            {"part": "test"},
            replace(info_of(test=(1,) * 4, all=(9,) * 4), undivided=True),
            "test",
            4,
        ),
        ({}, replace(info_of(test=(2,) * 4, train=(9,) * 4), undivided=True), "test", 8),
        ({}, info_of(test=(1,) * 4, all=(9,) * 4), "test", 4),
    ],
)
def test_the_split_that_is_tested_on(
    said: Document, other: DatasetInfo, split: str, size: int, tmp_path: Path
) -> None:
    spec = loaded(tmp_path, FURTHER, {"evaluate_on": {"drawn": said}})
    plan = planned(spec, other=other)
    assert ("drawn", split) in packs_of(plan)
    assert plan.studies[0].further == (("drawn", size),)


def test_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    spec = loaded(tmp_path, FURTHER, {"evaluate_on": {"drawn": {"part": "tets"}}})
    with pytest.raises(InputError, match=r"evaluate_on\.drawn\.part: unknown split 'tets'; did"):
        planned(spec)
    # What is not there yet may have any split.
    absent = placeholder(sources(spec)[1])
    assert planned(spec, other=absent).placeholders == ("image_folder drawn",)


def test_classes_are_those_of_the_dataset_by_name(tmp_path: Path) -> None:
    more = info_of("abcxyd", test=(1,) * 6)
    with pytest.raises(InputError, match=r"evaluate_on\.drawn: 2 of its classes .*: 'x', 'y'; cl"):
        planned(loaded(tmp_path, FURTHER), other=more)
    allowed = {"evaluate_on": {"drawn": {"allow_missing": True}}}
    with pytest.raises(InputError, match="2 of its classes are none of the dataset's"):
        planned(loaded(tmp_path, FURTHER, allowed), other=more)


def test_missing_classes_must_be_meant(tmp_path: Path) -> None:
    fewer = info_of("ca", test=(3, 4))
    with pytest.raises(InputError, match=r"drawn: 2 classes .* missing: 'b', 'd'; say allow_miss"):
        planned(loaded(tmp_path, FURTHER), other=fewer)
    allowed = {"evaluate_on": {"drawn": {"allow_missing": True}}}
    plan = planned(loaded(tmp_path, FURTHER, allowed), other=fewer)
    assert plan.studies[0].further == (("drawn", 7),)


@pytest.mark.parametrize(
    ("dataset", "own", "found"),
    [
        ({}, {}, (None, False)),
        ({"size": 16, "grayscale": True}, {}, (16, True)),
        ({"size": 16}, {"size": 32}, (32, False)),
        ({}, {"size": 8, "grayscale": True}, (8, True)),
    ],
)
def test_size_and_colours_are_the_datasets_unless_said(
    dataset: Document, own: Document, found: tuple[int | None, bool], tmp_path: Path
) -> None:
    spec = loaded(tmp_path, FURTHER, {"dataset": dataset, "evaluate_on": {"drawn": own}})
    pack = packs_of(planned(spec))["drawn", "test"]
    assert (pack.size, pack.grayscale) == found


def test_further_sets_follow_an_axis(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, FURTHER, {"axes": {"dataset.size": [8, 16]}}))
    for spec in evaluations_of(plan):
        trial, pack = plan.steps[spec.trial].spec, plan.steps[spec.test].spec
        assert isinstance(trial, TrialSpec)
        train = plan.steps[trial.cell.images.pack].spec
        assert isinstance(pack, PackSpec)
        assert isinstance(train, PackSpec)
        assert pack.size == train.size


def test_what_cannot_be_read_of_them_is_told(tmp_path: Path) -> None:
    splits = {"test": SplitInfo(digest="t", counts=(7,) * 4, skipped=("a/1.png",))}
    plan = planned(loaded(tmp_path, FURTHER), other=replace(OTHER, splits=splits))
    assert plan.studies[0].skipped == ("drawn: a/1.png",)


# Test images that training may have seen


def test_every_test_set_is_searched_for_duplicates(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, FURTHER, {"axes": {"subset.fraction": [0.5, 1]}}))
    packs = {spec: key for key, spec in ((k, s.spec) for k, s in of_kind(plan, "pack").items())}
    by_name = packs_of(plan)
    train = packs[by_name["real", "train"]]
    found = {check.where: (check.num_test, check.dropped) for check in plan.studies[0].checks}
    assert found == {"test": (20, False), "drawn": (28, False)}
    specs = {check.where: plan.steps[check.key].spec for check in plan.studies[0].checks}
    assert specs == {
        "test": DuplicatesSpec(train=train, test=packs[by_name["real", "test"]]),
        "drawn": DuplicatesSpec(train=train, test=packs[by_name["drawn", "test"]]),
    }
    assert len(of_kind(plan, "duplicates")) == 2


def test_folds_of_one_split_are_not_searched(tmp_path: Path) -> None:
    assert planned(loaded(tmp_path, {"folds": 2})).studies[0].checks == ()
    plan = planned(loaded(tmp_path, FURTHER, {"folds": 2}))
    assert [check.where for check in plan.studies[0].checks] == ["drawn"]


def test_only_what_is_dropped_is_part_of_an_evaluation(tmp_path: Path) -> None:
    drop = {"dataset": {"drop_test_duplicates": True}}
    plain, dropped = planned(loaded(tmp_path, FURTHER)), planned(loaded(tmp_path, FURTHER, drop))
    assert keys_of(plain, "trial") == keys_of(dropped, "trial")
    assert keys_of(plain, "duplicates") == keys_of(dropped, "duplicates")
    assert not keys_of(plain, "evaluate") & keys_of(dropped, "evaluate")
    assert {spec.without for spec in evaluations_of(plain)} == {None}
    assert {spec.without for spec in evaluations_of(dropped)} == keys_of(dropped, "duplicates")
    assert all(check.dropped for check in dropped.studies[0].checks)
    for key in keys_of(dropped, "evaluate"):
        (check,) = keys_of(dropped, "duplicates") & set(dropped.steps[key].needs)
        step = dropped.steps[check].spec
        assert isinstance(step, DuplicatesSpec)
        assert step.test in dropped.steps[key].needs
    for key in keys_of(plain, "evaluate"):
        assert not keys_of(plain, "duplicates") & set(plain.steps[key].needs)


def test_a_search_is_done_though_no_trial_needs_it(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path))
    done = set(plan.steps) - keys_of(plan, "duplicates")
    assert set(needed(plan, done, set())) == keys_of(plan, "duplicates")
    assert list(needed(plan, set(), keys_of(plan, "pack"))) == []


def test_a_deferred_study_asks_for_no_search_yet(tmp_path: Path) -> None:
    first = merge(BASE, {"axes": {"train.epochs": [1, 2]}})
    (tmp_path / "first.yaml").write_text(json.dumps(first))
    best = {"dataset": {"root": "drawn"}, "train": {"epochs": {"best_of": {"study": "first"}}}}
    second = loaded(tmp_path, best)
    assert second.best_of is not None
    studies = [second.best_of.study, second]
    infos = {source: INFO for study in studies for source in sources(study)}
    infos[sources(second)[0]] = info_of(train=(50, 50, 50, 50), test=(5, 5, 5, 5))
    infos = {
        source: replace(
            info,
            splits={
                name: replace(split, digest=f"{source.config.root} {name}")
                for name, split in info.splits.items()
            },
        )
        for source, info in infos.items()
    }
    plan = make_plan(studies, infos, {})
    assert plan.studies[1].awaits == "first"
    assert plan.studies[1].checks == ()
    assert needed(plan, set(), set()) == dict(plan.steps)


# Grey images, mean and spread


def test_grey_images_have_packs_and_results_of_their_own(tmp_path: Path) -> None:
    plain = planned(loaded(tmp_path, MADE))
    grey = planned(loaded(tmp_path, MADE, {"dataset": {"grayscale": True}}))
    assert all(pack.grayscale for pack in packs_of(grey).values())
    assert not set(plain.steps) & set(grey.steps)


def test_mean_and_spread_are_part_of_the_training_alone(tmp_path: Path) -> None:
    plain = planned(loaded(tmp_path, MADE))
    other = planned(loaded(tmp_path, MADE, {"dataset": {"mean": [0.1], "std": [0.3]}}))
    for kind in ("pack", "fit", "sample", "gather", "duplicates"):
        assert keys_of(plain, kind) == keys_of(other, kind)
    assert not keys_of(plain, "trial") & keys_of(other, "trial")
    assert {trial.cell.recipe.mean for trial in trials_of(other)} == {(0.1,)}
    assert {trial.cell.recipe.std for trial in trials_of(other)} == {(0.3,)}


@pytest.mark.parametrize(
    ("dataset", "shown"),
    [
        ({"name": "csv", "file": "images.csv"}, "csv images.csv"),
        ({"name": "huggingface", "path": "user/images"}, "huggingface user/images"),
        ({"name": "image_folder", "root": "real"}, "image_folder real"),
        ({"name": "cifar10"}, "cifar10"),
    ],
)
def test_what_is_not_there_is_named_as_the_study_names_it(
    dataset: Document, shown: str, tmp_path: Path
) -> None:
    spec = loaded(tmp_path, {"dataset": dataset})
    (source,) = sources(spec)
    plan = make_plan([spec], {source: placeholder(source)}, {})
    assert plan.placeholders == (shown,)
