"""Mirrors studies into MLflow: live from a thread of its own, or all at once by `sync`.

MLflow is never asked what is done; the ledger knows. A server that does not answer costs one
warning and stops nothing, and `augury sync` brings the runs there later.
"""

import os
import queue
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit

from orchestrator.mirror import Mirror
from orchestrator.runs import CellRun, Point, Row, Run, SetRun, StudyRuns, TrialRun
from tasks.specs import Key

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

__all__ = [
    "UI_ENVIRONMENT",
    "CellRun",
    "SetRun",
    "StudyRuns",
    "SyncReport",
    "Tracker",
    "TrackingUnavailable",
    "TrialRun",
    "default_uri",
    "safe_uri",
    "sync",
    "ui_command",
]

Args = ParamSpec("Args")
Answer = TypeVar("Answer")

UI_ENVIRONMENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
"""Defaults to start `ui_command` with: no telemetry, and none of the job runners we never use."""

_CLIENT_ENVIRONMENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    # Otherwise a call to a server that is gone blocks for minutes: 7 retries of 120 s.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    # Otherwise database migrations and run addresses are printed into our progress display.
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_MAX_METRICS, _MAX_PARAMS = 1000, 100
"""In one `log_batch`."""


class TrackingUnavailable(Exception):
    """The tracking server does not answer, or refuses; one line that says which and why."""


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """What `sync` found and did."""

    num_runs: int
    """Runs of these studies in the server now."""
    num_created: int
    num_points: int
    """Points of metrics that were added; 0 when the mirror was complete."""


def default_uri(store_uri: str, local: bool) -> str:
    """A SQLite file in a local store; for a remote one beside the user, since it needs a disk."""
    if local:
        path = unquote(urlsplit(store_uri).path) if store_uri.startswith("file:") else store_uri
        folder = Path(path)
    else:
        folder = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "augury"
    return f"sqlite:///{folder.expanduser().absolute() / 'mlflow.db'}"


def safe_uri(uri: str) -> str:
    """`uri` without what may be secret: user, password and query."""
    return re.sub(r"//[^/@]*@", "//", uri).split("?")[0]


def ui_command(uri: str, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves MLflow's pages on the database at `uri`.

    Start it with `env={**UI_ENVIRONMENT, **os.environ}` and stop it with SIGTERM, which it hands
    on to its workers. Raises `ValueError` for a server's address: there a browser is enough.
    """
    if uri.startswith(("http:", "https:")):
        raise ValueError(f"{safe_uri(uri)} is a tracking server already: open it in a browser")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    folder = _artifacts(uri)
    if folder is not None:  # else MLflow makes a folder `mlartifacts` where the user happens to be
        command += ["--artifacts-destination", folder.as_uri()]
    return [*command, "--host", host, "--port", str(port), "--workers", "1"]


def sync(
    uri: str,
    studies: Sequence[StudyRuns],
    reports: Mapping[str, Sequence[Path]] | None = None,
) -> SyncReport:
    """Bring finished and failed trials to the server, with the report files by study name.

    Safe to repeat: runs and points that are there are left alone. Raises `TrackingUnavailable`.
    """
    try:
        mirror = Mirror(_Server(uri))
        try:
            for study in studies:
                mirror.open(study)
                mirror.attach(study.name, (reports or {}).get(study.name, ()))
        finally:
            mirror.close()
    except _expected_errors() as error:
        raise TrackingUnavailable(f"MLflow at {safe_uri(uri)}: {_reason(uri, error)}") from error
    return SyncReport(
        num_runs=mirror.num_runs,
        num_created=mirror.num_created,
        num_points=mirror.num_points,
    )


class Tracker:
    """Mirrors studies while they run. No call raises, and none waits but `close`, for a while.

    >>> tracker = Tracker(default_uri("augury-store", local=True), warn=print)
    >>> tracker.start_study(StudyRuns(name="digits", question="Does it help?", cells=()))
    >>> tracker.close()
    """

    def __init__(self, uri: str, warn: Callable[[str], None]) -> None:
        """`warn` gets at most one line in the life of a tracker, perhaps from another thread."""
        self._uri = uri
        self._warn = warn
        self._jobs: queue.SimpleQueue[Callable[[Mirror], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._gave_up = False
        self._last_answer = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="augury-tracking", daemon=True)
        self._thread.start()

    def start_study(self, study: StudyRuns) -> None:
        """Mirror what has ended and take the rest as planned; again when the plan has grown."""
        self._enqueue(lambda mirror: mirror.open(study))

    def trial_started(self, key: Key) -> None:
        """Also for a trial that starts again, in this driver or after another one."""
        self._enqueue(lambda mirror: mirror.started(key))

    def trial_progress(self, key: Key, rows: Sequence[Row]) -> None:
        """Each row holds `step` and what was measured there; many at a time cost little."""
        self._enqueue(lambda mirror: mirror.progress(key, rows))

    def trial_finished(self, key: Key, history: Sequence[Row], scores: Mapping[str, float]) -> None:
        """With its whole history: points that were already sent are left out."""
        self._enqueue(lambda mirror: mirror.finished(key, history, scores))

    def trial_failed(self, key: Key, error: str) -> None:
        """`error` is one line. A worker that was lost is no failure: its trial starts again."""
        self._enqueue(lambda mirror: mirror.failed(key, error))

    def close(self) -> None:
        """Write what is queued and end every run; give up when the server no longer answers.

        Waits as long as answers come, and 12 s for the next one (60 s for a database file, whose
        making is slow on network disks).
        """
        self._jobs.put(None)
        patience_s = 60 if self._uri.startswith("sqlite") else 12
        self._note_answer()
        while self._thread.is_alive() and not self._gave_up:
            self._thread.join(0.1)
            if time.monotonic() - self._last_answer > patience_s:
                self._give_up(f"no answer for {patience_s} s")
        # After a failure the thread still tries to end the runs; it is not worth more than this.
        self._thread.join(1)

    @property
    def gave_up(self) -> bool:
        """The server did not answer, so it may lack what happened since."""
        return self._gave_up

    def _enqueue(self, job: Callable[[Mirror], None]) -> None:
        if not self._gave_up:
            self._jobs.put(job)

    def _run(self) -> None:
        # A mirror must not sink a study, whatever goes wrong in it: so every error ends here.
        try:
            mirror = Mirror(_Server(self._uri, self._note_answer))
            try:
                while (job := self._jobs.get()) is not None and not self._gave_up:
                    job(mirror)
            except Exception as error:
                self._give_up(_reason(self._uri, error))
            finally:
                mirror.close()
        except Exception as error:
            self._give_up(_reason(self._uri, error))

    def _note_answer(self) -> None:
        self._last_answer = time.monotonic()

    def _give_up(self, reason: str) -> None:
        with self._lock:
            first, self._gave_up = not self._gave_up, True
        if first:
            self._warn(
                f"MLflow at {safe_uri(self._uri)}: {reason}; the study goes on without it, "
                "and `augury sync` brings its runs there later"
            )


class _Server:
    """A tracking server, or a database file, as `mirror.Runs` wants it."""

    def __init__(self, uri: str, on_answer: Callable[[], None] = lambda: None) -> None:
        for name, value in _CLIENT_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        _check_file(uri)
        on_answer()
        self._on_answer = on_answer
        self._artifacts = _artifacts(uri)
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def experiment(self, name: str, note: str) -> str:
        tags = {"mlflow.note.content": note, "mlflow.experimentKind": "custom_model_development"}
        found = self._ask(self._client.get_experiment_by_name, name)
        if found is None:
            place = None if self._artifacts is None else (self._artifacts / name).as_uri()
            return str(self._ask(self._client.create_experiment, name, place, tags))
        if found.lifecycle_stage == "deleted":
            self._ask(self._client.restore_experiment, found.experiment_id)
        if found.tags.get("mlflow.note.content") != note:
            self._ask(
                self._client.set_experiment_tag, found.experiment_id, "mlflow.note.content", note
            )
        return str(found.experiment_id)

    def find(self, experiment: str) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            page = self._ask(
                self._client.search_runs,
                [experiment],
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            runs += [_as_run(run) for run in page]
            token = page.token
            if not token:
                return runs

    def create(self, experiment: str, tags: Mapping[str, str]) -> Run:
        return _as_run(
            self._ask(
                self._client.create_run,
                experiment,
                tags=dict(tags),
                run_name=tags.get("mlflow.runName"),
            )
        )

    def write(
        self,
        run: Run,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        metrics = [Metric(p.metric, p.value, now, p.step) for p in points]
        pairs = [Param(name, value) for name, value in (params or {}).items()]
        marks = [RunTag(name, value) for name, value in (tags or {}).items()]
        log = self._client.log_batch
        for start in range(0, len(metrics), _MAX_METRICS):
            self._ask(log, run.id, metrics=metrics[start : start + _MAX_METRICS], synchronous=True)
        for start in range(0, len(pairs), _MAX_PARAMS):
            self._ask(log, run.id, params=pairs[start : start + _MAX_PARAMS], synchronous=True)
        for start in range(0, len(marks), _MAX_PARAMS):
            self._ask(log, run.id, tags=marks[start : start + _MAX_PARAMS], synchronous=True)

    def steps(self, run: Run, metric: str) -> set[int]:
        history = self._ask(self._client.get_metric_history, run.id, metric)
        return {int(point.step) for point in history}

    def set_status(self, run: Run, status: str) -> None:
        if status == "RUNNING":
            self._ask(self._client.update_run, run.id, status)
        else:
            self._ask(self._client.set_terminated, run.id, status)

    def attach(self, run: Run, file: Path, folder: str) -> None:
        self._ask(self._client.log_artifact, run.id, str(file), folder)

    def _ask(
        self, call: Callable[Args, Answer], *args: Args.args, **options: Args.kwargs
    ) -> Answer:
        answer = call(*args, **options)
        self._on_answer()
        return answer


def _as_run(run: "MlflowRun") -> Run:
    return Run(
        id=run.info.run_id,
        status=run.info.status,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        latest=dict(run.data.metrics),
    )


def _database_file(uri: str) -> Path | None:
    match = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(match[1]).absolute() if match else None


def _artifacts(uri: str) -> Path | None:
    """Where the files of runs go: beside a database file; a server decides for itself."""
    file = _database_file(uri)
    return None if file is None else file.parent / "mlflow-artifacts"


def _check_file(uri: str) -> None:
    """Fail at once (no folder, no right, no SQLite) where MLflow would try for minutes."""
    file = _database_file(uri)
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    finally:
        connection.close()


def _expected_errors() -> tuple[type[Exception], ...]:
    """What a server, a network or a disk may do to us; anything else is a mistake of ours."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)


def _reason(uri: str, error: Exception) -> str:
    """One line with no credentials in it."""
    text = str(error).replace(uri, safe_uri(uri))
    if re.match(r"API request to \S+ failed with (timeout )?exception", text):
        return "no answer"
    line = (text.strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {re.sub(r'//[^/@]*@', '//', line)[:200]}"
