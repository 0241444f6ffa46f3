"""Whom a failed step blames: itself, which goes on record, or the machine, which does not."""

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from orchestrator.ledger import Ledger
from orchestrator.plan import Step
from orchestrator.steps import Setting, StepFailed, name_store, perform
from tasks import plugins
from tasks.errors import InputError
from tasks.specs import FitSpec, ImagesSpec, Progress

FIT, PACK = "a" * 64, "b" * 64
TORN = "[enforce fail at inline_container.cc:668] . unexpected pos 640 vs 534"

FAULTS = [
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    SafetensorError("Error while serializing: I/O error: Disk quota exceeded (os error 122)"),
    RuntimeError("basic_filebuf: No space left on device"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: out of memory"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    MemoryError(),
    ConnectionResetError("by peer"),
    TimeoutError("no answer"),
    OSError("When uploading part: AWS Error NETWORK_CONNECTION"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
]
OWN = [
    RuntimeError("the loss is not finite"),
    RuntimeError("shape '[28]' is invalid: os error 280"),
    SafetensorError("Error while deserializing: header too large"),
    FileNotFoundError(errno.ENOENT, "No such file or directory"),
    ValueError("eta=1"),
    InputError("a.png: not a readable image (No space left on device)"),
]


class Refused(InputError, ConnectionError):
    """What the user gave, though it is a fault by its other parent."""


Raising = Callable[[Exception], list[Progress]]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path))


@pytest.fixture
def fit_raises(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Raising:
    """Perform a fit whose task raises what it is given."""
    ledger.commit(ledger.begin("pack", PACK), {})
    images = ImagesSpec(pack=PACK, split_seed=0, validation=(1,), training=(1,))
    spec = FitSpec(generator=plugins.plugin("generators", "vae"), images=images, seed=0)
    step = Step(kind="fit", key=FIT, spec=spec, needs=(PACK,), title="fit vae", size=1)

    def performed(error: Exception) -> list[Progress]:
        def task(*_: object) -> Iterator[Progress]:
            yield Progress(done=0, total=1)
            raise error

        monkeypatch.setattr("tasks.fit.fit", task)
        return list(
            perform(step, Setting(store=ledger.uri, store_id=name_store(ledger), commit=""), "cpu")
        )

    return performed


def attempts(ledger: Ledger) -> list[str]:
    """What is left of the tries at the fit."""
    assert ledger.local is not None
    return [path.name for path in (ledger.local / "fit" / FIT).iterdir()]


def disk_with(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: (10**12, 10**12 - free, free))


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_a_fault_of_the_machine_is_raised_and_not_recorded(
    error: Exception, fit_raises: Raising, ledger: Ledger
) -> None:
    with pytest.raises(type(error)) as raised:
        fit_raises(error)
    assert raised.value is error
    assert ledger.failure("fit", FIT) is None
    assert attempts(ledger) == []


@pytest.mark.parametrize("error", [*OWN, Refused("no such address")], ids=repr)
def test_a_failure_of_the_step_is_recorded(
    error: Exception, fit_raises: Raising, ledger: Ledger
) -> None:
    with pytest.raises(StepFailed) as raised:
        fit_raises(error)
    assert raised.value.by_user is isinstance(error, InputError)
    failure = ledger.failure("fit", FIT)
    assert failure is not None
    assert str(error) in failure["error"]
    assert attempts(ledger) == ["failed.json"]


def test_a_torn_file_is_blamed_on_a_full_disk(
    fit_raises: Raising, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_with(monkeypatch, free=49_000_000)
    with pytest.raises(RuntimeError, match="inline_container"):
        fit_raises(RuntimeError(TORN))
    assert ledger.failure("fit", FIT) is None


def test_a_torn_file_is_blamed_on_the_step_where_there_is_room(
    fit_raises: Raising, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_with(monkeypatch, free=51_000_000)
    with pytest.raises(StepFailed):
        fit_raises(RuntimeError(TORN))
    assert ledger.failure("fit", FIT) is not None


@pytest.mark.parametrize("error", [MemoryError(), ValueError("swept away")], ids=repr)
def test_a_slower_run_leaves_nothing_behind(
    error: Exception, ledger: Ledger, fit_raises: Raising, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own folder was opened after the faster run had swept."""
    begin = ledger.begin

    def faster(_: Ledger, kind: str, key: str) -> object:
        ledger.commit(begin(kind, key), {})
        return begin(kind, key)

    monkeypatch.setattr(Ledger, "begin", faster)
    assert len(fit_raises(error)) == 1
    record = ledger.record("fit", FIT)
    assert record is not None
    assert sorted(attempts(ledger)) == sorted(["done.json", record["attempt"]])
