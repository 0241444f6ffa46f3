"""Carries a plan out on Ray: generation as tasks, trials through Tune; retries and drains."""

import contextlib
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.search.basic_variant import BasicVariantGenerator

from orchestrator.board import Board, Job, Watcher
from orchestrator.cluster import Cluster, resources, tune_storage
from orchestrator.ledger import Ledger
from orchestrator.plan import Step
from orchestrator.services import service_of
from orchestrator.steps import OF_DATA, Setting, StepFailed, drop_weights, perform
from tasks.specs import Key, Progress

MAX_LOSSES = 5
"""Times a job may be taken away by the machine in one run before it is left for the next."""
TOO_OFTEN = " (is there enough memory?)"

PENDING_ON_CLUSTER = 64
"""Jobs kept waiting beyond the slots in sight, so that an autoscaler sees what is wanted."""

REPORT_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    losses: Mapping[Key, str]
    """Steps that the machine took away too often, with one line each."""
    drained: bool
    user_error: str | None


def execute(
    steps: Mapping[Key, Step],
    ledger: Ledger,
    cluster: Cluster,
    setting: Setting,
    watcher: Watcher,
    say: Callable[[str], None],
    reuse_workers: bool = True,
) -> Outcome:
    """Run `steps`, each after what it needs; Ray is connected already.

    Args:
        steps: unfinished steps in an order that respects their needs.
        say: prints one line for the user.
        reuse_workers: train one trial after another in the same process (on a machine without
            GPU); results are bit-equal either way.
    """
    board = Board(steps, cluster.slots + (PENDING_ON_CLUSTER if cluster.may_grow else 0), watcher)
    crashes: list[BaseException] = []
    with _drain_on_signal(board, say) as drained:
        generation = threading.Thread(
            target=_generate_or_abort,
            args=(board, cluster, setting, ledger, crashes),
            name="augury-generate",
            daemon=True,
        )
        generation.start()
        try:
            _train(board, ledger, cluster, setting, reuse_workers)
            while generation.is_alive():
                # In short waits, because a signal is handled between them.
                generation.join(0.2)
        except BaseException:
            # Ray is shut down next, and must not be started anew by a thread that still asks it.
            board.abort()
            generation.join(5)
            raise
    if crashes:
        raise crashes[0]
    return Outcome(
        losses=board.losses,
        drained=drained.is_set(),
        user_error=board.user_error,
    )


@contextlib.contextmanager
def _drain_on_signal(board: Board, say: Callable[[str], None]) -> Iterator[threading.Event]:
    """First Ctrl-C: finish what runs, start nothing. Second, or SIGTERM: stop at once."""
    drained = threading.Event()

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if drained.is_set() or number == signal.SIGTERM:
            drained.set()
            raise KeyboardInterrupt
        drained.set()
        board.drain()
        say(f"finishing {board.num_running()} running steps; Ctrl-C again stops at once")

    if threading.current_thread() is not threading.main_thread():
        yield drained
        return
    before = {n: signal.signal(n, on_interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield drained
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Generation: everything that is no trial


def _events(step: Step, setting: Setting) -> Iterator[tuple[str, Any]]:
    """Perform a step on a worker, saying now and then how far it is."""
    device = "cuda" if ray.get_gpu_ids() else "cpu"
    last = time.monotonic()
    try:
        for progress in perform(step, setting, device):
            if time.monotonic() - last >= REPORT_EVERY_S:
                last = time.monotonic()
                yield "progress", progress
    except StepFailed as error:
        yield "failed", (error.message, error.by_user)


def _generate_or_abort(
    board: Board,
    cluster: Cluster,
    setting: Setting,
    ledger: Ledger,
    crashes: list[BaseException],
) -> None:
    """A thread that died silently would leave the trials waiting for ever."""
    try:
        _generate(board, cluster, setting, ledger)
    except BaseException as error:
        crashes.append(error)
        board.abort()


def _generate(board: Board, cluster: Cluster, setting: Setting, ledger: Ledger) -> None:
    # On one machine the board counts the slots; Ray must not count idle trial workers against them.
    remote = ray.remote(num_returns="streaming", max_retries=0)(_events)
    flying: dict[Any, Job] = {}
    losses: dict[Key, int] = {}
    while not board.is_aborted and (flying or not board.is_over(trials=False)):
        while (job := board.take(trials=False)) is not None:
            wanted = resources(job.first, cluster)
            flying[
                remote.options(
                    num_cpus=0 if cluster.local else wanted["CPU"], num_gpus=wanted.get("GPU", 0)
                ).remote(job.first, setting)
            ] = job
        if not flying:
            time.sleep(0.05)
            continue
        ready, _ = ray.wait(list(flying), num_returns=1, timeout=0.2, fetch_local=False)
        for stream in ready:
            if _next_event(stream, flying[stream], board, ledger, losses):
                del flying[stream]


def _next_event(
    stream: Any, job: Job, board: Board, ledger: Ledger, losses: dict[Key, int]
) -> bool:
    """Take one event of a running step; True when the step has ended, one way or another."""
    step = job.first
    try:
        what, value = ray.get(next(stream))
    except StopIteration:
        if ledger.record(step.kind, step.key) is None:
            return _lose(job, "ended without a record", board, losses)
        board.end(job, [step.key], {})
        return True
    except ray.exceptions.RayError as error:
        return _lose(job, _one_line(error), board, losses)
    if what == "progress":
        board.progressed(step, value)
        return False
    message, by_user = value
    if by_user and service_of(step):
        board.close_service(job, message)
        return True
    if by_user and step.kind in OF_DATA:
        board.blame_user(message)
    board.end(job, [], {step.key: message})
    return True


def _lose(job: Job, message: str, board: Board, losses: dict[Key, int]) -> bool:
    losses[job.first.key] = losses.get(job.first.key, 0) + 1
    again = losses[job.first.key] < MAX_LOSSES
    board.lost(job, message if again else f"{message}{TOO_OFTEN}", again)
    return True


def _one_line(error: BaseException) -> str:
    """The last line of a Ray error holds the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


# Training: trials through Tune


_BOARDS: dict[str, Board] = {}
"""Boards by name: Tune pickles its searchers and callbacks, which a lock would not survive."""


def _train(
    board: Board, ledger: Ledger, cluster: Cluster, setting: Setting, reuse_workers: bool
) -> None:
    """Run the trials of the board; each becomes ready as soon as its images are."""
    trials = [key for key, job in board.jobs.items() if job.first.kind == "trial"]
    if not trials:
        return
    name = f"augury-{uuid.uuid4().hex[:12]}"
    _BOARDS[name] = board
    storage = tune_storage(ledger, cluster)
    try:
        _tuner(name, trials, board, ledger, cluster, setting, storage, reuse_workers).fit()
    finally:
        del _BOARDS[name]
        if cluster.local:
            shutil.rmtree(storage, ignore_errors=True)
        else:
            ledger.delete("tune")


def _tuner(
    name: str,
    trials: list[Key],
    board: Board,
    ledger: Ledger,
    cluster: Cluster,
    setting: Setting,
    storage: str,
    reuse_workers: bool,
) -> Any:
    os.environ.update(
        {
            # The drain is ours: Tune's own handler stops trials in the middle.
            "TUNE_DISABLE_SIGINT_HANDLER": "1",
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
            "TUNE_MAX_PENDING_TRIALS_PG": str(board.slots),
            "TUNE_GLOBAL_CHECKPOINT_S": "3600",
            # Trials may wait for fits of hours; Tune's warning of that fails where it has none yet.
            "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1e12",
            "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S_AUTOSCALER": "1e12",
            "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
            "RAY_AIR_NEW_OUTPUT": "0",
        }
    )
    if "://" not in storage:
        Path(storage).mkdir(parents=True, exist_ok=True)
    jobs = {key: board.jobs[key] for key in trials}
    trainable = tune.with_resources(
        tune.with_parameters(_trial, jobs=jobs, setting=setting),
        lambda config: tune.PlacementGroupFactory(
            [resources(jobs[config["trial"]].first, cluster)]
        ),
    )
    return tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search(trials)},
        tune_config=tune.TuneConfig(
            search_alg=_Gate(name),
            reuse_actors=reuse_workers and cluster.local and not cluster.num_gpus,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=storage,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_LOSSES),
            callbacks=[_Tell(name, ledger.uri)],
        ),
    )


def _trial(config: dict[str, Any], jobs: Mapping[Key, Job], setting: Setting) -> None:
    """What Tune runs: a trial, then its evaluations, in the same process."""
    device = "cuda" if ray.get_gpu_ids() else "cpu"
    rows: list[Progress] = []
    last = time.monotonic()
    for step in jobs[config["trial"]].steps:
        try:
            for progress in perform(step, setting, device):
                if step.kind == "trial":
                    rows.append(progress)
                if rows and time.monotonic() - last >= REPORT_EVERY_S:
                    # Tune waits for the driver at each report, so several rows go in one.
                    tune.report({"rows": rows})
                    rows, last = [], time.monotonic()
        except StepFailed:
            # It is on record; for Tune the trial has ended, and is not tried again.
            break
    else:
        drop_weights(config["trial"], setting)
    tune.report({"rows": rows})


class _Gate(BasicVariantGenerator):
    """A grid search that hands out a trial when its images are there and a slot is free."""

    def __init__(self, board: str) -> None:
        super().__init__()
        self._board = board
        self._held: dict[Key, Any] | None = None

    def next_trial(self) -> Any:
        """The next of Tune's trials that the board lets go, or None for now."""
        board = _BOARDS[self._board]
        if self._held is None:
            self._held = {}
            while (trial := super().next_trial()) is not None:  # type: ignore[no-untyped-call]
                self._held[trial.config["trial"]] = trial
            # The grid is exhausted, the search is not: its trials are held here.
            self._finished = False
        job = board.take(trials=True, among=self._held)
        if job is not None:
            return self._held.pop(job.first.key)
        if board.is_over(trials=True):
            self.set_finished()  # type: ignore[no-untyped-call]
        return None

    def save_to_dir(self, dirpath: str, session_str: str = "", **_: Any) -> None:
        """Nothing is restored from Tune's files: planning again is how a run resumes."""


class _Tell(Callback):
    """Tells the board what becomes of each trial, by its record and not by Tune's word."""

    def __init__(self, board: str, store: str) -> None:
        self._board = board
        self._store = store

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[Any, Any], **info: Any
    ) -> None:
        board = _BOARDS[self._board]
        for progress in result.get("rows") or ():
            board.progressed(board.jobs[trial.config["trial"]].first, progress)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        board = _BOARDS[self._board]
        step = board.jobs[trial.config["trial"]].first
        board.again(step, "its worker was lost")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial)

    def _ended(self, trial: Any) -> None:
        board, ledger = _BOARDS[self._board], Ledger(self._store)
        job = board.jobs[trial.config["trial"]]
        finished = [s.key for s in job.steps if ledger.record(s.kind, s.key) is not None]
        failures = {}
        for step in job.steps:
            failed = ledger.failure(step.kind, step.key)
            if step.key not in finished and failed is not None:
                failures[step.key] = str(failed["error"])
        if len(finished) < len(job.steps) and not failures:
            board.lost(job, f"its worker was lost too often{TOO_OFTEN}", again=False)
        board.end(job, finished, failures)
