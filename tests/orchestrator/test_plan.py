"""What is planned: shared once, in order, with equal budgets, and refused where it cannot be."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.inputs import identify
from orchestrator.overlay import merge
from orchestrator.plan import Plan, PlannedCell, Scores, make_plan, needed, sources
from orchestrator.study import StudySpec, load_study
from tasks.errors import InputError
from tasks.specs import (
    DatasetInfo,
    GatherSpec,
    ImagesSpec,
    Plugin,
    SampleSpec,
    SplitInfo,
    TrialSpec,
)

INFO = DatasetInfo(
    classes=tuple("abcd"),
    splits={
        "train": SplitInfo(digest="train", counts=(100, 200, 300, 400)),
        "test": SplitInfo(digest="test", counts=(50, 50, 50, 50)),
        "all": SplitInfo(digest="all", counts=(100, 100, 100, 100)),
    },
)
"""Validation takes a tenth, which leaves 900 training images."""

Document = dict[str, Any]

BASE: Document = {
    "question": "q",
    "dataset": "digits",
    "synthetic": {"made": {"generator": "vae"}},
    "train": {"model": "small_cnn", "epochs": 2, "batch_size": 100},
    "seeds": [0, 1],
    "measures": [],
    "audit": False,
}
"""What is measured of sets is planned apart: see test_quality."""


def loaded(folder: Path, name: str = "study", **changes: Any) -> StudySpec:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(merge(BASE, changes)))
    return load_study(str(path))


def planned(
    *studies: StudySpec, scores: Mapping[str, Scores] | None = None, info: DatasetInfo = INFO
) -> Plan:
    infos: dict[Plugin, DatasetInfo] = {}
    for spec in studies:
        infos |= dict.fromkeys(sources(spec), info)
        if spec.best_of is not None:
            infos |= dict.fromkeys(sources(spec.best_of.study), info)
    return make_plan(studies, infos, scores or {})


def cells_of(plan: Plan) -> dict[str, PlannedCell]:
    """Cells of the first study by the values of their coordinates."""
    return {
        ", ".join(str(value) for _, value in cell.coordinates): cell
        for cell in plan.studies[0].cells
    }


def images_of(plan: Plan, cell: PlannedCell) -> ImagesSpec:
    spec = plan.steps[cell.trials[0].trial].spec
    assert isinstance(spec, TrialSpec)
    return spec.cell.images


# The graph


def test_a_study_is_counted_and_its_steps_are_made_once(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, axes={"variant": ["real", "synthetic", "mixed"]}))
    kinds = [step.kind for step in plan.steps.values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "pack": 2,
        "duplicates": 1,
        "fit": 1,
        "sample": 1,
        "gather": 1,
        "trial": 6,
        "evaluate": 6,
    }
    assert (plan.requested, plan.unique, plan.deferred) == (6, 6, 0)
    assert len(list(plan.trials())) == 6


def test_every_step_comes_after_what_it_needs(tmp_path: Path) -> None:
    axes = {"variant": ["mixed", "real"], "subset.fraction": [1, 0.5]}
    plan = planned(loaded(tmp_path, axes=axes))
    seen: set[str] = set()
    for key, step in plan.steps.items():
        assert key == step.key
        assert set(step.needs) <= seen
        seen.add(key)


def test_needs_are_what_a_step_reads(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, seeds=[0]))
    by_kind = {step.title: step for step in plan.steps.values()}
    needs = {
        title: {plan.steps[need].title for need in step.needs} for title, step in by_kind.items()
    }
    assert needs == {
        "pack digits train": set(),
        "pack digits test": set(),
        "check digits for duplicates": {"pack digits train", "pack digits test"},
        "fit vae": {"pack digits train"},
        "sample vae": {"fit vae", "pack digits train"},
        "gather vae": {"sample vae"},
        "train small_cnn": {"pack digits train", "gather vae"},
        "evaluate small_cnn": {"train small_cnn", "pack digits test"},
    }


def test_studies_share_what_is_equal(tmp_path: Path) -> None:
    mix = loaded(tmp_path, "mix", axes={"variant": ["real", "synthetic", "mixed"]})
    scale = loaded(tmp_path, "scale", variant="mixed", axes={"subset.fraction": [0.5, 1]})
    plan = planned(mix, scale)
    assert (plan.requested, plan.unique) == (10, 8)
    first, second = plan.studies
    assert first.cells[2].trials == second.cells[1].trials


@pytest.mark.usefixtures("_empty_folder")
def test_the_course_studies_share_a_quarter_of_their_trials() -> None:
    names = ("data_mix", "model_size", "architecture", "data_scale")
    specs = [load_study(name) for name in names]
    infos = identify({s: None for spec in specs for s in sources(spec)})
    plan = make_plan(specs, infos, {})
    trials = sum(step.kind == "trial" for step in plan.steps.values())
    assert (plan.requested, plan.unique, trials, plan.deferred) == (39, 30, 24, 9)
    assert len(plan.placeholders) == 2
    assert [study.awaits for study in plan.studies] == [None, None, None, "architecture"]


@pytest.fixture
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no `data/real` is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "cache"))


def test_shards_are_whole_batches_and_cover_the_set(tmp_path: Path) -> None:
    sampling = {"generator": {"name": "vae", "sampling": {"batch_size": 300}}, "multiplier": 3}
    plan = planned(loaded(tmp_path, synthetic={"made": sampling}))
    shards = [step.spec for step in plan.steps.values() if isinstance(step.spec, SampleSpec)]
    spans = [(shard.start, shard.stop) for shard in shards]
    assert spans == [(0, 900), (900, 1800), (1800, 2700)]
    gather = next(step for step in plan.steps.values() if isinstance(step.spec, GatherSpec))
    assert gather.needs == tuple(k for k, s in plan.steps.items() if s.kind == "sample")


def test_a_batch_larger_than_a_shard_is_a_shard(tmp_path: Path) -> None:
    sampling = {"generator": {"name": "vae", "sampling": {"batch_size": 5000}}}
    plan = planned(loaded(tmp_path, synthetic={"made": sampling}))
    shards = [step.spec for step in plan.steps.values() if isinstance(step.spec, SampleSpec)]
    assert [(shard.start, shard.stop) for shard in shards] == [(0, 900)]


# Subsets


def test_subsets_nest_and_validation_stays(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, variant="real", axes={"subset.fraction": [0.01, 0.3, 0.31, 1]}))
    found = [images_of(plan, cell) for cell in plan.studies[0].cells]
    assert [sum(images.training) for images in found] == [9, 270, 279, 900]
    assert {images.validation for images in found} == {(10, 20, 30, 40)}
    for small, large in itertools.pairwise(found):
        assert all(a <= b for a, b in zip(small.training, large.training, strict=True))


def test_a_fraction_scales_real_and_synthetic_alike(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, axes={"subset.fraction": [0.5, 1]}))
    assert [(c.num_real, c.num_synthetic) for c in plan.studies[0].cells] == [
        (450, 450),
        (900, 900),
    ]


def test_a_folder_is_scaled_by_the_fraction_alone(tmp_path: Path) -> None:
    document = {
        "synthetic": {"made": None, "found": {"folder": "data/synthetic"}},
        "variant": "mixed",
    }
    spec = _without_made(tmp_path, document | {"subset": {"fraction": 0.5, "max_real": 40}})
    cell = planned(spec).studies[0].cells[0]
    assert (cell.num_real, cell.num_synthetic) == (40, 200)


def _without_made(folder: Path, document: Document) -> StudySpec:
    merged = merge(BASE, document)
    del merged["synthetic"]["made"]
    path = folder / "study.yaml"
    path.write_text(json.dumps(merged))
    return load_study(str(path))


def test_counts_per_class_may_be_said(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, synthetic={"made": {"per_class": 7}}))
    assert plan.studies[0].cells[0].num_synthetic == 28


# Budgets


def test_all_arms_get_the_steps_of_the_real_images(tmp_path: Path) -> None:
    axes = {"variant": ["real", "synthetic", "mixed"], "subset.fraction": [0.1, 1]}
    plan = planned(loaded(tmp_path, axes=axes))
    assert {(cell.steps, cell.eval_every) for cell in plan.studies[0].cells} == {(18, 9)}


def test_each_arm_gets_its_own_epochs_where_that_is_asked_for(tmp_path: Path) -> None:
    axes = {"variant": ["real", "mixed"], "subset.fraction": [0.1, 1]}
    plan = planned(loaded(tmp_path, train={"match": "epochs"}, axes=axes))
    found = {name: (cell.steps, cell.eval_every) for name, cell in cells_of(plan).items()}
    assert found == {
        "real, 0.1": (2, 1),
        "real, 1": (18, 9),
        "mixed, 0.1": (4, 2),
        "mixed, 1": (36, 18),
    }


def test_the_subset_of_the_base_counts_and_that_of_an_arm_does_not(tmp_path: Path) -> None:
    small: Document = {"subset": {"max_real": 150}, "variant": "real"}
    alone = planned(loaded(tmp_path, **small)).studies[0].cells
    assert [cell.steps for cell in alone] == [4]
    arms = {"few": {"subset": {"max_real": 50}}, "many": {"subset": {"max_real": 800}}}
    plan = planned(loaded(tmp_path, **small, arms=arms))
    assert [(c.steps, c.num_real) for c in plan.studies[0].cells] == [(4, 50), (4, 800)]


@pytest.mark.parametrize("match", ["steps", "epochs"])
def test_steps_override_both(match: str, tmp_path: Path) -> None:
    train = {"steps": 5, "match": match, "warmup_epochs": 1}
    plan = planned(loaded(tmp_path, train=train, axes={"variant": ["real", "mixed"]}))
    assert {(cell.steps, cell.eval_every) for cell in plan.studies[0].cells} == {(5, 5)}
    trials = [s.spec for s in plan.steps.values() if isinstance(s.spec, TrialSpec)]
    # Longer than the training it warms up for, it is cut.
    assert {trial.cell.recipe.warmup_steps for trial in trials} == {4}


def test_a_part_of_a_batch_is_a_step(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, variant="real", train={"batch_size": 64}))
    assert plan.studies[0].cells[0].eval_every == 15


# Cells and baselines


def test_equal_cells_are_one_and_are_still_compared_with(tmp_path: Path) -> None:
    spec = loaded(
        tmp_path,
        synthetic={"other": {"generator": "vae", "seed": 1}},
        axes={"sets": [["made"], ["other"]], "variant": ["real", "mixed"]},
        compare={"baseline": {"variant": "real"}},
    )
    plan = planned(spec)
    cells = plan.studies[0].cells
    assert [dict(cell.coordinates)["variant"] for cell in cells] == ["real", "mixed", "mixed"]
    assert [cell.baseline for cell in cells] == [None, 0, 0]
    assert plan.requested == plan.unique == 6


def test_baselines_stand_at_equal_other_settings(tmp_path: Path) -> None:
    spec = loaded(
        tmp_path,
        axes={"variant": ["mixed", "real"], "subset.fraction": [0.5, 1]},
        compare={"baseline": {"variant": "real"}},
    )
    cells = planned(spec).studies[0].cells
    assert [cell.baseline for cell in cells] == [2, 3, None, None]


@pytest.mark.parametrize(
    ("axes", "baseline"),
    [
        ({"subset.fraction": [0.5, 1]}, {"subset.fraction": 1.0}),
        (
            {"train.model": ["small_cnn", {"name": "small_cnn", "width": 8, "stages": 1}]},
            {"train.model": {"stages": 1, "width": 8, "name": "small_cnn"}},
        ),
    ],
)
def test_a_baseline_may_be_spelled_otherwise(
    axes: Document, baseline: Document, tmp_path: Path
) -> None:
    plan = planned(loaded(tmp_path, variant="real", axes=axes, compare={"baseline": baseline}))
    assert [cell.baseline for cell in plan.studies[0].cells] == [1, None]


def test_an_arm_is_a_baseline(tmp_path: Path) -> None:
    arms = {"slow": {"train": {"lr": 0.0001}}, "usual": {}}
    compare = {"baseline": {"arm": "usual"}}
    plan = planned(
        loaded(tmp_path, arms=arms, compare=compare, axes={"variant": ["real", "mixed"]})
    )
    assert [cell.baseline for cell in plan.studies[0].cells] == [2, 3, None, None]


def test_the_order_of_sets_makes_no_other_cell(tmp_path: Path) -> None:
    spec = loaded(
        tmp_path,
        synthetic={"other": {"generator": "vae", "seed": 1}},
        axes={"sets": [["made", "other"], ["other", "made"]]},
    )
    plan = planned(spec)
    assert len(plan.studies[0].cells) == 1
    trial = next(s.spec for s in plan.steps.values() if isinstance(s.spec, TrialSpec))
    packs = [each.pack for each in trial.cell.sets]
    assert packs == sorted(packs)


# best_of

WIDTHS = {"train.model.width": [4, 8, 16]}
BEST: Document = {
    "train": {"model": {"name": "small_cnn", "width": {"best_of": {"study": "first"}}}},
    "variant": "real",
    "axes": {"subset.fraction": [0.5, 1]},
}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[StudySpec, StudySpec]:
    """A study of widths, and one that takes the winner."""
    first = loaded(tmp_path, "first", variant="real", axes=WIDTHS)
    return first, loaded(tmp_path, "second", **BEST)


def scores_of(plan: Plan, *by_cell: Sequence[float | None]) -> dict[str, Scores]:
    """Scores for the cells of the first study; None for a trial that failed."""
    return {
        trial.trial: {} if value is None else {"val_top1": value}
        for cell, values in zip(plan.studies[0].cells, by_cell, strict=True)
        for trial, value in zip(cell.trials, values, strict=True)
    }


def winner_of(plan: Plan) -> int | None:
    widths = {cell.settings.model.config.width for cell in plan.studies[1].cells if cell.trials}
    assert len(widths) <= 1
    return widths.pop() if widths else None


def test_without_scores_trials_are_deferred_and_counted(pair: tuple[StudySpec, StudySpec]) -> None:
    plan = planned(*pair)
    assert (plan.requested, plan.deferred) == (10, 4)
    # Whoever wins, its trials on all images are there already.
    assert plan.unique == 8
    assert sum(step.kind == "trial" for step in plan.steps.values()) == 6
    assert plan.studies[1].awaits == "first"
    assert set(plan.awaited) == {trial.trial for trial in plan.trials()}


@pytest.mark.parametrize(
    ("by_cell", "winner"),
    [
        ([(0.5, 0.6), (0.9, 0.8), (0.7, 0.7)], 8),
        ([(0.5, 0.5), (0.9, 0.1), (0.5, 0.5)], 4),
        ([(0.1, 0.1), (0.5, 0.5), (0.9, None)], 8),
        ([(None, None), (None, 1.0), (0.0, 0.0)], 16),
    ],
)
def test_the_winner_has_the_best_mean_of_the_complete_cells(
    by_cell: list[tuple[float | None, ...]], winner: int, pair: tuple[StudySpec, StudySpec]
) -> None:
    plan = planned(*pair, scores=scores_of(planned(*pair), *by_cell))
    assert winner_of(plan) == winner
    assert (plan.requested, plan.unique, plan.deferred) == (10, 8, 0)
    assert plan.studies[1].awaits is None


def test_one_missing_score_keeps_the_winner_open(pair: tuple[StudySpec, StudySpec]) -> None:
    scores = scores_of(planned(*pair), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3))
    scores.popitem()
    plan = planned(*pair, scores=scores)
    assert winner_of(plan) is None
    assert plan.deferred == 4


def test_no_complete_cell_leaves_no_winner(pair: tuple[StudySpec, StudySpec]) -> None:
    scores = scores_of(planned(*pair), (None, 0.1), (0.2, None), (None, None))
    assert winner_of(planned(*pair, scores=scores)) is None


def test_alone_a_study_still_names_what_it_awaits(pair: tuple[StudySpec, StudySpec]) -> None:
    plan = planned(pair[1])
    assert (plan.requested, plan.unique, plan.deferred) == (4, 4, 4)
    assert not any(step.kind == "trial" for step in plan.steps.values())
    assert len(plan.awaited) == 6


def test_nothing_may_win(tmp_path: Path) -> None:
    """`null`, for no bound, is a value like any other."""
    axes = {"subset.max_real": [40, None]}
    first = loaded(tmp_path, "first", variant="real", axes=axes)
    best = {"subset": {"max_real": {"best_of": {"study": "first"}}}, "variant": "real"}
    second = loaded(tmp_path, "second", **best)
    before = planned(first, second)
    assert before.deferred == 2
    after = planned(first, second, scores=scores_of(before, (0.1, 0.1), (0.9, 0.9)))
    assert after.deferred == 0
    assert after.studies[1].cells[0].num_real == 900


# What is refused


def test_classes_of_a_folder_must_be_the_datasets(tmp_path: Path) -> None:
    document = {"synthetic": {"found": {"folder": "data/synthetic"}}, "variant": "mixed"}
    spec = _without_made(tmp_path, document)
    digits, folder = sources(spec)
    fewer = replace(
        INFO, classes=("d", "b"), splits={"all": SplitInfo(digest="all", counts=(5, 6))}
    )
    plan = make_plan([spec], {digits: INFO, folder: fewer}, {})
    assert plan.studies[0].cells[0].num_synthetic == 11
    with pytest.raises(InputError, match=r"synthetic\.found\.folder: class 'x' is none of .*a, b"):
        make_plan([spec], {digits: INFO, folder: replace(fewer, classes=("b", "x"))}, {})


def test_an_absent_folder_is_planned_with_invented_counts(tmp_path: Path) -> None:
    document = {"synthetic": {"found": {"folder": "data/synthetic"}}, "variant": "mixed"}
    spec = _without_made(tmp_path, document)
    digits, folder = sources(spec)
    plan = make_plan(
        [spec], {digits: INFO, folder: replace(INFO, classes=("x",), placeholder=True)}, {}
    )
    assert plan.placeholders == ("image_folder data/synthetic",)
    assert plan.studies[0].cells[0].num_synthetic == 1000


def with_counts(split: str, counts: tuple[int, ...]) -> DatasetInfo:
    splits = {**INFO.splits, split: SplitInfo(digest=split, counts=counts)}
    return replace(INFO, splits=splits)


def test_an_empty_validation_is_refused(tmp_path: Path) -> None:
    info = with_counts("train", (1, 1, 1, 1))
    with pytest.raises(InputError, match=r"dataset\.val_fraction: 0\.1 of 4 images leaves none"):
        planned(loaded(tmp_path), info=info)


def test_an_empty_subset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"subset\.fraction: 0\.0001 of 900 images leaves none"):
        planned(loaded(tmp_path, subset={"fraction": 0.0001}))


def test_an_empty_test_split_is_refused(tmp_path: Path) -> None:
    info = with_counts("test", (0, 0, 0, 0))
    with pytest.raises(InputError, match="dataset: no image is left to test on"):
        planned(loaded(tmp_path), info=info)


# What has to be run


def test_nothing_done_means_everything(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path))
    assert needed(plan, set(), set()) == dict(plan.steps)


def test_everything_done_means_nothing(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path))
    assert needed(plan, set(plan.steps), set()) == {}


def titles(plan: Plan, done: Sequence[str], failed: Sequence[str] = ()) -> list[str]:
    """Titles of what is to run where all steps of some titles are done or failed."""

    def keys(names: Sequence[str]) -> set[str]:
        return {key for key, step in plan.steps.items() if step.title in names}

    return [step.title for step in needed(plan, keys(done), keys(failed)).values()]


def test_what_only_finished_steps_need_is_left_out(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, seeds=[0]))
    checked = "check digits for duplicates"
    assert titles(plan, ["gather vae", checked]) == [
        "pack digits train",
        "pack digits test",
        "train small_cnn",
        "evaluate small_cnn",
    ]
    found = titles(plan, ["train small_cnn", checked])
    assert found == ["pack digits test", "evaluate small_cnn"]
    assert titles(plan, ["evaluate small_cnn", checked]) == []
    assert titles(plan, ["evaluate small_cnn"]) == [
        "pack digits train",
        "pack digits test",
        checked,
    ]


def test_what_needs_a_failed_step_is_left_out(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, seeds=[0], axes={"variant": ["real", "mixed"]}))
    checked = "check digits for duplicates"
    found = titles(plan, [], ["fit vae"])
    assert found == [
        "pack digits train",
        "pack digits test",
        checked,
        "train small_cnn",
        "evaluate small_cnn",
    ]
    assert titles(plan, [], ["pack digits train"]) == []
    assert titles(plan, ["pack digits test", checked], ["train small_cnn"]) == []


def test_a_failed_step_does_not_hold_back_what_was_done_with_it(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, seeds=[0]))
    found = titles(plan, ["gather vae"], ["fit vae"])
    assert "train small_cnn" in found
    assert "fit vae" not in found
