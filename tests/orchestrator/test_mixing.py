"""How many real and synthetic images a cell trains on, class by class, and in which stages."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.grid import cells
from orchestrator.mixed import bounded, mixed
from orchestrator.overlay import merge
from orchestrator.plan import Plan, PlannedCell, make_plan, sources
from orchestrator.settings import FolderSet, MixingSettings
from orchestrator.study import StudySpec, load_study
from tasks.errors import InputError
from tasks.specs import CellSpec, DatasetInfo, Plugin, SplitInfo, Stage, TrialSpec

Document = dict[str, Any]

INFO = DatasetInfo(
    classes=tuple("abcd"),
    splits={
        "train": SplitInfo(digest="train", counts=(100, 200, 300, 400)),
        "test": SplitInfo(digest="test", counts=(50, 50, 50, 50)),
    },
)
"""Validation takes a tenth, which leaves 90, 180, 270 and 360 images."""
FOLDER = DatasetInfo(classes=("d", "b"), splits={"all": SplitInfo(digest="all", counts=(500, 300))})
"""Synthetic images of two of the classes, in an order of their own."""

BASE: Document = {
    "question": "q",
    "dataset": "digits",
    "variant": "mixed",
    "train": {"model": "small_cnn", "epochs": 6, "batch_size": 100},
    "seeds": [0],
}
GENERATED: Document = {"synthetic": {"made": {"generator": "vae"}}}
FOUND: Document = {"synthetic": {"found": {"folder": "data/synthetic"}}}


def loaded(folder: Path, *changes: Mapping[str, Any]) -> StudySpec:
    document = BASE
    for each in changes:
        document = merge(document, each)
    path = folder / "study.yaml"
    path.write_text(json.dumps(document))
    return load_study(str(path))


def planned(spec: StudySpec, folder: DatasetInfo = FOLDER, dataset: DatasetInfo = INFO) -> Plan:
    folders = {
        each.reader
        for cell in cells(spec)
        for _, each in cell.settings.sets
        if isinstance(each, FolderSet)
    }
    infos: dict[Plugin, DatasetInfo] = {
        source: folder if source in folders else dataset for source in sources(spec)
    }
    return make_plan([spec], infos, {})


def only(plan: Plan) -> tuple[PlannedCell, CellSpec]:
    (cell,) = plan.studies[0].cells
    spec = plan.steps[cell.trials[0].trial].spec
    assert isinstance(spec, TrialSpec)
    return cell, spec.cell


# Counting


COUNTS = st.lists(st.integers(0, 40), min_size=3, max_size=3).map(tuple)


def per_class(real: Sequence[int], sets: Sequence[Sequence[int]]) -> list[int]:
    return [sum(numbers) for numbers in zip(real, *sets, strict=True)]


def test_replacing_keeps_the_total_and_each_class() -> None:
    settled = MixingSettings(name="replace", ratio=0.25)
    real, sets = mixed((90, 180, 270, 360), [(90, 180, 270, 360)], settled, None, INFO.classes)
    assert real == (68, 135, 202, 270)
    assert sets == ((22, 45, 68, 90),)


def test_half_are_replaced_where_nothing_is_said() -> None:
    real, sets = mixed((10, 20), [(10, 20)], MixingSettings(name="replace"), None, INFO.classes)
    assert (real, sets) == ((5, 10), ((5, 10),))


@settings(max_examples=80, deadline=None)
@given(COUNTS, st.sampled_from([0.1, 0.29, 0.5, 0.75, 0.9]), st.none() | st.integers(1, 60))
def test_replaced_images_are_made_up_for_by_several_sets(
    real: tuple[int, ...], ratio: float, most: int | None
) -> None:
    held = [tuple(2 * number for number in real), tuple(number // 2 for number in real)]
    kept, taken = mixed(real, held, MixingSettings(name="replace", ratio=ratio), most, INFO.classes)
    assert per_class(kept, taken) == list(real)
    num_taken = sum(map(sum, taken))
    assert num_taken == min(int(ratio * sum(real) + 0.5 + 1e-9), most or 10**9)
    for mine, there in zip(taken, held, strict=True):
        assert all(a <= b for a, b in zip(mine, there, strict=True))


def test_a_larger_ratio_keeps_fewer_real_images_of_every_class() -> None:
    rows = [
        mixed(
            (90, 180, 270),
            [(90, 180, 270)],
            MixingSettings(name="replace", ratio=r / 20),
            None,
            INFO.classes,
        )
        for r in range(1, 20)
    ]
    for (more, _), (fewer, _) in itertools.pairwise(rows):
        assert all(a >= b for a, b in zip(more, fewer, strict=True))


def test_too_few_to_replace_with_is_refused() -> None:
    with pytest.raises(InputError, match=r"mixing: replace needs 10 synthetic images of class 'b'"):
        mixed((20, 20), [(20, 4), (0, 5)], MixingSettings(name="replace"), None, INFO.classes)


def test_a_tail_is_filled_to_the_largest_class() -> None:
    fill = MixingSettings(name="fill_tail")
    real, sets = mixed((100, 40, 10), [(500, 500, 500)], fill, None, INFO.classes)
    assert (real, sets) == ((100, 40, 10), ((0, 60, 90),))
    real, sets = mixed((100, 40, 10), [(500, 20, 60), (500, 20, 60)], fill, None, INFO.classes)
    assert per_class(real, sets) == [100, 80, 100]
    assert sets == ((0, 20, 45), (0, 20, 45))


def test_a_bound_is_shared_over_sets_and_classes() -> None:
    held = [(10, 20), (30, 40)]
    assert bounded(held, None) == ((10, 20), (30, 40))
    assert bounded(held, 100) == ((10, 20), (30, 40))
    assert bounded(held, 10) == ((1, 2), (3, 4))
    assert mixed((5, 5), held, MixingSettings(), 10, INFO.classes) == ((5, 5), ((1, 2), (3, 4)))


@settings(max_examples=60, deadline=None)
@given(st.lists(COUNTS, min_size=1, max_size=3), st.integers(1, 200), st.integers(1, 30))
def test_bounds_nest(held: list[tuple[int, ...]], most: int, more: int) -> None:
    small, large = bounded(held, most), bounded(held, most + more)
    assert sum(map(sum, small)) == min(most, sum(map(sum, held)))
    for few, many in zip(small, large, strict=True):
        assert all(a <= b for a, b in zip(few, many, strict=True))


# In a study


def test_mixing_reaches_the_trial(tmp_path: Path) -> None:
    mixing = {"name": "replace", "ratio": 0.4, "loss_weight": 0.5, "soft_label": 0.9}
    cell, spec = only(planned(loaded(tmp_path, GENERATED, {"mixing": mixing})))
    assert cell.real == (54, 108, 162, 216) == spec.images.training
    assert cell.synthetic == (36, 72, 108, 144) == spec.sets[0].counts
    assert (spec.mixing.loss_weight, spec.mixing.soft_label) == (0.5, 0.9)
    assert spec.mixing.synthetic_probability == 0


def test_swapping_keeps_all_real_images_and_their_epoch(tmp_path: Path) -> None:
    swap = {"mixing": "swap", "train": {"match": "epochs"}}
    cell, spec = only(planned(loaded(tmp_path, GENERATED, swap)))
    assert (cell.num_real, cell.num_synthetic) == (900, 900)
    assert spec.mixing.synthetic_probability == 0.5
    # No pass gets longer by images that take the place of others.
    assert (cell.steps, cell.eval_every) == (54, 9)


def test_filling_a_tail_makes_what_is_missing_and_no_more(tmp_path: Path) -> None:
    cell, _ = only(planned(loaded(tmp_path, GENERATED, {"mixing": "fill_tail"})))
    assert [a + b for a, b in zip(cell.real, cell.synthetic, strict=True)] == [360] * 4


def test_filling_level_classes_is_training_on_real_images(tmp_path: Path) -> None:
    level = {"mixing": "fill_tail", "subset": {"imbalance": "balanced"}}
    cell, spec = only(planned(loaded(tmp_path, GENERATED, level)))
    assert cell.real == (90,) * 4
    assert spec.sets == ()
    real, same = only(planned(loaded(tmp_path, GENERATED, level, {"variant": "real"})))
    assert same == spec
    assert real.trials == cell.trials


def test_the_real_images_have_their_profile_and_sets_follow(tmp_path: Path) -> None:
    subset = {"subset": {"imbalance": {"name": "step", "factor": 0.5}, "max_synth": 30}}
    cell, _ = only(planned(loaded(tmp_path, GENERATED, subset)))
    assert cell.real == (90, 90, 45, 45)
    assert cell.synthetic == (10, 10, 5, 5)


def test_the_bound_holds_for_all_sets_together(tmp_path: Path) -> None:
    two = {"synthetic": {"more": {"generator": {"name": "vae"}, "seed": 1, "multiplier": 3}}}
    named = {"sets": ["made", "more"], "subset": {"max_synth": 400}}
    cell, spec = only(planned(loaded(tmp_path, GENERATED, two, named)))
    assert sorted(sum(each.counts) for each in spec.sets) == [100, 300]
    assert cell.num_synthetic == 400


def test_fill_tail_makes_just_what_is_missing(tmp_path: Path) -> None:
    asked = {"mixing": "fill_tail", "synthetic": {"made": {"generator": "vae", "multiplier": 2}}}
    with pytest.raises(InputError, match=r"synthetic\.made\.multiplier: mixing fill_tail makes"):
        planned(loaded(tmp_path, GENERATED, asked))


@pytest.mark.parametrize("count", [{"multiplier": 3}, {"per_class": 9}, {}])
def test_a_class_that_no_generator_saw_is_not_made(count: Document, tmp_path: Path) -> None:
    few = {
        "subset": {"max_real": 3},
        "mixing": "concat" if count else "fill_tail",
        "synthetic": {"made": {"generator": "vae", **count}},
    }
    cell, _ = only(planned(loaded(tmp_path, GENERATED, few)))
    assert 0 in cell.real
    assert all(made == 0 for made, real in zip(cell.synthetic, cell.real, strict=True) if not real)


def test_a_profile_that_leaves_a_class_empty_is_refused(tmp_path: Path) -> None:
    thin = {"subset": {"imbalance": "long_tail", "max_real": 60}}
    with pytest.raises(InputError, match=r"subset\.imbalance: long_tail leaves 1 classes without"):
        planned(loaded(tmp_path, BASE, {**thin, "variant": "real"}))


@pytest.mark.parametrize("mixing", ["concat", "replace", "fill_tail"])
def test_the_order_of_sets_decides_no_tie(mixing: str, tmp_path: Path) -> None:
    two = {"synthetic": {"more": {"generator": {"name": "vae"}, "seed": 1}}}
    change = {"mixing": mixing, "subset": {"max_synth": 401}}
    one, other = (
        planned(loaded(tmp_path, GENERATED, two, change, {"sets": names}))
        for names in (["made", "more"], ["more", "made"])
    )
    assert set(one.steps) == set(other.steps)


def test_a_folder_may_hold_fewer_classes_in_another_order(tmp_path: Path) -> None:
    cell, spec = only(planned(loaded(tmp_path, FOUND)))
    assert cell.synthetic == (0, 300, 0, 500)
    # The pack of the folder numbers its classes its own way.
    assert spec.sets[0].counts == (500, 300)
    filled, spec = only(planned(loaded(tmp_path, FOUND, {"mixing": "fill_tail"})))
    assert filled.synthetic == (0, 180, 0, 0)
    assert spec.sets[0].counts == (0, 180)
    bound, spec = only(planned(loaded(tmp_path, FOUND, {"subset": {"max_synth": 80}})))
    assert bound.synthetic == (0, 30, 0, 50)
    assert spec.sets[0].counts == (50, 30)


def test_a_folder_that_lacks_a_class_replaces_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mixing: replace needs 45 synthetic images of class 'a'"):
        planned(loaded(tmp_path, FOUND, {"mixing": "replace"}))


def test_a_folder_beside_a_dataset_that_is_not_there_is_planned(tmp_path: Path) -> None:
    many = tuple(f"species {index}" for index in range(7))
    folder = replace(FOLDER, classes=many, splits={"all": SplitInfo(digest="f", counts=(9,) * 7)})
    absent = replace(INFO, placeholder=True)
    cell, _ = only(planned(loaded(tmp_path, FOUND), folder, absent))
    assert len(cell.synthetic) == len(INFO.classes)


# What does nothing moves no key

MIXINGS: list[Document] = [
    {"mixing": "swap"},
    {"mixing": {"name": "replace", "ratio": 0.2, "loss_weight": 2.0}},
    {"mixing": {"soft_label": 0.5}},
    {"train": {"stages": [{"variant": "real", "epochs": 2}, {"variant": "mixed", "epochs": 4}]}},
]


@pytest.mark.parametrize("variant", ["real", "synthetic"])
@pytest.mark.parametrize("change", MIXINGS)
def test_mixing_is_for_mixed_cells(variant: str, change: Document, tmp_path: Path) -> None:
    plain = planned(loaded(tmp_path, GENERATED, {"variant": variant}))
    changed = planned(loaded(tmp_path, GENERATED, change, {"variant": variant}))
    assert set(plain.steps) == set(changed.steps)
    mix = planned(loaded(tmp_path, GENERATED, change))
    assert set(mix.steps) != set(planned(loaded(tmp_path, GENERATED)).steps)


def test_an_axis_of_mixing_makes_one_cell_of_real_images(tmp_path: Path) -> None:
    axes = {"axes": {"mixing": ["concat", "swap", "replace"], "variant": ["real", "mixed"]}}
    found = planned(loaded(tmp_path, GENERATED, axes)).studies[0].cells
    assert [tuple(value for _, value in cell.coordinates) for cell in found] == [
        ("real",),
        ("concat", "mixed"),
        ("swap", "mixed"),
        ("replace", "mixed"),
    ]


INERT: list[tuple[Document, Document]] = [
    ({}, {"train": {"augmentation": {"name": "mixup", "probability": 0}}}),
    ({}, {"train": {"augmentation": []}}),
    ({"train": {"augmentation": "base"}}, {"train": {"augmentation": ["base"]}}),
    (
        {"train": {"augmentation": "base"}},
        {"train": {"augmentation": ["base", {"name": "cutmix", "probability": 0.0}]}},
    ),
    ({}, {"train": {"momentum": 0.5, "decay": 0.5}}),
    ({}, {"mixing": {"name": "concat", "loss_weight": 1, "soft_label": 1}}),
    ({"mixing": "replace"}, {"mixing": {"name": "replace", "ratio": 0.5}}),
    ({"mixing": "swap"}, {"mixing": {"name": "swap", "synthetic_probability": 0.5}}),
    ({}, {"train": {"stages": [{"variant": "mixed", "epochs": 6}]}}),
    ({}, {"subset": {"max_synth": 900}}),
    (
        {"subset": {"imbalance": "semi"}},
        {"subset": {"imbalance": {"name": "long_tail", "factor": 0.1}}},
    ),
    (
        {"subset": {"imbalance": "balanced"}},
        {"subset": {"per_class": 90}},
    ),
]


@pytest.mark.parametrize(("one", "other"), INERT)
def test_what_means_the_same_has_the_same_keys(
    one: Document, other: Document, tmp_path: Path
) -> None:
    first, second = (planned(loaded(tmp_path, GENERATED, each)).steps for each in (one, other))
    assert set(first) == set(second)


def test_the_order_of_augmentations_counts(tmp_path: Path) -> None:
    orders = [["rotation", "mixup"], ["mixup", "rotation"]]
    one, two = (
        planned(loaded(tmp_path, GENERATED, {"train": {"augmentation": order}})) for order in orders
    )
    assert set(one.steps) != set(two.steps)


# Stages


def stages_of(folder: Path, *parts: tuple[str, int], **train: Any) -> tuple[Stage, ...]:
    stages = [{"variant": variant, "epochs": epochs} for variant, epochs in parts]
    change = {"train": {"stages": stages, "epochs": sum(n for _, n in parts), **train}}
    return only(planned(loaded(folder, GENERATED, change)))[1].stages


def test_stages_share_the_steps_of_the_whole(tmp_path: Path) -> None:
    found = stages_of(tmp_path, ("synthetic", 4), ("mixed", 1), ("real", 1))
    assert found == (
        Stage(steps=36, real=False, synthetic=True),
        Stage(steps=9, real=True, synthetic=True),
        Stage(steps=9, real=True, synthetic=False),
    )


def test_neighbours_that_see_the_same_are_one_stage(tmp_path: Path) -> None:
    split = stages_of(tmp_path, ("real", 1), ("real", 2), ("mixed", 1), ("mixed", 2))
    assert split == stages_of(tmp_path, ("real", 3), ("mixed", 3))
    assert stages_of(tmp_path, ("mixed", 1), ("mixed", 5)) == ()


@pytest.mark.parametrize("steps", [3, 7, 53, 100])
def test_no_step_is_lost_in_rounding(steps: int, tmp_path: Path) -> None:
    found = stages_of(tmp_path, ("synthetic", 1), ("mixed", 2), steps=steps)
    assert [stage.steps for stage in found] == [steps // 3, steps - steps // 3]


def test_more_stages_than_steps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.stages: 2 steps are too few for 3 stages"):
        stages_of(tmp_path, ("real", 1), ("mixed", 1), ("real", 1), steps=2)


def test_stages_get_no_more_steps_than_one_training(tmp_path: Path) -> None:
    staged = stages_of(tmp_path, ("synthetic", 2), ("real", 4))
    cell, _ = only(planned(loaded(tmp_path, GENERATED)))
    assert sum(stage.steps for stage in staged) == cell.steps
