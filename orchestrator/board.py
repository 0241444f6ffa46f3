"""What of a plan is waiting, running, done or lost while it is carried out. Knows no Ray."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.plan import Step
from orchestrator.services import service_of
from tasks.specs import Key, Progress


class Watcher(Protocol):
    """Is told what happens; called from one thread at a time."""

    def started(self, step: Step) -> None:
        """A step was handed to a worker, perhaps not for the first time."""
        ...

    def progressed(self, step: Step, progress: Progress) -> None:
        """A running step said how far it is."""
        ...

    def finished(self, step: Step) -> None:
        """A step is on record."""
        ...

    def failed(self, step: Step, message: str) -> None:
        """A step failed by its own exception."""
        ...

    def lost(self, step: Step, message: str) -> None:
        """The machine took a step away; it is run again now or next time."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one worker does in one go: a step, and the evaluations that follow at once."""

    first: Step
    after: tuple[Step, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return (self.first, *self.after)


def jobs_of(steps: Mapping[Key, Step]) -> dict[Key, Job]:
    """Pair each trial with its evaluations; every other step is a job of its own."""
    after: dict[Key, list[Step]] = {}
    for step in steps.values():
        if step.kind == "evaluate":
            trial = step.needs[0]
            if trial in steps:
                after.setdefault(trial, []).append(step)
    paired = {step.key for each in after.values() for step in each}
    return {
        key: Job(first=step, after=tuple(after.get(key, ())))
        for key, step in steps.items()
        if key not in paired
    }


class Board:
    """The state of a run, shared by the thread that generates and the one that trains."""

    def __init__(self, steps: Mapping[Key, Step], slots: int, watcher: Watcher) -> None:
        self.jobs = jobs_of(steps)
        self.slots = slots
        self.failures: dict[Key, str] = {}
        self.user_error: str | None = None
        """The first fault of the user's own data: nothing more is started then."""
        self.losses: dict[Key, str] = {}
        """Why jobs were taken away for good in this run; they are done next time."""
        self.is_aborted = False
        self._watcher = watcher
        self._lock = threading.RLock()
        self._draining = False
        self._missing = {
            key: {n for step in job.steps for n in step.needs if n in steps}
            - {step.key for step in job.steps}
            for key, job in self.jobs.items()
        }
        self._service = {key: service_of(job.first) for key, job in self.jobs.items()}
        self._closed: set[str | None] = set()
        """Services of which nothing more is asked in this run."""
        self._others = [key for key, job in self.jobs.items() if job.first.kind != "trial"]
        self._running: set[Key] = set()
        self._ended: set[Key] = set()

    def take(self, trials: bool, among: Iterable[Key] | None = None) -> Job | None:
        """Hand out the next job that can run, if a slot is free.

        Args:
            trials: ask for a trial, which waits while everything else could use the slots.
            among: only these.
        """
        with self._lock:
            if self.stopping or len(self._running) >= self.slots:
                return None
            if trials and any(self._is_ready(key) for key in self._others):
                return None
            wanted = self.jobs if among is None else among
            for key in wanted:
                job = self.jobs[key]
                if (job.first.kind == "trial") == trials and self._is_ready(key):
                    self._running.add(key)
                    self._watcher.started(job.first)
                    return job
            return None

    def _is_ready(self, key: Key) -> bool:
        if self._missing[key] or key in self._running or key in self._ended:
            return False
        service = self._service[key]
        if service is None:
            return True
        # A step has calls at once of its own, and two steps might pay for the same edit.
        busy = any(self._service[other] == service for other in self._running)
        return not busy and service not in self._closed

    @property
    def stopping(self) -> bool:
        """Nothing more is started."""
        return self._draining or self.user_error is not None or self.is_aborted

    def drain(self) -> None:
        """Start nothing more; what runs goes on to its end."""
        self._draining = True

    def abort(self) -> None:
        """Nobody waits any longer for what runs."""
        self.is_aborted = True

    def is_over(self, trials: bool) -> bool:
        """No job of this sort runs, and none can become ready any more."""
        with self._lock:
            mine = {k for k, job in self.jobs.items() if (job.first.kind == "trial") == trials}
            if mine & self._running:
                return False
            if self.stopping:
                return True
            if any(self._is_ready(key) for key in mine):
                return False
            others_can = trials and not self.is_over(trials=False)
            return not (others_can and any(key not in self._ended for key in mine))

    def num_running(self) -> int:
        with self._lock:
            return len(self._running)

    def progressed(self, step: Step, progress: Progress) -> None:
        with self._lock:
            self._watcher.progressed(step, progress)

    def again(self, step: Step, message: str) -> None:
        """A running step was taken away and is being run again at once, in the same slot."""
        with self._lock:
            self._watcher.lost(step, message)
            self._watcher.started(step)

    def end(self, job: Job, finished: Iterable[Key], failures: Mapping[Key, str]) -> None:
        """Note how a job ended; what needs a step that did not finish is never started."""
        with self._lock:
            self._running.discard(job.first.key)
            self._ended.add(job.first.key)
            done = set(finished)
            for step in job.steps:
                if step.key in done:
                    self._watcher.finished(step)
                elif step.key in failures:
                    self.failures[step.key] = failures[step.key]
                    self._watcher.failed(step, failures[step.key])
            for missing in self._missing.values():
                missing -= done

    def lost(self, job: Job, message: str, again: bool) -> None:
        """The machine took a job away; `again` puts it back into the queue."""
        with self._lock:
            self._watcher.lost(job.first, message)
            self._running.discard(job.first.key)
            if not again:
                self._ended.add(job.first.key)
                self.losses[job.first.key] = message

    def close_service(self, job: Job, message: str) -> None:
        """A service cannot be asked: for lack of money, or of a key. What asks it waits."""
        with self._lock:
            self._closed.add(self._service[job.first.key])
            self.lost(job, message, again=False)

    def blame_user(self, message: str) -> None:
        """Stop the run: the user's data cannot be used."""
        with self._lock:
            self.user_error = self.user_error or message
