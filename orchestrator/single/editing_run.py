"""Makes the edits that a folder lacks, on Ray workers, and writes each as soon as it is made."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import Ledger
from orchestrator.planned import Step
from orchestrator.single.editing_folder import EditFolder, is_full, why_full
from orchestrator.single.watching import Bar, Lines
from tasks.edit_files import id_of
from tasks.editing import OVER_BUDGET
from tasks.errors import InputError
from tasks.shards import SHARD_FILE
from tasks.specs import EditFilesSpec, Key, Progress

if TYPE_CHECKING:
    from orchestrator.execute import Outcome
    from orchestrator.steps import Setting


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where edits are made; none of it changes one."""

    store: str | None = None
    """Where steps and paid answers are kept; None is in the folder itself."""
    address: str | None = None
    num_workers: int | None = None
    gpus: bool | None = None


@dataclass(kw_only=True)
class Ended:
    """How a run ended."""

    num_new: int = 0
    seconds: float = 0.0
    cost_usd: float = 0.0
    why_left: dict[str, str] = field(default_factory=dict)
    """Why edits were not made, by id."""
    drained: bool = False


class _Enough(Exception):
    """The budget is reached: what other steps would ask is left for the next run."""


def ledger_of(folder: EditFolder, options: Options) -> Ledger:
    """The store of a run."""
    return Ledger(options.store or str(folder.store))


def run(folder: EditFolder, options: Options, shown: Bar | Lines) -> Ended:
    """Make what is missing, and write manifest, failures and sheet of all that is there.

    Raises InputError for what the user can mend; what was made is kept, and is not made again.
    """
    ended = Ended()
    began = time.monotonic()
    before = len(folder.rows)
    try:
        folder.begin()
        try:
            _make(folder, options, shown, ended)
        finally:
            ended.num_new = len(folder.rows) - before
            ended.seconds = time.monotonic() - began
    except InputError as error:
        _settle(folder, ended)
        raise InputError(f"{error}{_account(folder)}") from error
    except OSError as error:
        _settle(folder, ended)
        raise _unwritten(folder, error) from error
    try:
        folder.finish(ended.why_left)
        if not folder.missing and options.store is None:
            # What killed workers left; paid answers stay.
            ledger_of(folder, options).delete("edit_files")
    except OSError as error:
        raise _unwritten(folder, error) from error
    finally:
        folder.close()
    return ended


def _settle(folder: EditFolder, ended: Ended) -> None:
    """Say in the folder what is there, as far as it can be said."""
    try:
        if folder.rows and folder.is_begun:
            folder.finish(ended.why_left)
    except OSError:
        # What is said next is why.
        pass
    finally:
        folder.close()


def _account(folder: EditFolder) -> str:
    """What is there and what is left, where anything was made at all."""
    if not folder.rows:
        return ""
    total = len(folder.plan.planned)
    return (
        f" ({len(folder.rows):,} of {total:,} edits are done and kept, {len(folder.missing):,} are "
        f"left)"
    )


def _unwritten(folder: EditFolder, error: OSError) -> InputError:
    # Arrow's errors say the system's words in the middle of their own.
    why = why_full(str(error)) or error.strerror or str(error)
    what = "takes no more" if is_full(error) else "cannot be written"
    do = "make room, and run this again" if is_full(error) else "run this again to go on"
    total = len(folder.plan.planned)
    return InputError(
        f"--output-dir {folder.path}: {what} ({why}): {len(folder.rows):,} of "
        f"{total:,} edits are there and whole, {len(folder.missing):,} are left: {do}"
    )


def _make(folder: EditFolder, options: Options, shown: Bar | Lines, ended: Ended) -> None:
    from orchestrator.provenance import source_commit
    from orchestrator.steps import Setting, name_store

    ledger = ledger_of(folder, options)
    ledger.check_writable()
    exporting = _Exporting(folder, ledger, options.store is not None, shown, ended)
    # An earlier run may have been killed between making images and writing them here.
    for key in folder.noted_steps():
        exporting.take(key)
    for key in folder.plan.steps(folder.missing):
        exporting.take(key)
    steps = folder.plan.steps(folder.missing)
    folder.note_steps(steps)
    if not steps:
        return
    # What an earlier run could not do is tried again.
    ended.why_left.clear()
    setting = Setting(store=ledger.uri, store_id=name_store(ledger), commit=source_commit())
    try:
        outcome = on_ray(steps, ledger, options, setting, exporting)
    except _Enough:
        for each in folder.missing:
            ended.why_left.setdefault(each.id, OVER_BUDGET)
        return
    ended.drained = outcome.drained
    for key, why in outcome.losses.items():
        if said := why_full(why):
            why = f"{options.store or folder.path} takes no more ({said}): make room"
        exporting.leave(steps[key], why)
    if outcome.user_error:
        raise InputError(outcome.user_error)


def on_ray(
    steps: Mapping[Key, Step],
    ledger: Ledger,
    options: Options,
    setting: "Setting",
    exporting: "_Exporting",
) -> "Outcome":
    """Do steps on Ray; a service's one after the other, as it has calls at once of its own."""
    from orchestrator import cluster, execute

    num_workers = options.num_workers
    if exporting.is_service:
        num_workers = 1
    elif options.address is None:
        num_workers = min(num_workers or os.cpu_count() or 1, len(steps))
    gpus = False if exporting.is_service else options.gpus
    with cluster.attached(options.address, num_workers, gpus, ledger) as found:
        return execute.execute(steps, ledger, found, setting, exporting, _say)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class _Exporting:
    """A `Watcher` that writes the images of each step once it is done, and shows how far all is."""

    def __init__(
        self, folder: EditFolder, ledger: Ledger, keeps: bool, shown: Bar | Lines, ended: Ended
    ) -> None:
        """Nothing is done yet.

        Args:
            keeps: steps stay in the store, for whoever else uses it.
        """
        self.is_service = folder.plan.edits.about.service
        self._folder, self._ledger, self._keeps = folder, ledger, keeps
        self._shown, self._ended = shown, ended
        self._running: dict[Key, Progress] = {}
        self._begun = False

    def take(self, key: Key) -> str:
        """Write what a step has made, if it is done; why nothing more can be made, if so."""
        record = self._ledger.record("edit_files", key)
        if record is None:
            return ""
        result = record["result"]
        shard = self._ledger.fetch("edit_files", key) / SHARD_FILE
        left = self._folder.take(key, shard, result)
        self._ended.why_left |= left
        if left or not self._keeps:
            # What is left is asked again by a step of that key; the images have their files now.
            self._ledger.delete(f"edit_files/{key}")
        return str(result["stopped"])

    def leave(self, step: Step, why: str) -> None:
        """Note why the edits of a step were not made."""
        spec = step.spec
        assert isinstance(spec, EditFilesSpec)
        for each in spec.edits:
            id = id_of(spec.editor, spec.generator, spec.seed, each)
            self._ended.why_left[id] = why

    def started(self, step: Step) -> None:
        if not self._begun:
            # Starting workers and loading models says nothing of how fast edits are made.
            total = len(self._folder.plan.planned)
            self._shown.show("start workers", Progress(done=0, total=total), "images")

    def progressed(self, step: Step, progress: Progress) -> None:
        self._running[step.key] = progress
        self._show(step)

    def finished(self, step: Step) -> None:
        """Raises InputError where nothing more can be made."""
        self._running.pop(step.key, None)
        record = self._ledger.record("edit_files", step.key)
        assert record is not None
        self._ended.cost_usd += record["result"]["cost_usd"]
        stopped = self.take(step.key)
        self._show(step)
        if stopped:
            raise InputError(stopped)
        if OVER_BUDGET in self._ended.why_left.values():
            raise _Enough

    def failed(self, step: Step, message: str) -> None:
        self._running.pop(step.key, None)
        self.leave(step, message)

    def lost(self, step: Step, message: str) -> None:
        """It is done again."""
        self._running.pop(step.key, None)

    def _show(self, step: Step) -> None:
        self._begun = True
        done = len(self._folder.rows) + sum(each.done for each in self._running.values())
        running = (each.metrics["cost_usd"] for each in self._running.values())
        metrics: dict[str, Any] = {}
        if self.is_service:
            metrics["spent_usd"] = self._ended.cost_usd + sum(running)
        total = len(self._folder.plan.planned)
        self._shown.show(step.title, Progress(done=done, total=total, metrics=metrics), "images")
