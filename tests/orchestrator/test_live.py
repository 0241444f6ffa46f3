"""What MLflow is told of the synthetic sets of a study."""

from dataclasses import replace
from pathlib import Path

from orchestrator.live import study_runs
from orchestrator.planning import plan
from orchestrator.study import load_study
from tests.orchestrator.report import samples, set_samples


def test_sets_of_a_study_become_runs(tmp_path: Path) -> None:
    planned = plan([load_study("quickstart", (), smoke=True)], str(tmp_path)).plan.studies[0]
    (asked,) = planned.sets
    one = set_samples.made_set("ddpm", key=asked.pack, audit=set_samples.leaking())
    result = replace(
        samples.digits(),
        cells=(),
        sets=(one,),
        sheets=(replace(set_samples.set_sheet("ddpm"), key=asked.pack),),
    )
    (run,) = study_runs(replace(planned, cells=()), result).sets
    assert (run.key, run.name, run.status, run.error) == (asked.pack, "ddpm", "finished", "")
    assert run.params["generator.name"] == "ddpm"
    assert run.params["sampling.sampler"] == "ddim"
    assert run.params["settings.multiplier"] == "2"
    assert run.tags["augury.audit_gate"].startswith("audit of dvae")
    assert run.measures["set/fid"] == one.measures["fid"]
    assert run.measures["set/test_copies"] == 5
    assert run.measures["set/fit_seconds"] > 0
    assert [row["step"] for row in run.losses] == [20.0 * i for i in range(1, 101)]
    assert {"samples.png", "denoising.png", "map_tsne.svg"} <= set(run.files)
    assert set(study_runs(replace(planned, cells=()), result).files) == {
        *("fidelity.csv", "sets.csv"),
    }


def test_a_set_that_is_only_planned_has_no_run_and_a_diverged_one_has(tmp_path: Path) -> None:
    planned = plan([load_study("quickstart", (), smoke=True)], str(tmp_path)).plan.studies[0]
    failed = set_samples.diverged("gan", 0)
    assert failed.fit is not None
    waiting = replace(failed, key="w" * 64, fit=replace(failed.fit, error=""), losses={})
    result = replace(samples.digits(), cells=(), sets=(waiting, failed))
    (run,) = study_runs(replace(planned, cells=()), result).sets
    assert (run.key, run.status, run.measures) == (failed.key, "failed", {})
    assert "diverged by step 1200" in run.error
    assert len(run.losses) == 60
