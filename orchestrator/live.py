"""Feeds MLflow from a run as it goes, and from the ledger when all is done."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from orchestrator.collect import collect, flat_settings
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, PlannedStudy, PlannedTrial, Step
from orchestrator.report.fidelity import fit_state, set_labels
from orchestrator.report.loss_figures import thinned
from orchestrator.report.results import CellResult, SetResult, StudyResult, TrialResult
from orchestrator.report.set_files import set_files, study_files
from orchestrator.report.set_panels import sheets_of
from orchestrator.runs import CellRun, SetRun, StudyRuns, TrialRun
from orchestrator.tracking import Tracker, safe_uri
from orchestrator.trial_results import finished_trial
from tasks.specs import Key, Progress, canonical


def study_runs(study: PlannedStudy, result: StudyResult) -> StudyRuns:
    """What MLflow shows of a study: its cells with flat parameters, and its trials."""
    flat = [flat_settings(cell) for cell in study.cells]
    names = sorted({name for each in flat for name in each})
    return StudyRuns(
        name=study.spec.name,
        question=study.spec.question,
        cells=tuple(
            CellRun(
                label=cell.label,
                coordinates=cell.coordinates,
                params={name: each.get(name, "") for name in names},
                trials=_trial_runs(cell),
            )
            for cell, each in zip(result.cells, flat, strict=True)
        ),
        sets=_set_runs(study, result),
        files=study_files(result),
    )


def _trial_runs(cell: CellResult) -> tuple[TrialRun, ...]:
    return tuple(
        TrialRun(
            key=trial.key,
            seed=trial.seed,
            fold=trial.fold,
            status=trial.status,
            history=trial.history,
            scores=scores_of(trial),
            error=trial.error,
        )
        for trial in cell.trials
        if trial.key is not None
    )


def _set_runs(study: PlannedStudy, result: StudyResult) -> tuple[SetRun, ...]:
    """The sets of which something is known; a set that is only planned has no run."""
    labels, sheets = set_labels(result), sheets_of(result)
    flat = {each.pack: flattened(canonical(each.source)) for each in study.sets}
    names = sorted({name for each in flat.values() for name in each})
    return tuple(
        SetRun(
            key=each.key,
            name=labels[each.key],
            status="failed" if _failure(each) else "finished",
            params={name: flat.get(each.key, {}).get(name, "") for name in names},
            tags=_tags(each),
            measures=_measured(each),
            losses=_loss_rows(each),
            files=set_files(each, sheets.get(each.key), result.classes),
            error=_failure(each),
        )
        for each in result.sets
        if _measured(each) or _failure(each)
    )


def _tags(each: SetResult) -> dict[str, str]:
    gate = each.audit.gate if each.audit is not None else ""
    seed = "" if each.seed is None else str(each.seed)
    return {
        "augury.generator": each.generator,
        "augury.group": each.group,
        "augury.seed": seed,
        "augury.audit_gate": gate,
    }


def _failure(each: SetResult) -> str:
    return each.fit.error if each.fit is not None else ""


def _measured(each: SetResult) -> dict[str, float]:
    """The measures, then cost and speed, then what the audit counted, under names of their own:
    `precision` of a set is not that of a classifier."""
    found = dict(each.measures)
    if each.fit is not None and fit_state(each.fit) == "finished":
        found["fit_seconds"] = each.fit.seconds
        found["fit_peak_memory_bytes"] = float(each.fit.peak_memory_bytes)
        found["fit_parameters"] = float(each.fit.num_parameters)
    if each.images_per_s is not None:
        found["images_per_s"] = each.images_per_s
    if each.audit is not None:
        found["test_copies"] = float(each.audit.test_exact + each.audit.test_near)
        found["memorised"] = float(each.audit.memorised)
        found["nearer_to_test"] = each.audit.nearer_to_test
    if each.filtered is not None:
        drawn, kept = sum(each.filtered.drawn), sum(each.filtered.kept)
        found["kept_share"] = kept / max(1, drawn)
    return {f"set/{name}": value for name, value in found.items()}


def _loss_rows(each: SetResult) -> tuple[dict[str, float], ...]:
    """The losses of the fit behind a set as rows by step, thinned as on the page."""
    rows: dict[float, dict[str, float]] = {}
    for name, points in each.losses.items():
        for step, value in thinned(points):
            rows.setdefault(step, {"step": step})[f"loss/{name}"] = value
    return tuple(rows[step] for step in sorted(rows))


def flattened(value: Any, path: str = "") -> dict[str, str]:
    """Settings by dotted path, as text."""
    if not isinstance(value, dict) or not value:
        return {path: value if isinstance(value, str) else json.dumps(value)}
    found: dict[str, str] = {}
    for key, item in value.items():
        found |= flattened(item, f"{path}.{key}" if path else key)
    return found


def scores_of(trial: TrialResult) -> dict[str, float]:
    """The final metrics of a trial's run."""
    if trial.status != "finished":
        return {}
    shifted = {
        f"{metric}_on_{where}": value
        for where, scores in trial.shifted.items()
        for metric, value in scores.items()
    }
    return {**trial.scores, **shifted, **trial.companion, "seconds": trial.seconds}


def mirror_digest(study: PlannedStudy, done: set[Key]) -> str:
    """Changes whenever a study has something new to mirror."""
    keys = [
        key
        for cell in study.cells
        for trial in cell.trials
        for key in trial.evaluations
        if key in done
    ]
    keys += [key for each in study.sets for key in each.ends if key in done]
    text = "\n".join([study.spec.question, *study.spec.metrics, *sorted(keys)])
    return hashlib.sha256(text.encode()).hexdigest()


def mirror_note(tracking_uri: str, study: PlannedStudy) -> str:
    """Where the ledger remembers what one tracking server was told of a study."""
    place = hashlib.sha256(safe_uri(tracking_uri).encode()).hexdigest()[:12]
    return f"mirrored/{place}-{study.spec.name}"


SEND_EVERY_S = 5.0
"""Points of a running trial go in batches: MLflow takes as long for one as for hundreds, and it
takes that time from the cores that train."""


class LiveFeed:
    """A watcher that passes trials on to MLflow; nothing in it can stop or slow a run."""

    def __init__(self, tracker: Tracker, ledger: Ledger, warn: Callable[[str], None]) -> None:
        self._tracker, self._ledger, self._warn = tracker, ledger, warn
        self._trials: dict[Key, tuple[PlannedStudy, PlannedTrial]] = {}
        self._waiting: dict[Key, tuple[list[Mapping[str, float]], float]] = {}
        """Rows that are not sent yet, and since when they wait."""
        # Metrics are computed from stored predictions, away from the threads that schedule.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="augury-live")

    def open(self, plan: Plan) -> None:
        """Say what is planned; again when a winner has let more be planned."""
        for study in plan.studies:
            result = collect(study, plan, self._ledger)
            self._tracker.start_study(study_runs(study, result))
            for trial in (t for cell in study.cells for t in cell.trials):
                for key in trial.evaluations:
                    self._trials.setdefault(key, (study, trial))

    def started(self, step: Step) -> None:
        if step.kind == "trial":
            self._tracker.trial_started(step.key)

    def progressed(self, step: Step, progress: Progress) -> None:
        if step.kind != "trial" or not progress.metrics:
            return
        rows, since = self._waiting.setdefault(step.key, ([], time.monotonic()))
        rows.append(progress.metrics)
        if time.monotonic() - since >= SEND_EVERY_S:
            del self._waiting[step.key]
            self._tracker.trial_progress(step.key, rows)

    def finished(self, step: Step) -> None:
        # A finished trial is sent with its whole history; what waits of it is part of that.
        self._waiting.pop(step.key, None)
        if step.kind == "evaluate" and step.key in self._trials:
            self._reader.submit(self._send, step.key)

    def failed(self, step: Step, message: str) -> None:
        if step.kind == "trial":
            self._tracker.trial_failed(step.key, message)

    def lost(self, step: Step, message: str) -> None:
        """A lost trial starts again, which is said then."""

    def close(self, plan: Plan, results: Sequence[StudyResult]) -> None:
        """Send what the live feed may have missed, and end all runs."""
        self._reader.shutdown(wait=True)
        for study, result in zip(plan.studies, results, strict=True):
            self._tracker.start_study(study_runs(study, self._with_pictures(study, plan, result)))
        self._tracker.close()

    def _with_pictures(self, study: PlannedStudy, plan: Plan, result: StudyResult) -> StudyResult:
        """The outcomes of a study that made sets, with their pictures, which no trial waits for.

        From a remote store that would fetch every pack to here: there `augury sync` brings them.
        """
        if not result.sets or result.sheets or self.gave_up or self._ledger.local is None:
            return result
        try:
            return collect(study, plan, self._ledger, sheets=True)
        except (OSError, ValueError, KeyError) as error:
            self._warn(f"MLflow: pictures of {result.name} are left out ({error})")
            return result

    @property
    def gave_up(self) -> bool:
        """MLflow did not answer: `augury sync` must catch up."""
        return self._tracker.gave_up

    def _send(self, key: Key) -> None:
        study, planned = self._trials[key]
        try:
            trial = finished_trial(study, planned, self._ledger)
            if trial is not None:
                self._tracker.trial_finished(planned.trial, trial.history, scores_of(trial))
        except (OSError, ValueError, KeyError) as error:
            self._warn(f"MLflow: trial {planned.trial[:8]} is sent at the end ({error})")
