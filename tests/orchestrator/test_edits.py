"""Edited sets and edited test sets: which images are edited, and what shares what."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan import Plan
from tasks.errors import InputError
from tasks.specs import EditSpec, EvaluateSpec, GatherSpec, Key, LineageSpec, TrialSpec
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
    assert tested == {spec.test}


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
