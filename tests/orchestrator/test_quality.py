"""Synthetic sets are measured once each, against the same real images, and gates hold trials up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.collect import collect
from orchestrator.ledger import Ledger
from orchestrator.overlay import merge
from orchestrator.plan import Plan, needed
from orchestrator.planned import PlannedSet
from orchestrator.study import StudySpec, load_study
from tasks.errors import InputError
from tasks.specs import (
    AuditSpec,
    CasSpec,
    ExtractorSpec,
    FeaturesSpec,
    FidelitySpec,
    FilterSpec,
    GateSpec,
    GatherSpec,
    SampleSpec,
)
from tests.orchestrator.test_plan import BASE, planned

MEASURED = ["fid", "kid", "precision", "recall", "density", "coverage"]
PLAIN = {key: value for key, value in BASE.items() if key not in ("measures", "audit")}


def loaded(folder: Path, name: str = "study", **changes: Any) -> StudySpec:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(merge(PLAIN, changes)))
    return load_study(str(path))


def of_kind(plan: Plan, kind: str) -> list[Any]:
    return [step.spec for step in plan.steps.values() if step.kind == kind]


def only_set(plan: Plan) -> PlannedSet:
    (found,) = plan.studies[0].sets
    return found


def test_a_set_is_measured_and_audited_if_nothing_is_said(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path))
    found = only_set(plan)
    assert found.fidelity is not None
    assert found.audit is not None
    assert (found.cas, found.gate) == (None, None)
    fidelity = plan.steps[found.fidelity].spec
    assert isinstance(fidelity, FidelitySpec)
    assert list(fidelity.measures) == MEASURED
    assert fidelity.pack == found.pack
    # One description each of the set, the train split and the test split, by one extractor.
    described = of_kind(plan, "features")
    assert len({spec.pack for spec in described}) == len(described) == 3
    assert len({spec.fitted for spec in described}) == len(of_kind(plan, "extractor")) == 1


def test_real_studies_measure_nothing(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, variant="real"))
    assert plan.studies[0].sets == ()
    assert not {"extractor", "features", "audit"} & {step.kind for step in plan.steps.values()}


def test_nothing_is_measured_where_that_is_asked(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, measures=[], audit=False))
    assert only_set(plan).ends == ()
    assert not of_kind(plan, "extractor")


def test_sets_of_all_subsets_are_compared_with_the_same_images(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, axes={"subset.fraction": [0.5, 1.0]}))
    compared = of_kind(plan, "fidelity")
    # And the real test images once, as a measure of what sets can reach.
    assert len({spec.pack for spec in compared}) == len(compared) == 3
    (held_out,) = (spec for spec in compared if spec.pack == spec.real.test)
    assert held_out.features == held_out.real.test_features
    assert len({each.held_out for each in plan.studies[0].sets}) == 1
    assert {sum(spec.real.train.training) for spec in compared} == {900}
    assert len(of_kind(plan, "extractor")) == 1
    # Memorised is what the generator saw, which is half as much in one of them.
    assert sorted(sum(s.real.train.training) for s in of_kind(plan, "audit")) == [450, 900]
    names = [each.name for each in plan.studies[0].sets]
    assert names == ["made (fraction=0.5)", "made (fraction=1.0)"]


def test_measures_move_no_trial(tmp_path: Path) -> None:
    with_, without = (
        planned(loaded(tmp_path, name, **changes))
        for name, changes in (("a", {}), ("b", {"measures": [], "audit": False}))
    )
    trials = [{t.trial for t in plan.trials()} for plan in (with_, without)]
    assert trials[0] == trials[1]


def test_a_gate_holds_up_the_trials_of_its_set_alone(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"axes": {"variant": ["real", "mixed"]}}
    plain = planned(loaded(tmp_path, "plain", **changes))
    gated = planned(loaded(tmp_path, "gated", audit={"max_test_duplicates": 0}, **changes))
    gate = only_set(gated).gate
    assert gate is not None
    assert gated.steps[gate].spec == GateSpec(
        audit=only_set(gated).audit or "", max_test_duplicates=0, max_memorisation=None, name="made"
    )
    real, mixed = gated.studies[0].cells
    assert all(gate in gated.steps[trial.trial].needs for trial in mixed.trials)
    assert all(gate not in gated.steps[trial.trial].needs for trial in real.trials)
    # What is waited for is no part of what a trial is.
    assert {t.trial for t in plain.trials()} == {t.trial for t in gated.trials()}
    stopped = needed(gated, set(), {gate})
    assert all(trial.trial in stopped for trial in real.trials)
    assert all(trial.trial not in stopped for trial in mixed.trials)


def test_cas_trains_on_the_set_alone(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, measures=["cas"]))
    found = only_set(plan)
    assert found.fidelity is None
    (spec,) = of_kind(plan, "cas")
    assert isinstance(spec, CasSpec)
    assert [taken.pack for taken in spec.cell.sets] == [found.pack]
    assert not sum(spec.cell.images.training)
    assert found.cas in needed(plan, set(), set())


def test_filters_see_images_by_what_the_generator_was_shown(tmp_path: Path) -> None:
    made = {"generator": "vae", "filters": ["blank", "confidence"]}
    plan = planned(loaded(tmp_path, synthetic={"made": made}, subset={"fraction": 0.5}))
    (spec,) = of_kind(plan, "filter")
    assert isinstance(spec, FilterSpec)
    assert [each.name for each in spec.filters] == ["blank", "confidence"]
    extractor = plan.steps[spec.fitted or ""].spec
    assert isinstance(extractor, ExtractorSpec)
    assert sum(extractor.cell.images.training) == 450
    # Measures compare all sets by one that saw every real image.
    sizes = {sum(each.cell.images.training) for each in of_kind(plan, "extractor")}
    assert sizes == {450, 900}
    (gather,) = of_kind(plan, "gather")
    assert isinstance(gather, GatherSpec)
    assert gather.shards == (only_set(plan).filter,)


def test_filters_are_an_axis(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, axes={"synthetic.made.filters": [[], ["blank"]]}))
    plain, filtered = plan.studies[0].sets
    assert (plain.filter, filtered.filter is not None) == (None, True)
    assert plain.shards == filtered.shards
    assert plain.pack != filtered.pack
    assert not any(spec.extractor for spec in of_kind(plan, "filter"))


@pytest.mark.parametrize(
    ("histogram", "counts"),
    [({"b": 7, "d": 2}, (0, 7, 0, 2)), ([1, 2, 3, 4], (1, 2, 3, 4))],
)
def test_a_histogram_says_how_many_of_each_class(
    tmp_path: Path, histogram: Any, counts: tuple[int, ...]
) -> None:
    made = {"generator": "vae", "histogram": histogram}
    plan = planned(loaded(tmp_path, synthetic={"made": made}))
    (shard,) = of_kind(plan, "sample")
    assert isinstance(shard, SampleSpec)
    assert shard.synthetic.counts == counts
    assert only_set(plan).per_class == counts


def test_set_seeds_make_sets_of_one_group(tmp_path: Path) -> None:
    axes = {"set_seed": [0, 1], "variant": ["real", "mixed"]}
    plan = planned(loaded(tmp_path, axes=axes))
    first, second = plan.studies[0].sets
    assert first.group == second.group
    assert first.pack != second.pack
    assert first.fit != second.fit
    assert first.name == second.name == "made"
    assert len(plan.studies[0].cells) == 3


def test_folders_are_compared_with_every_training_image(tmp_path: Path) -> None:
    sets = {"there": {"folder": str(tmp_path)}}
    plan = planned(loaded(tmp_path, synthetic=sets, sets=["there"]))
    (audit,) = of_kind(plan, "audit")
    assert isinstance(audit, AuditSpec)
    assert sum(audit.real.train.training) == 900


def test_folds_are_compared_with_their_own_images(tmp_path: Path) -> None:
    plan = planned(loaded(tmp_path, folds=2))
    compared = of_kind(plan, "fidelity")
    assert {spec.real.train.fold for spec in compared} == {(0, 2), (1, 2)}
    # Some of the test pack's images are training images of a fold.
    assert {each.held_out for each in plan.studies[0].sets} == {None}
    assert len(of_kind(plan, "extractor")) == 2
    assert all(isinstance(spec, FeaturesSpec) for spec in of_kind(plan, "features"))


def test_images_that_filters_dropped_for_good_are_not_counted(tmp_path: Path) -> None:
    made = {"generator": "vae", "multiplier": 1, "filters": ["blank"], "refill": False}
    plan = planned(loaded(tmp_path, synthetic={"made": made}))
    (study,), ledger = plan.studies, Ledger(str(tmp_path / "store"))
    (asked,) = study.cells
    assert collect(study, plan, ledger).cells[0].synthetic_per_class == asked.synthetic
    kept = (asked.synthetic[0] - 7, *asked.synthetic[1:])
    filtered = only_set(plan).filter
    assert filtered is not None
    result = {"drawn": asked.synthetic, "kept": kept, "dropped": []}
    record = {"result": result, "commit": "", "seconds": 1.0, "device": "cpu"}
    ledger.commit(ledger.begin("filter", filtered), record)
    (cell,) = collect(study, plan, ledger).cells
    assert cell.synthetic_per_class == kept
    assert cell.num_synthetic == asked.num_synthetic - 7


def test_arms_that_name_other_sets_differ_by_the_names_of_these(tmp_path: Path) -> None:
    made = {"full": {"generator": "vae"}, "gap": {"generator": "vae", "filters": ["blank"]}}
    arms = {"with": {"sets": ["full"]}, "filtered": {"sets": ["gap"]}, "none": {"variant": "real"}}
    compare = {"baseline": {"arm": "none"}}
    spec = loaded(tmp_path, synthetic=made, sets=["made"], arms=arms, compare=compare)
    plan = planned(spec)
    lines = collect(plan.studies[0], plan, Ledger(str(tmp_path / "store"))).differences
    changes = "num_synthetic: 0 -> 900, variant: real -> mixed"
    assert lines == (
        f"with differs from none in sets: none -> full, {changes}",
        f"filtered differs from none in sets: none -> gap, {changes}",
    )


def test_arms_with_other_augmentations_differ_by_the_names_of_these(tmp_path: Path) -> None:
    flipped = [{"name": "base", "crop": "none"}]
    arms = {
        "plain": {"train": {"augmentation": []}},
        "more": {"train": {"augmentation": ["base", "autoaugment"]}},
        "base": {"train": {"augmentation": ["base"]}},
        "own": {"train": {"augmentation": flipped}},
    }
    spec = loaded(tmp_path, variant="real", arms=arms, compare={"baseline": {"arm": "base"}})
    plan = planned(spec)
    lines = collect(plan.studies[0], plan, Ledger(str(tmp_path / "store"))).differences
    assert lines[:2] == (
        "plain differs from base in augmentations: base -> none",
        "more differs from base in augmentations: base -> base and autoaugment",
    )
    # Of the same names only their settings tell.
    assert '"crop": "none"' in lines[2]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"measures": ["fdi"]}, "measures: unknown measure 'fdi'; did you mean 'fid'"),
    ({"measures": "fid"}, "measures: a list of names"),
    ({"extractor": "inceptoin"}, "unknown extractor 'inceptoin'; did you mean"),
    ({"audit": {"max_test_duplicate": 0}}, "audit.max_test_duplicate: unknown key"),
    ({"audit": {"max_memorisation": 2.0}}, "audit.max_memorisation"),
    ({"audit": "no"}, "audit: false, or"),
    ({"synthetic": {"made": {"generator": "vae", "filters": ["blnk"]}}}, "did you mean 'blank'"),
    ({"synthetic": {"made": {"generator": "vae", "histogram": {"e": 1}}}}, "unknown class 'e'"),
    ({"synthetic": {"made": {"generator": "vae", "histogram": [1, 2]}}}, "2 numbers for 4 classes"),
    ({"synthetic": {"made": {"generator": "vae", "histogram": [0, 0]}}}, "asks for no image"),
    (
        {"synthetic": {"made": {"generator": "vae", "per_class": 3, "multiplier": 1}}},
        "multiplier and per_class both say how many",
    ),
    ({"synthetic": {"made": {"generator": "vae", "max_draws": 0}}}, "max_draws"),
    ({"set_seed": "a"}, "set_seed"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_refused_with_its_place(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    make: Callable[[], Plan] = lambda: planned(loaded(tmp_path, **changes))  # noqa: E731
    with pytest.raises(InputError, match=r"study\.(json|yaml)") as refused:
        make()
    assert message in str(refused.value)


def test_the_bundled_study_of_generators_measures_each() -> None:
    spec = load_study("generators")
    assert len(spec.axes["sets"]) == 10
