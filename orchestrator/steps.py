"""Performs one step in this process: inputs fetched, task called, record committed. No Ray."""

import errno
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.ledger import Attempt, Ledger
from orchestrator.plan import Step
from tasks.errors import InputError
from tasks.results import read_result
from tasks.specs import (
    AuditSpec,
    CasSpec,
    CellSpec,
    DuplicatesSpec,
    EvaluateSpec,
    ExtractorSpec,
    FeaturesSpec,
    FidelitySpec,
    FilterSpec,
    FitSpec,
    GateSpec,
    GatherSpec,
    Key,
    PackSpec,
    Progress,
    SampleSpec,
    TrialSpec,
    Work,
    canonical,
)

WITHOUT_TORCH = ("pack", "gather", "duplicates", "gate")
"""Kinds of step that load no torch."""

ON_CPU = (*WITHOUT_TORCH, "fidelity", "audit")
"""Kinds of step that compute no network, and so need no GPU."""

OF_DATA = ("pack", "gather", "duplicates")
"""Kinds whose errors by the user lie in the data: nothing is noted, as mended data has another
key, and the whole run stops."""

THREADS = 1
"""Of every step, whatever runs beside it: more cores run more steps, and never change a result."""

CHECKPOINT_EVERY_S = 60.0
STORE_NOTE = "store"

FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.ESTALE)

FAULT_TEXTS = (
    "No space left on device",
    "can't allocate memory",
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "ALLOC_FAILED",
    "DataLoader worker (pid",
)
"""How libraries that raise no OSError (torch, safetensors) speak of full disks, memory, and of a
process that was killed."""

FULL_BELOW_BYTES = 50_000_000

LIBRARIES = ("augury", "torch", "torchvision", "timm", "diffusers", "numpy", "pyarrow", "ray")


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
        yield from _work(step, ledger, attempt, device)
    except Exception as error:
        if ledger.record(step.kind, step.key) is not None:
            # Another run on the same store was faster, and may have swept this attempt away.
            ledger.discard(attempt)
            return
        if _is_fault(error, attempt.folder):
            ledger.discard(attempt)
            raise
        raise _failed(step, ledger, attempt, error) from error
    except BaseException:
        # Closed from outside, as by a worker that is told to stop: the step is not done.
        ledger.discard(attempt)
        raise
    ledger.commit(attempt, _record(step, attempt, setting, device, started))


def _failed(step: Step, ledger: Ledger, attempt: Attempt, error: Exception) -> StepFailed:
    """Note a failure, unless bad data is to blame: mended data has another key."""
    message = " ".join(str(error).split()) or type(error).__name__
    by_user = isinstance(error, InputError)
    said = message if by_user else f"{type(error).__name__}: {message}"
    if by_user and step.kind in OF_DATA:
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


def _work(step: Step, ledger: Ledger, attempt: Attempt, device: str) -> Work:
    """Call the task of a step with local folders for its inputs."""
    spec, out = step.spec, attempt.folder
    checkpoints = FileCheckpoints(ledger, attempt, CHECKPOINT_EVERY_S)
    match spec:
        case PackSpec():
            from tasks.pack import pack

            return pack(spec, out, step.size)
        case FitSpec():
            from tasks.fit import fit

            return fit(spec, ledger.fetch("pack", spec.images.pack), out, checkpoints, device)
        case SampleSpec():
            from tasks.generate import sample

            weights = ledger.fetch("fit", spec.synthetic.fit)
            return sample(
                spec, weights, ledger.fetch("pack", spec.synthetic.images.pack), out, device
            )
        case GatherSpec():
            from tasks.pack import gather

            shards = [_fetch(ledger, shard, "sample", "filter") for shard in spec.shards]
            return gather(spec, shards, out, step.size)
        case FilterSpec():
            from tasks.filter import filter_set

            return filter_set(
                spec,
                [ledger.fetch("sample", shard) for shard in spec.shards],
                ledger.fetch("fit", spec.synthetic.fit),
                ledger.fetch("pack", spec.synthetic.images.pack),
                None if spec.fitted is None else ledger.fetch("extractor", spec.fitted),
                out,
                device,
            )
        case ExtractorSpec():
            from tasks.extractor import fit_extractor

            return fit_extractor(spec, _packs(ledger, spec.cell), out, checkpoints, device)
        case FeaturesSpec():
            from tasks.features import extract

            fitted = None if spec.fitted is None else ledger.fetch("extractor", spec.fitted)
            return extract(spec, fetch_pack(ledger, spec.pack), fitted, out, device)
        case FidelitySpec():
            from tasks.fidelity import fidelity

            return fidelity(spec, _compared(ledger, spec), out)
        case AuditSpec():
            from tasks.audit import audit

            return audit(spec, _compared(ledger, spec), out)
        case GateSpec():
            from tasks.gate import gate

            return gate(spec, ledger.fetch("audit", spec.audit), out)
        case CasSpec():
            from tasks.cas import cas

            packs = _packs(ledger, spec.cell) | {spec.test: ledger.fetch("pack", spec.test)}
            return cas(spec, packs, out, checkpoints, device)
        case TrialSpec():
            from tasks.train import train

            return train(spec, _packs(ledger, spec.cell), out, checkpoints, device)
        case EvaluateSpec():
            from tasks.predict import predict

            inputs = {
                spec.trial: ledger.fetch("trial", spec.trial),
                spec.test: ledger.fetch("pack", spec.test),
            }
            if spec.without is not None:
                inputs[spec.without] = ledger.fetch("duplicates", spec.without)
            return predict(spec, inputs, out, device)
        case DuplicatesSpec():
            from tasks.duplicates import duplicates

            train_pack, test_pack = (ledger.fetch("pack", k) for k in (spec.train, spec.test))
            return duplicates(spec, train_pack, test_pack, out)


def fetch_pack(ledger: Ledger, key: Key) -> Path:
    """A pack of either kind: made from a dataset or folder, or gathered from shards."""
    return _fetch(ledger, key, "pack", "gather")


def _fetch(ledger: Ledger, key: Key, first: str, second: str) -> Path:
    """What one of two kinds of step wrote."""
    try:
        return ledger.fetch(first, key)
    except KeyError:
        return ledger.fetch(second, key)


def _packs(ledger: Ledger, cell: CellSpec) -> dict[Key, Path]:
    """The packs of everything that a cell trains and validates on."""
    keys = {cell.images.pack, cell.images.validation_pack, *(s.pack for s in cell.sets)}
    return {key: fetch_pack(ledger, key) for key in keys if key is not None}


def _compared(ledger: Ledger, spec: FidelitySpec | AuditSpec) -> dict[Key, Path]:
    """A synthetic set and the real images beside it, with the features of both."""
    packs = {spec.pack, spec.real.train.pack, spec.real.test}
    features = {spec.features, spec.real.train_features, spec.real.test_features}
    found = {key: fetch_pack(ledger, key) for key in packs}
    return found | {key: ledger.fetch("features", key) for key in features}


def _is_fault(error: Exception, folder: Path) -> bool:
    """The machine is to blame, not the step: running it again may well work."""
    if isinstance(error, InputError):
        return False
    if isinstance(error, MemoryError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and (error.errno is None or error.errno in FAULTS):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    text = str(error)
    if any(phrase in text for phrase in FAULT_TEXTS):
        return True
    if any(int(code) in FAULTS for code in re.findall(r"\bos error (\d+)", text)):
        return True
    # torch does not say why it could not write a file.
    return "[enforce fail at inline_container.cc" in text and _is_full(folder)


def _is_full(folder: Path) -> bool:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there)[2] < FULL_BELOW_BYTES


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


class FileCheckpoints:
    """Keeps the state of a long step in its scratch folder, and in a remote store."""

    NAME = "checkpoint.pt"

    def __init__(self, ledger: Ledger, attempt: Attempt, every_s: float) -> None:
        self._ledger, self._attempt, self._every_s = ledger, attempt, every_s
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last state, if there is one that can be read; nothing in it is executed."""
        import torch

        path = self._attempt.scratch / self.NAME
        self._ledger.restore_scratch(self._attempt, self.NAME)
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:
            # Damaged bytes fail in every way there is, and such a state is worth no more than none.
            path.unlink(missing_ok=True)
            return None
        return state

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save aside and rename, at most once in `every_s` seconds."""
        if time.monotonic() - self._last < self._every_s:
            return
        import torch

        self._attempt.scratch.mkdir(parents=True, exist_ok=True)
        aside = self._attempt.scratch / f".{self.NAME}.{os.getpid()}"
        try:
            torch.save(state(), aside)
            aside.replace(self._attempt.scratch / self.NAME)
        finally:
            aside.unlink(missing_ok=True)
        self._ledger.keep_scratch(self._attempt, self.NAME)
        self._last = time.monotonic()


def device_name(device: str) -> str:
    """What a record calls the device: the GPU's own name, or the processor's architecture."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name())
    return f"CPU {platform.machine()}"


def versions() -> dict[str, str]:
    """The releases of the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def source_commit() -> str:
    """The commit of Augury's own source, with `-dirty` where files changed; empty if unknown."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        if not (folder.parent / ".git").exists():
            return ""
        commit = git("rev-parse", "HEAD")
        return f"{commit}-dirty" if git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return ""
