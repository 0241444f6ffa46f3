"""Edited sets and edited test sets: which images are edited, and what shares what."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.collect import collect
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, make_plan, sources
from tasks.errors import InputError
from tasks.specs import (
    EditSpec,
    EvaluateSpec,
    GatherSpec,
    ImagesSpec,
    Key,
    LineageSpec,
    SplitInfo,
    TrialSpec,
)
from tests.orchestrator.test_keys import PROMPTS
from tests.orchestrator.test_plan import INFO, planned
from tests.orchestrator.test_quality import loaded, of_kind

SDEDIT = {"editor": {"name": "sdedit", "strength": 0.5}}


def of_edit(plan: Plan, key: Key) -> EditSpec:
    spec = plan.steps[key].spec
    assert isinstance(spec, EditSpec)
    return spec


def prompted(folder: Path, text: str = "a sketch of {class}\na painting\n", **beside: Any) -> Any:
    path = folder / "prompts.txt"
    path.write_text(text)
    return {"editor": {"name": "img2img"}, "prompts": str(path), **beside}


def edited(folder: Path, edits: dict[str, Any], **changes: Any) -> Plan:
    return planned(loaded(folder, synthetic={"edited": edits}, sets=["edited"], **changes))


def test_training_images_alone_are_edited_once_for_each_prompt(tmp_path: Path) -> None:
    plan = edited(tmp_path, prompted(tmp_path, per_image=3))
    (cell,) = plan.studies[0].cells
    assert cell.num_synthetic == 2 * 3 * cell.num_real
    trial = of_kind(plan, "trial")[0]
    assert isinstance(trial, TrialSpec)
    shards = of_kind(plan, "edit")
    assert {shard.recipe.pack for shard in shards} == {trial.cell.images.pack}
    # Ranks of validation images, which come first in each class, are in no shard.
    first = {shard.label: shard.start for shard in reversed(shards)}
    for label, validation in enumerate(trial.cell.images.validation):
        size = next(s.stop - s.start for s in shards if s.label == label)
        assert first[label] == validation // size * size


def gather_of(plan: Plan, trial: TrialSpec) -> tuple[Key, GatherSpec]:
    (used,) = trial.cell.sets
    spec = plan.steps[used.pack].spec
    assert isinstance(spec, GatherSpec)
    return used.pack, spec


def test_a_set_gathers_edits_of_its_own_images_in_their_order(tmp_path: Path) -> None:
    dataset = {"name": "digits", "split_seed": 5}
    plan = edited(tmp_path, prompted(tmp_path), dataset=dataset, subset={"max_real": 100})
    for trial in of_kind(plan, "trial"):
        key, gather = gather_of(plan, trial)
        images = trial.cell.images
        assert gather.sources == images
        assert images.pack in plan.steps[key].needs
        assert {of_edit(plan, shard).split_seed for shard in gather.shards} == {5}


def test_what_is_fitted_for_edits_sees_training_images_alone(tmp_path: Path) -> None:
    further = {"shifted": {**SDEDIT, "of": "test", "seed": 4}}
    plan = edited(tmp_path, {**SDEDIT, "seed": 3}, evaluate_on=further)
    (trial, *_) = of_kind(plan, "trial")
    fits = {spec.seed: spec.images for spec in of_kind(plan, "fit")}
    assert set(fits) == {3, 4}
    assert fits[3] == trial.cell.images
    # Of tests that all cells share, it sees whatever any cell may train on.
    assert fits[4].pack == trial.cell.images.pack
    assert fits[4].validation == trial.cell.images.validation


def test_where_validation_images_lie_apart_all_others_are_edited(tmp_path: Path) -> None:
    counts = INFO.splits["train"].counts
    apart = replace(INFO, splits={**INFO.splits, "val": SplitInfo(digest="v", counts=(9,) * 4)})
    spec = loaded(tmp_path, synthetic={"edited": prompted(tmp_path)}, sets=["edited"])
    plan = make_plan([spec], dict.fromkeys(sources(spec), apart), {})
    ranks_of = {label: set[int]() for label in range(len(counts))}
    for each in of_kind(plan, "edit"):
        ranks_of[each.label] |= set(range(each.start, each.stop))
    assert {label: len(ranks) for label, ranks in ranks_of.items()} == dict(enumerate(counts))


def test_another_mask_in_the_same_file_makes_other_edits(tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    keys = []
    for grey in (255, 128):
        pixels = np.full((8, 8), 255, np.uint8)
        pixels[:4] = 255 - grey
        Image.fromarray(pixels).save(mask)
        plan = edited(tmp_path, {**SDEDIT, "mask": {"name": "file", "path": str(mask)}})
        keys.append({key for key, step in plan.steps.items() if step.kind == "edit"})
    assert keys[0]
    assert not keys[0] & keys[1]


def test_a_part_of_the_data_has_the_edits_that_all_of_it_has(tmp_path: Path) -> None:
    axes = {"subset.fraction": [0.25, 1.0]}
    both = edited(tmp_path, prompted(tmp_path), axes=axes)
    whole = edited(tmp_path, prompted(tmp_path))
    kinds = ("edit",)
    assert {k for k, s in both.steps.items() if s.kind in kinds} == {
        key for key, step in whole.steps.items() if step.kind in kinds
    }
    gathers = [spec for spec in of_kind(both, "gather") if isinstance(spec, GatherSpec)]
    few, all_of_it = sorted(gathers, key=lambda spec: len(spec.shards))
    assert set(few.shards) < set(all_of_it.shards)
    assert few.synthetic != all_of_it.synthetic


def test_weights_and_multipliers_draw_prompts(tmp_path: Path) -> None:
    plan = edited(tmp_path, prompted(tmp_path, multiplier=5))
    (cell,) = plan.studies[0].cells
    assert cell.num_synthetic == 5 * cell.num_real
    shards = of_kind(plan, "edit")
    assert {prompt.weight for shard in shards for prompt in shard.prompts} == {1.0}


def test_a_prompt_that_is_changed_edits_its_own_class_anew(tmp_path: Path) -> None:
    def keys(said: str) -> set[str]:
        path = tmp_path / "prompts.json"
        others = ", ".join(f'"{name}": "a toy"' for name in INFO.classes[1:])
        path.write_text(f'{{"{INFO.classes[0]}": "{said}", {others}}}')
        plan = edited(tmp_path, {"editor": "img2img", "prompts": str(path)})
        return {key for key, step in plan.steps.items() if step.kind == "edit"}

    before, after = keys("a drawing"), keys("a painting")
    shards = of_kind(edited(tmp_path, prompted(tmp_path, "a toy")), "edit")
    num_own = sum(shard.label == 0 for shard in shards)
    assert len(before - after) == num_own < len(before)


def test_sdedit_fits_the_images_of_the_cell(tmp_path: Path) -> None:
    plan = edited(tmp_path, SDEDIT, subset={"max_real": 100})
    (fit,) = of_kind(plan, "fit")
    assert fit.generator.name == "ddpm"
    assert sum(fit.images.training) == 100
    assert all(isinstance(spec, EditSpec) and spec.recipe.fit for spec in of_kind(plan, "edit"))


def test_edited_test_images_are_tested_on_and_never_trained_on(tmp_path: Path) -> None:
    further = {"shifted": {**SDEDIT, "of": "test"}}
    axes = {"subset.fraction": [0.25, 1.0]}
    plan = edited(tmp_path, SDEDIT, evaluate_on=further, axes=axes)
    tests = {spec.test for spec in of_kind(plan, "evaluate") if isinstance(spec, EvaluateSpec)}
    gathered = {
        key: {spec.recipe.pack for shard in step.spec.shards if (spec := of_edit(plan, shard))}
        for key, step in plan.steps.items()
        if isinstance(step.spec, GatherSpec)
    }
    trained = {each.pack for spec in of_kind(plan, "trial") for each in spec.cell.sets}
    train_pack = {spec.cell.images.pack for spec in of_kind(plan, "trial")}
    assert all(gathered[pack] == train_pack for pack in trained)
    # All cells are tested on the same edits, whatever part of the data they train on.
    (shifted,) = tests & set(gathered)
    assert not gathered[shifted] & train_pack
    assert dict(plan.studies[0].further) == {"shifted": plan.studies[0].num_test}


def test_a_folder_is_looked_through_for_edits_of_test_images(tmp_path: Path) -> None:
    plan = edited(tmp_path, {"folder": str(tmp_path / "edits")})
    (spec,) = of_kind(plan, "lineage")
    assert isinstance(spec, LineageSpec)
    (key,) = (key for key, step in plan.steps.items() if step.kind == "lineage")
    trials = [step for step in plan.steps.values() if step.kind == "trial"]
    assert trials
    for trial in trials:
        assert key in trial.needs
        assert isinstance(trial.spec, TrialSpec)
        assert spec.images in {each.pack for each in trial.spec.cell.sets}
    tested = {spec.test for spec in of_kind(plan, "evaluate") if isinstance(spec, EvaluateSpec)}
    assert tested == {*spec.tests}
    (trial, *_) = of_kind(plan, "trial")
    assert spec.real.validation == trial.cell.images.validation


def test_edits_of_further_test_sets_are_looked_for_too(tmp_path: Path) -> None:
    further = {"other": {"name": "digits", "part": "all"}, "shifted": {**SDEDIT, "of": "test"}}
    plan = edited(tmp_path, {"folder": str(tmp_path / "edits")}, evaluate_on=further)
    (spec,) = of_kind(plan, "lineage")
    assert isinstance(spec, LineageSpec)
    tested = {spec.test for spec in of_kind(plan, "evaluate") if isinstance(spec, EvaluateSpec)}
    (shifted,) = (key for key in tested if isinstance(plan.steps[key].spec, GatherSpec))
    # Its images name those that they were made from, which are looked for anyway.
    assert {*spec.tests} == tested - {shifted}


def paid(folder: Path, **changes: Any) -> Plan:
    edits = {"editor": {"provider": "openai"}, "prompts": str(PROMPTS)}
    return edited(folder, edits, **changes)


def test_a_service_is_asked_for_what_is_trained_on_alone(tmp_path: Path) -> None:
    for changes in ({"subset": {"max_real": 10}}, {"folds": 3}, {}):
        plan = paid(tmp_path, **changes)
        real = {trial.cell.images for trial in of_kind(plan, "trial")}
        asked = [
            (spec.recipe.pack, spec.label, rank)
            for spec in of_kind(plan, "edit")
            for rank in range(spec.start, spec.stop)
        ]
        wanted = {
            (images.pack, label, rank)
            for images in real
            for label, number in enumerate(INFO.splits["train"].counts)
            for rank in ranks(images, label, number)
        }
        assert set(asked) == wanted


def ranks(images: ImagesSpec, label: int, number: int) -> list[int]:
    """Of training images, as `tasks.packs.select` has them."""
    left = list(range(number))
    if images.fold is not None:
        index, folds = images.fold
        del left[number * index // folds : number * (index + 1) // folds]
    first = images.validation[label]
    return left[first : first + images.training[label]]


def test_training_images_of_ones_own_are_looked_through_too(tmp_path: Path) -> None:
    folder = {"name": "image_folder", "root": str(tmp_path)}
    plan = edited(tmp_path, SDEDIT, dataset=folder)
    (spec,) = of_kind(plan, "lineage")
    assert isinstance(spec, LineageSpec)
    assert spec.images in {trial.cell.images.pack for trial in of_kind(plan, "trial")}
    assert not of_kind(edited(tmp_path, SDEDIT), "lineage")


REFUSED = [
    ({"editor": "img2img"}, "edited.prompts: img2img needs prompts"),
    ({"editor": "sdedit", "prompts": "p.txt"}, "edited.prompts: sdedit draws the class"),
    ({"editor": "sdedti"}, "did you mean 'sdedit'"),
    ({"editor": "sdedit", "multiplier": 2, "per_image": 2}, "keep one"),
    ({"editor": "sdedit", "mask": "saliencey"}, "edited.mask"),
    ({"editor": "sdedit", "mask": {"name": "strokes", "min_coverage": 2.0}}, "min_coverage"),
    ({"editor": "sdedit", "filters": ["blank"]}, "edited.filters: unknown key"),
    ({"editor": {"provider": "openai", "name": "openai"}, "prompts": "p"}, "keep one"),
    ({"editor": "img2img", "prompts": "nowhere.txt"}, "cannot be read"),
    ({"editor": "gemini", "prompts": str(PROMPTS), "mask": "saliency"}, "mask: gemini takes none"),
    ({"editor": "flux_fill", "prompts": str(PROMPTS)}, "mask: flux_fill needs a mask"),
]


@pytest.mark.parametrize(("edits", "message"), REFUSED)
def test_edits_that_cannot_be_made_are_refused(
    edits: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        edited(tmp_path, edits)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_prompts_for_unknown_classes_and_edits_of_other_splits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('{"ctas": "a cat"}')
    with pytest.raises(InputError, match="unknown class 'ctas'"):
        edited(tmp_path, {"editor": "img2img", "prompts": str(path)})
    with pytest.raises(InputError, match=r"evaluate_on.shifted.of: test was expected"):
        edited(tmp_path, SDEDIT, evaluate_on={"shifted": {**SDEDIT, "of": "train"}})
    with pytest.raises(InputError, match=r"evaluate_on.shifted: in cross-validation"):
        edited(tmp_path, SDEDIT, evaluate_on={"shifted": SDEDIT}, folds=2)


TESTS_REFUSED = [
    ({"editr": "sdedit", "of": "test"}, r"sh\.editr: unknown key 'editr'; did you mean 'editor'"),
    ({"of": "test"}, r"sh\.editor: is missing"),
    ({"editor": "sdedit", "of": "train"}, r"sh\.of: test was expected"),
    ({"editor": "sdedit", "off": "test"}, r"sh\.off: unknown key 'off'; did you mean 'of'"),
    ({"editor": "sdedit", "seed": -1}, r"sh\.seed: "),
]


@pytest.mark.parametrize(("value", "why"), TESTS_REFUSED)
def test_edited_test_sets_that_cannot_be(value: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        edited(tmp_path, SDEDIT, evaluate_on={"sh": value})


def test_a_report_says_what_edited_the_test_images(tmp_path: Path) -> None:
    editor = {"name": "sdedit", "strength": 0.8, "steps": 10}
    shifted = {"editor": editor, "mask": {"name": "strokes", "max_coverage": 0.5}, "seed": 3}
    plan = edited(tmp_path, SDEDIT, evaluate_on={"shifted": shifted, "plain": {"editor": "sdedit"}})
    found = collect(plan.studies[0], plan, Ledger(str(tmp_path / "store")))
    assert found.edited_tests == {
        "shifted": "sdedit (strength 0.8; steps 10; mask strokes; max_coverage 0.5; seed 3)",
        "plain": "sdedit",
    }
