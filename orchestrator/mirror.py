"""What a study looks like in a tracking server, and how to bring it there without doubling a point.

    experiment: <study>
      run <study>               num_trials, num_finished, num_failed; the report's files
        run <cell>              top1_mean, top1_std, ..., n; params with seed=all
          run seed 0: <cell>    curves by optimizer step, then the scores; params with seed=0
      run set <name>          set/fid, set/cas, ...; loss/<name> by step of the fit; its pictures

Nothing here knows MLflow: `Runs` is what a server must be able to do.
"""

import hashlib
import json
import math
import re
import statistics
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.runs import CellRun, Kind, Point, Row, Run, Runs, SetRun, StudyRuns, TrialRun
from tasks.specs import Key

_IDENTITY: Mapping[Kind, str] = {
    "study": "augury.study",
    "cell": "augury.cell_key",
    "trial": "augury.trial_key",
    "set": "augury.set_key",
}
"""The tag by which a run of each kind is found again."""

_MAX_PARAM, _MAX_TAG = 6000, 8000


@dataclass(kw_only=True)
class _Cell:
    spec: CellRun
    trials: dict[Key, TrialRun]
    """As they stand now."""

    @property
    def key(self) -> str:
        """A cell lives as long as its settings do: after an edit of the study it is another one."""
        text = json.dumps([self.spec.label, sorted(self.spec.params.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(kw_only=True)
class _Study:
    name: str
    experiment: str
    runs: dict[tuple[str, str], Run]
    """By kind and identity; also those that the study no longer asks for."""
    cells: list[_Cell] = field(default_factory=list)
    sets: tuple[SetRun, ...] = ()

    @property
    def run(self) -> Run:
        return self.runs["study", self.name]

    def trials(self) -> list[TrialRun]:
        return [trial for cell in self.cells for trial in cell.trials.values()]


class Mirror:
    """Brings studies to a tracking server, at once or as they happen. For one thread.

    Every call may be made again: runs are found by their tags and points by their steps.
    """

    def __init__(self, server: Runs) -> None:
        self._server = server
        self._studies: dict[str, _Study] = {}
        self.num_created = 0
        self.num_points = 0

    @property
    def num_runs(self) -> int:
        """Runs of the opened studies, with those that the studies no longer ask for."""
        return sum(len(study.runs) for study in self._studies.values())

    def open(self, asked: StudyRuns) -> None:
        """Mirror all that has ended; to be called again when the plan grows (after a `best_of`)."""
        if asked.name not in self._studies:
            self._studies[asked.name] = self._load(asked)
        study = self._studies[asked.name]
        study.cells = [
            _Cell(spec=cell, trials={trial.key: trial for trial in cell.trials})
            for cell in asked.cells
            if cell.trials
        ]
        study.sets = asked.sets
        tags = {"mlflow.runName": asked.name, "mlflow.note.content": asked.question}
        self._set_status(self._run(study, "study", asked.name, tags), "RUNNING")
        self._retire(study)
        # Backwards: MLflow's table has the latest run on top, and so it reads as the study does.
        for each in reversed(study.sets):
            self._write_set(study, each)
        for cell in reversed(study.cells):
            self._cell_run(study, cell)
            for trial in reversed(cell.trials.values()):
                self._write_outcome(study, cell, trial)
            self._summarise_cell(study, cell)
        self._summarise_study(study)
        self._keep(study.run, asked.files, "sets")

    def started(self, key: Key) -> None:
        """Open the run of a trial, or reopen the one that an earlier driver left."""
        for study, cell in self._places(key):
            self._set_status(self._cell_run(study, cell), "RUNNING")
            self._set_status(self._trial_run(study, cell, cell.trials[key]), "RUNNING")

    def progress(self, key: Key, rows: Sequence[Row]) -> None:
        """Add rows to the curves of a trial."""
        for study, cell in self._places(key):
            self._write_rows(self._trial_run(study, cell, cell.trials[key]), rows)

    def finished(self, key: Key, history: Sequence[Row], scores: Mapping[str, float]) -> None:
        """Complete the curves of a trial, add its scores, close it; cell and study follow."""
        for study, cell in self._places(key):
            trial = cell.trials[key]
            self._end(
                study,
                cell,
                replace(trial, status="finished", history=tuple(history), scores=dict(scores)),
            )

    def failed(self, key: Key, error: str) -> None:
        """Close a trial as failed; cell and study follow."""
        for study, cell in self._places(key):
            self._end(study, cell, replace(cell.trials[key], status="failed", error=error))

    def attach(self, name: str, files: Sequence[Path]) -> None:
        """Keep copies of a report's files beside the run of an opened study."""
        for file in files:
            self._server.attach(self._studies[name].run, file, "report")

    def close(self) -> None:
        """Leave no run running: what has not ended by now was stopped."""
        for study in self._studies.values():
            ends = {("cell", cell.key): _end_of(cell.trials.values()) for cell in study.cells}
            ends["study", study.name] = _end_of(study.trials())
            for place, run in study.runs.items():
                if run.status == "RUNNING":
                    self._set_status(run, ends.get(place, "KILLED"))

    def _load(self, asked: StudyRuns) -> _Study:
        """Index the runs of an experiment; what runs there was left by a driver that is gone."""
        experiment = self._server.experiment(asked.name, asked.question)
        runs: dict[tuple[str, str], Run] = {}
        for run in self._server.find(experiment):
            for kind, tag in _IDENTITY.items():
                if run.tags.get("augury.kind") == kind and tag in run.tags:
                    runs.setdefault((kind, run.tags[tag]), run)
        done = {t.key for cell in asked.cells for t in cell.trials if t.status == "finished"}
        for (_, identity), run in runs.items():
            # A finished trial that still runs may lack its last points; it is closed with them.
            if run.status == "RUNNING" and identity not in done:
                self._set_status(run, "KILLED")
        return _Study(name=asked.name, experiment=experiment, runs=runs)

    def _retire(self, study: _Study) -> None:
        """Tag the runs that an edited study no longer asks for, so that a filter can hide them."""
        asked = {("study", study.name), *(("set", each.key) for each in study.sets)}
        for cell in study.cells:
            asked |= {("cell", cell.key)} | {("trial", key) for key in cell.trials}
        for place, run in study.runs.items():
            if place not in asked:
                self._set_tags(run, {"augury.current": "false"})

    def _places(self, key: Key) -> list[tuple[_Study, _Cell]]:
        studies = self._studies.values()
        return [(study, cell) for study in studies for cell in study.cells if key in cell.trials]

    def _cell_run(self, study: _Study, cell: _Cell) -> Run:
        seeds = ", ".join(dict.fromkeys(str(trial.seed) for trial in cell.trials.values()))
        tags = {
            "mlflow.runName": cell.spec.label,
            "mlflow.parentRunId": study.run.id,
            "augury.seeds": seeds,
            **_place_tags(cell.spec),
        }
        return self._run(study, "cell", cell.key, tags, {**cell.spec.params, "seed": "all"})

    def _trial_run(self, study: _Study, cell: _Cell, trial: TrialRun) -> Run:
        fold = {} if trial.fold is None else {"fold": str(trial.fold)}
        place = f"seed {trial.seed}" + (f" fold {trial.fold}" if fold else "")
        tags = {
            "mlflow.runName": f"{place}: {cell.spec.label}",
            "mlflow.parentRunId": self._cell_run(study, cell).id,
            "augury.seed": str(trial.seed),
            "augury.error": trial.error,
            **_place_tags(cell.spec),
        }
        params = {**cell.spec.params, "seed": str(trial.seed), **fold}
        return self._run(study, "trial", trial.key, tags, params)

    def _write_set(self, study: _Study, each: SetRun) -> None:
        """Bring a set up to date. It is over when it is told of, so it is never left running."""
        tags = {
            "mlflow.runName": f"set {each.name}",
            "mlflow.parentRunId": study.run.id,
            "augury.set": each.name,
            "augury.error": each.error,
            **each.tags,
        }
        run = self._run(study, "set", each.key, tags, each.params)
        if run.status != "FINISHED":  # which is said last: the curves of such a run are complete
            self._write_rows(run, each.losses)
        self._write_values(run, each.measures, step=0)
        self._keep(run, each.files, "pictures")
        self._set_status(run, each.status.upper())

    def _keep(self, run: Run, files: Mapping[str, bytes], folder: str) -> None:
        """Keep these files beside a run, once: a tag says which of them are there."""
        if not files:
            return
        text = [(name, hashlib.sha256(files[name]).hexdigest()) for name in sorted(files)]
        digest = hashlib.sha256(json.dumps(text).encode()).hexdigest()[:16]
        if run.tags.get(f"augury.{folder}") == digest:
            return
        with tempfile.TemporaryDirectory() as place:
            for name, content in files.items():
                file = Path(place, name)
                file.write_bytes(content)
                self._server.attach(run, file, folder)
        self._set_tags(run, {f"augury.{folder}": digest})

    def _run(
        self,
        study: _Study,
        kind: Kind,
        identity: str,
        tags: Mapping[str, str],
        params: Mapping[str, str] | None = None,
    ) -> Run:
        """Find or create a run, and bring its tags and params up to date."""
        marks = {"augury.kind": kind, "augury.study": study.name, "augury.current": "true"}
        tags = {**tags, **marks, _IDENTITY[kind]: identity}
        run = study.runs.get((kind, identity))
        if run is None:
            run = self._server.create(study.experiment, _cut(tags, _MAX_TAG))
            study.runs[kind, identity] = run
            self.num_created += 1
        self._set_tags(run, tags)
        new = {k: v for k, v in _cut(params or {}, _MAX_PARAM).items() if k not in run.params}
        if new:
            self._server.write(run, params=new)
            run.params |= new
        return run

    def _set_tags(self, run: Run, tags: Mapping[str, str]) -> None:
        new = {k: v for k, v in _cut(tags, _MAX_TAG).items() if run.tags.get(k, "") != v}
        if new:
            self._server.write(run, tags=new)
            run.tags |= new

    def _set_status(self, run: Run, status: str) -> None:
        if run.status != status:
            self._server.set_status(run, status)
            run.status = status

    def _end(self, study: _Study, cell: _Cell, trial: TrialRun) -> None:
        cell.trials[trial.key] = trial
        self._write_outcome(study, cell, trial)
        self._summarise_cell(study, cell)
        self._summarise_study(study)

    def _write_outcome(self, study: _Study, cell: _Cell, trial: TrialRun) -> None:
        if trial.status not in ("finished", "failed"):
            return
        run = self._trial_run(study, cell, trial)
        if run.status != "FINISHED":  # which is said last: the curves of such a run are complete
            self._write_rows(run, trial.history)
        self._write_values(run, trial.scores, step=0)
        self._set_status(run, trial.status.upper())

    def _summarise_cell(self, study: _Study, cell: _Cell) -> None:
        trials = cell.trials.values()
        run = self._cell_run(study, cell)
        metrics = _cell_metrics([trial for trial in trials if trial.status == "finished"])
        self._write_values(run, metrics, step=int(metrics["n"]))
        if all(trial.status in ("finished", "failed") for trial in trials):
            self._set_status(run, _end_of(trials))

    def _summarise_study(self, study: _Study) -> None:
        statuses = [trial.status for trial in study.trials()]
        finished, failed = statuses.count("finished"), statuses.count("failed")
        counts = {"num_trials": len(statuses), "num_finished": finished, "num_failed": failed}
        self._write_values(study.run, counts, step=finished)

    def _write_rows(self, run: Run, rows: Sequence[Row]) -> None:
        """Add the points of curves at steps that have none."""
        points = {
            (_named(name), int(row["step"])): value
            for row in rows
            for name, value in row.items()
            if name != "step"
        }
        self._write_points(
            run,
            [
                Point(metric=name, value=float(value), step=step)
                for (name, step), value in points.items()
                if step not in self._steps(run, name)
            ],
        )

    def _write_values(self, run: Run, values: Mapping[str, float], step: int) -> None:
        """Make `values` the latest of their metrics: at `step`, or later where that is past."""
        points = []
        for name, value in ((_named(name), value) for name, value in values.items()):
            if name not in run.latest:
                points.append(Point(metric=name, value=value, step=step))
            elif not math.isclose(run.latest[name], value, rel_tol=1e-12):
                free = max(self._steps(run, name), default=-1) + 1
                points.append(Point(metric=name, value=value, step=max(step, free)))
        self._write_points(run, points)

    def _write_points(self, run: Run, points: Sequence[Point]) -> None:
        # MLflow stores infinity as the largest float: better a curve that ends where it diverged.
        points = [point for point in points if math.isfinite(point.value)]
        if not points:
            return
        self._server.write(run, points=points)
        self.num_points += len(points)
        for point in points:
            self._steps(run, point.metric).add(point.step)
            if point.step == max(run.steps[point.metric]):
                run.latest[point.metric] = point.value

    def _steps(self, run: Run, metric: str) -> set[int]:
        if metric not in run.steps:
            known = metric in run.latest
            run.steps[metric] = self._server.steps(run, metric) if known else set()
        return run.steps[metric]


def _place_tags(cell: CellRun) -> dict[str, str]:
    axes = {f"augury.axis.{path}": str(value) for path, value in cell.coordinates.items()}
    return {"augury.cell": cell.label, **axes}


def _cut(texts: Mapping[str, str], length: int) -> dict[str, str]:
    """Names and texts as MLflow takes them; other characters in a name are an error to it."""
    return {_named(name): text[:length] for name, text in texts.items()}


def _named(name: str) -> str:
    return re.sub(r"[^\w.\- :/]", "_", name)[:250]


def _cell_metrics(finished: Sequence[TrialRun]) -> dict[str, float]:
    """The mean and the sample standard deviation of each score, and the number of trials."""
    found: dict[str, float] = {"n": float(len(finished))}
    for name in dict.fromkeys(name for trial in finished for name in trial.scores):
        values = [trial.scores[name] for trial in finished if name in trial.scores]
        found[f"{name}_mean"] = statistics.fmean(values)
        if len(values) > 1:
            found[f"{name}_std"] = statistics.stdev(values)
    return found


def _end_of(trials: Collection[TrialRun]) -> str:
    """How a cell or a study is closed once nothing of it runs any more."""
    if all(trial.status == "finished" for trial in trials):
        return "FINISHED"
    return "FAILED" if any(trial.status == "failed" for trial in trials) else "KILLED"
