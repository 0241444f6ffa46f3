"""Load a study, plan it, run it, report it: what commands do, and notebooks may do too."""

import functools
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import inputs
from orchestrator.collect import collect
from orchestrator.display import Both, Display, Silent
from orchestrator.estimate import Clock, load_rates, save_rates
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, Scores, Step, make_plan, needed, sources
from orchestrator.report.results import StudyResult
from orchestrator.study import StudySpec, load_study
from tasks.errors import InputError
from tasks.specs import DatasetInfo, Key, Plugin

if TYPE_CHECKING:
    import pandas

    from orchestrator.steps import Setting
    from orchestrator.tracking import SyncReport

DEFAULT_STORE = "augury-store"
TRACKING_SCHEMES = ("http:", "https:", "sqlite:", "postgresql", "mysql", "mssql", "databricks")
STEP_KINDS = ("pack", "fit", "sample", "gather", "trial", "evaluate")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan beside what the store holds of it."""

    plan: Plan
    ledger: Ledger
    infos: dict[Plugin, DatasetInfo]
    done: frozenset[Key]
    failed: frozenset[Key]

    @functools.cached_property
    def to_run(self) -> dict[Key, Step]:
        """The steps that a run would do now."""
        return needed(self.plan, set(self.done), set(self.failed))

    def status(self, key: Key, to_run: Mapping[Key, Step]) -> str:
        """`finished`, `failed`, `to_run`, `blocked` by a failed step, or `unneeded`."""
        if key in self.done:
            return "finished"
        if key in self.failed:
            return "failed"
        if key in to_run:
            return "to_run"
        needs = self.plan.steps[key].needs
        blocked = any(self.status(need, to_run) in ("failed", "blocked") for need in needs)
        return "blocked" if blocked else "unneeded"

    @property
    def num_finished(self) -> int:
        """Trials that are trained and evaluated."""
        return sum(t.evaluate in self.done for t in self.plan.trials())

    @property
    def num_to_run(self) -> int:
        """Trials that still have to be trained or evaluated."""
        steps = self.to_run
        return sum(t.trial in steps or t.evaluate in steps for t in self.plan.trials())

    @property
    def num_failed(self) -> int:
        """Trials that failed, or need a step that did."""
        steps = self.to_run
        bad = ("failed", "blocked")
        return sum(
            self.status(t.trial, steps) in bad or self.status(t.evaluate, steps) in bad
            for t in self.plan.trials()
        )

    @property
    def is_complete(self) -> bool:
        """Every trial of every study is finished, and none is deferred."""
        return not self.plan.deferred and self.num_finished == self.plan.unique


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


def plan(
    studies: Sequence[StudySpec],
    store: str = DEFAULT_STORE,
    *,
    fetch: bool = False,
    infos: dict[Plugin, DatasetInfo] | None = None,
) -> Planned:
    """Look at the data and the store, and plan studies together.

    Args:
        fetch: download published datasets that are missing, and refuse any other gap.
        infos: what the sources hold, where it is known already.
    """
    ledger = Ledger(store)
    if infos is None:
        named = {source: None for study in studies for source in _sources(study)}
        infos = inputs.identify(named, fetch=fetch)
    scores: dict[Key, Scores] = {}
    made = make_plan(studies, infos, scores)
    # A winner may decide a study whose winner decides another: look again until nothing is new.
    while (new := _known_scores(ledger, made.awaited, studies, infos) | scores) != scores:
        scores = new
        made = make_plan(studies, infos, scores)
    done, failed = ledger.finished(STEP_KINDS), ledger.failed(STEP_KINDS)
    return Planned(
        plan=made,
        ledger=ledger,
        infos=infos,
        done=frozenset(done & set(made.steps)),
        failed=frozenset(failed & set(made.steps)),
    )


def _sources(study: StudySpec) -> Iterable[Plugin]:
    yield from sources(study)
    if study.best_of is not None:
        yield from _sources(study.best_of.study)


def _known_scores(
    ledger: Ledger,
    awaited: Sequence[Key],
    studies: Sequence[StudySpec],
    infos: dict[Plugin, DatasetInfo],
) -> dict[Key, Scores]:
    """Scores of the trials that decide a winner; empty for those that can never have any."""
    if not awaited:
        return {}
    siblings = [study.best_of.study for study in studies if study.best_of is not None]
    steps = make_plan(siblings, infos, {}).steps
    bad = ledger.failed(STEP_KINDS) - ledger.finished(STEP_KINDS)
    for key, step in steps.items():
        if any(need in bad for need in step.needs):
            bad.add(key)
    found = {key: _scores(ledger, key) for key in awaited}
    return {
        key: {} if scores is None else scores
        for key, scores in found.items()
        if scores is not None or key in bad
    }


def _scores(ledger: Ledger, key: Key) -> Scores | None:
    record = ledger.record("trial", key)
    if record is not None:
        found: Scores = record["result"]["scores"]
        return found
    return {} if ledger.failure("trial", key) is not None else None


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
    from orchestrator.steps import Setting, name_store, source_commit
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
        _note_mirrored(planned, uri)
    drop_weights(planned, setting)
    return RunResult(
        planned=planned, results=results, num_steps=num_steps, losses=losses, drained=drained
    )


def drop_weights(planned: Planned, setting: "Setting") -> None:
    """Delete weights that need not be kept, where a kill came between a trial and that."""
    from orchestrator import steps

    if setting.keep_weights != "all":
        for trial in planned.plan.trials():
            if trial.evaluate in planned.done:
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


def stored_studies(store: str) -> list[StudySpec]:
    """The studies that were run on a store, as they were run; those that are gone are left out."""
    found = []
    for note in Ledger(store).notes("studies"):
        try:
            found.append(load_study(note["origin"], note["overrides"], note["smoke"]))
        except InputError as error:
            print(f"study {note['name']} is left out: {error}", file=sys.stderr)
    return found


def report(
    studies: Sequence[StudySpec], store: str = DEFAULT_STORE, *, sheets: bool = False
) -> list[StudyResult]:
    """Read the outcomes of studies from the store; nothing is run.

    Args:
        sheets: also read sample images and loss curves, for pages.
    """
    planned = _with_data(plan(studies, store))
    return [
        collect(
            each, planned.plan, planned.ledger, sheets=sheets, command=_command(each.spec, store)
        )
        for each in planned.plan.studies
    ]


def _with_data(planned: Planned) -> Planned:
    """Records are found by what the data holds: without it there is nothing to say."""
    if planned.plan.placeholders:
        missing = planned.plan.placeholders[0]
        raise InputError(
            f"{missing} is not there, so the records of these studies cannot be found; run this "
            f"where the study was run, or say where the data is"
        )
    return planned


def frame(study: StudySpec, store: str = DEFAULT_STORE) -> "pandas.DataFrame":
    """The table of a study: one row a cell and metric, scores as fractions."""
    from orchestrator.report.table import frame as as_frame

    return as_frame(report([study], store)[0])


def sync(
    studies: Sequence[StudySpec], store: str = DEFAULT_STORE, tracking_uri: str | None = None
) -> "SyncReport":
    """Bring everything that the store knows of these studies to MLflow; safe to repeat.

    Raises TrackingUnavailable where the server does not answer.
    """
    from orchestrator import tracking
    from orchestrator.live import study_runs
    from orchestrator.report.write import write_report

    planned = _with_data(plan(studies, store))
    uri = tracking_address(planned.ledger, tracking_uri)
    found = [
        (
            each,
            collect(
                each, planned.plan, planned.ledger, sheets=True, command=_command(each.spec, store)
            ),
        )
        for each in planned.plan.studies
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = {
            each.spec.name: write_report(result, Path(folder) / each.spec.name).files
            for each, result in found
        }
        done = tracking.sync(uri, [study_runs(each, result) for each, result in found], files)
    _note_mirrored(planned, uri)
    return done


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
            _note_mirrored(planned, uri)
        except tracking.TrackingUnavailable as error:
            print(f"{error}; `augury sync` brings the runs there later", file=sys.stderr)
    return RunResult(planned=planned, results=results, num_steps=0, losses=(), drained=False)


def _note_mirrored(planned: Planned, uri: str) -> None:
    from orchestrator.live import mirror_digest, mirror_note

    for study in planned.plan.studies:
        digest = mirror_digest(study, set(planned.done))
        planned.ledger.put_note(mirror_note(uri, study), {"digest": digest})


def _command(study: StudySpec, store: str) -> str:
    """The command line that makes a report again."""
    words = ["augury", "report", study.origin]
    words += ["--smoke"] if study.smoke else []
    words += [word for text in study.overrides for word in ("--set", text)]
    words += ["--store", store] if store != DEFAULT_STORE else []
    return shlex.join(words)
