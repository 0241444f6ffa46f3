"""Performs one step in this process: inputs fetched, task called, record committed. No Ray."""

import json
import time
import traceback
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.dispatch import work
from orchestrator.faults import is_fault
from orchestrator.ledger import Attempt, Ledger
from orchestrator.plan import Step
from orchestrator.provenance import device_name, versions
from orchestrator.services import service_of
from tasks.errors import InputError
from tasks.results import read_result
from tasks.specs import Key, Progress, canonical

WITHOUT_TORCH = ("pack", "gather", "duplicates", "gate", "lineage")
"""Kinds of step that load no torch."""

ON_CPU = (*WITHOUT_TORCH, "fidelity", "audit")
"""Kinds of step that compute no network, and so need no GPU."""

OF_DATA = ("pack", "gather", "duplicates")
"""Kinds whose errors by the user lie in the data: nothing is noted, as mended data has another
key, and the whole run stops."""

THREADS = 1
"""Of every step, whatever runs beside it: more cores run more steps, and never change a result."""

STORE_NOTE = "store"


class StepFailed(Exception):
    """A step failed by its own exception, which is on record; running it again would not help."""

    def __init__(self, message: str, by_user: bool) -> None:
        super().__init__(message, by_user)
        self.message = message
        self.by_user = by_user
        """What the user gave cannot be used, as against a fault of the step."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is the same for all steps of a run."""

    store: str
    store_id: str
    """As `name_store` gave it."""
    commit: str
    """Of Augury's source, with `-dirty` where it was changed; empty outside a checkout."""
    keep_weights: str = "all"
    threads: int = THREADS
    """Of each step; only whoever runs one step alone may give it more."""


def name_store(ledger: Ledger) -> str:
    """The name that a store keeps for its life; given now, if it has none yet."""
    found = ledger.note(STORE_NOTE)
    if found is None:
        found = {"id": uuid.uuid4().hex}
        ledger.put_note(STORE_NOTE, found)
    return str(found["id"])


def perform(step: Step, setting: Setting, device: str) -> Iterator[Progress]:
    """Do a step unless it is done, yielding its progress.

    Raises StepFailed for the step's own failures; faults of the machine (lost files, full disks,
    memory) are raised as they are and leave no record, so that the step is simply run again.
    """
    ledger = Ledger(setting.store)
    _check_store(ledger, setting)
    if ledger.record(step.kind, step.key) is not None:
        return
    if step.kind not in WITHOUT_TORCH:
        _calm(setting.threads)
    attempt = ledger.begin(step.kind, step.key)
    started = time.time()
    try:
        yield from work(step, ledger, attempt, device)
    except Exception as error:
        if ledger.record(step.kind, step.key) is not None:
            # Another run on the same store was faster, and may have swept this attempt away.
            ledger.discard(attempt)
            return
        if is_fault(error, attempt.folder):
            ledger.discard(attempt)
            raise
        raise _failed(step, ledger, attempt, error) from error
    except BaseException:
        # Closed from outside, as by a worker that is told to stop: the step is not done.
        ledger.discard(attempt)
        raise
    ledger.commit(attempt, _record(step, attempt, setting, device, started))


def _failed(step: Step, ledger: Ledger, attempt: Attempt, error: Exception) -> StepFailed:
    """Note a failure, unless the user mends what is to blame: bad data, a key, a budget."""
    message = " ".join(str(error).split()) or type(error).__name__
    by_user = isinstance(error, InputError)
    said = message if by_user else f"{type(error).__name__}: {message}"
    if by_user and (step.kind in OF_DATA or service_of(step)):
        ledger.discard(attempt)
    else:
        record = {
            "title": step.title,
            "error": said,
            "traceback": traceback.format_exc(),
            "settings": canonical(step.spec),
        }
        losses = attempt.folder / "losses.json"
        if losses.exists():
            # The way to where a fit diverged.
            record["history"] = json.loads(losses.read_text())
        ledger.fail(attempt, record)
    return StepFailed(said, by_user)


def _check_store(ledger: Ledger, setting: Setting) -> None:
    """A node of a cluster that does not see the store would write where nobody looks."""
    found = ledger.note(STORE_NOTE)
    if found is None or found["id"] != setting.store_id:
        raise ConnectionError(f"this node does not see the store {setting.store}")


def _calm(threads: int) -> None:
    """Give this process the threads of a step."""
    import torch

    torch.set_num_threads(threads)


def _record(
    step: Step, attempt: Attempt, setting: Setting, device: str, started: float
) -> dict[str, Any]:
    return {
        "title": step.title,
        "size": step.size,
        "settings": canonical(step.spec),
        "result": read_result(attempt.folder),
        "started": started,
        "seconds": time.time() - started,
        "device": device_name(device),
        "threads": setting.threads,
        "commit": setting.commit,
        "versions": versions(),
    }


def drop_weights(trial: Key, setting: Setting) -> None:
    """Delete the weights of a trial that need not be kept, once it is evaluated."""
    dropped = {"all": (), "selected": ("last",), "none": ("last", "selected")}
    for name in dropped[setting.keep_weights]:
        Ledger(setting.store).remove_file("trial", trial, f"{name}.safetensors")
