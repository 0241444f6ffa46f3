"""Runs studies: what is not done is done on Ray and mirrored into MLflow, whatever ends the run."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.collect import collect
from orchestrator.display import Both, Display, Silent
from orchestrator.estimate import Clock, load_rates, save_rates
from orchestrator.ledger import Ledger
from orchestrator.plan import Step
from orchestrator.planning import DEFAULT_STORE, Planned, plan
from orchestrator.report.results import StudyResult
from orchestrator.study import StudySpec
from tasks.errors import InputError
from tasks.specs import Key

if TYPE_CHECKING:
    from orchestrator.steps import Setting

TRACKING_SCHEMES = ("http:", "https:", "sqlite:", "postgresql", "mysql", "mssql", "databricks")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a run is carried out; none of it changes a number."""

    tracking_uri: str | None = None
    """MLflow; None is a SQLite file in the store, or beside the user where the store is remote."""
    address: str | None = None
    """Of a Ray cluster; None starts Ray here."""
    num_workers: int | None = None
    """Steps at once; None is one for each core."""
    gpus: bool | None = None
    """Use GPUs or not; None uses those in sight, True waits for a cluster to start one."""
    retry_failed: bool = False
    reuse_workers: bool = True


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended."""

    planned: Planned
    results: tuple[StudyResult, ...]
    num_steps: int
    """Steps that were done now."""
    losses: tuple[str, ...]
    """Steps that the machine took away too often, a line each."""
    drained: bool

    @property
    def is_complete(self) -> bool:
        return self.planned.is_complete


def run(
    studies: Sequence[StudySpec],
    store: str = DEFAULT_STORE,
    options: RunOptions | None = None,
    watcher: Callable[[dict[Key, Step], Clock], Display] | None = None,
) -> RunResult:
    """Do what is not done, and mirror it into MLflow.

    Args:
        watcher: makes the display of a run; None shows nothing.

    Raises InputError for data that is missing or cannot be used; nothing finished is lost.
    """
    options = options or RunOptions()
    ledger = Ledger(store)
    tracking_address(ledger, options.tracking_uri)
    planned = plan(studies, store, fetch=True)
    ledger.check_writable()
    if options.retry_failed:
        for key in planned.failed:
            ledger.forget_failure(planned.plan.steps[key].kind, key)
        planned = _again(planned, studies, store)
    for study in studies:
        ledger.put_note(f"studies/{study.name}", _study_note(study))
    steps = planned.to_run
    if not steps:
        return _settle(planned, options)
    return _carry_out(studies, planned, options, watcher)


def _carry_out(
    studies: Sequence[StudySpec],
    planned: Planned,
    options: RunOptions,
    watcher: Callable[[dict[Key, Step], Clock], Display] | None,
) -> RunResult:
    from orchestrator import cluster, execute
    from orchestrator.live import LiveFeed
    from orchestrator.provenance import source_commit
    from orchestrator.steps import Setting, name_store
    from orchestrator.tracking import Tracker

    ledger, store = planned.ledger, planned.ledger.uri
    setting = Setting(
        store=store,
        store_id=name_store(ledger),
        commit=source_commit(),
        keep_weights=_keep_weights(studies),
    )
    uri = tracking_address(ledger, options.tracking_uri)
    clock = Clock(
        slots=options.num_workers or os.cpu_count() or 1,
        rates=load_rates(ledger),
        waiting=dict(planned.to_run),
    )
    shown: Display = watcher(planned.to_run, clock) if watcher else Silent()
    feed = LiveFeed(Tracker(uri, shown.note), ledger, shown.note)
    num_steps, drained = 0, False
    losses: tuple[str, ...] = ()
    results: tuple[StudyResult, ...] = ()
    try:
        feed.open(planned.plan)
        with cluster.attached(options.address, options.num_workers, options.gpus, ledger) as found:
            clock.slots = found.slots
            while steps := planned.to_run:
                before = len(planned.done)
                outcome = execute.execute(
                    steps,
                    ledger,
                    found,
                    setting,
                    Both(shown, feed),
                    shown.note,
                    options.reuse_workers,
                )
                planned = _again(planned, studies, store)
                num_steps += len(planned.done) - before
                drained = outcome.drained
                losses = tuple(f"{steps[k].title}: {why}" for k, why in outcome.losses.items())
                if outcome.user_error:
                    raise InputError(outcome.user_error)
                new = {key: step for key, step in planned.to_run.items() if key not in steps}
                if drained or not new:
                    break
                shown.planned(new)
                feed.open(planned.plan)
    finally:
        # Whatever ended the run, what was measured is kept and no MLflow run is left open.
        save_rates(ledger, clock.rates)
        try:
            results = tuple(collect(s, planned.plan, ledger) for s in planned.plan.studies)
        finally:
            feed.close(planned.plan, results)
            shown.close()
    if not feed.gave_up:
        note_mirrored(planned, uri)
    drop_weights(planned, setting)
    return RunResult(
        planned=planned, results=results, num_steps=num_steps, losses=losses, drained=drained
    )


def drop_weights(planned: Planned, setting: "Setting") -> None:
    """Delete weights that need not be kept, where a kill came between a trial and that."""
    from orchestrator import steps

    if setting.keep_weights != "all":
        for trial in planned.plan.trials():
            if trial.is_finished(planned.done):
                steps.drop_weights(trial.trial, setting)


def _again(planned: Planned, studies: Sequence[StudySpec], store: str) -> Planned:
    """Plan anew over the same data; only the store is looked at again."""
    return plan(studies, store, infos=planned.infos)


def _keep_weights(studies: Sequence[StudySpec]) -> str:
    """Where studies differ, what any of them wants kept is kept."""
    for choice in ("all", "selected"):
        if any(study.keep_weights == choice for study in studies):
            return choice
    return "none"


def _study_note(study: StudySpec) -> dict[str, Any]:
    """How to load a study again without its command line: for `status` and `sync`."""
    return {
        "name": study.name,
        "question": study.question,
        "origin": str(Path(study.origin).absolute())
        if Path(study.origin).is_file()
        else study.origin,
        "overrides": list(study.overrides),
        "smoke": study.smoke,
    }


def tracking_address(ledger: Ledger, given: str | None) -> str:
    """Where MLflow is: as given, by `MLFLOW_TRACKING_URI`, else a file in or near the store."""
    from orchestrator.tracking import default_uri

    asked = given or os.environ.get("MLFLOW_TRACKING_URI")
    if asked and not asked.startswith(TRACKING_SCHEMES):
        raise InputError(
            f"--tracking-uri {asked}: give the http(s) address of an MLflow server, or of a "
            f"database such as sqlite:////absolute/path/mlflow.db"
        )
    return asked or default_uri(ledger.uri, ledger.local is not None)


def _settle(planned: Planned, options: RunOptions) -> RunResult:
    """A run with nothing to do: MLflow is told only what it has not been told yet."""
    from orchestrator import tracking
    from orchestrator.live import mirror_digest, mirror_note, study_runs

    ledger = planned.ledger
    uri = tracking_address(ledger, options.tracking_uri)
    results = tuple(collect(each, planned.plan, ledger) for each in planned.plan.studies)
    stale = [
        (study, result)
        for study, result in zip(planned.plan.studies, results, strict=True)
        if (ledger.note(mirror_note(uri, study)) or {}).get("digest")
        != mirror_digest(study, set(planned.done))
    ]
    if stale:
        try:
            tracking.sync(uri, [study_runs(study, result) for study, result in stale])
            note_mirrored(planned, uri)
        except tracking.TrackingUnavailable as error:
            print(f"{error}; `augury sync` brings the runs there later", file=sys.stderr)
    return RunResult(planned=planned, results=results, num_steps=0, losses=(), drained=False)


def note_mirrored(planned: Planned, uri: str) -> None:
    """Remember what MLflow was told, so that a run with nothing to do need not ask it."""
    from orchestrator.live import mirror_digest, mirror_note

    for study in planned.plan.studies:
        digest = mirror_digest(study, set(planned.done))
        planned.ledger.put_note(mirror_note(uri, study), {"digest": digest})
