"""What is done is done whole, on a disk and on an object store alike."""

import contextlib
import io
import json
import pickle
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.checkpoints import FileCheckpoints
from orchestrator.ledger import Attempt, Ledger, store_uri
from tasks.errors import InputError

KEY, OTHER = "a" * 64, "b" * 64


@pytest.fixture(params=["disk", "object store"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new store: a folder, or fsspec's file system in memory, which has no folders or renames."""
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if request.param == "disk":
        return str(tmp_path / "store with spaces")
    return f"fsspec+memory://{uuid.uuid4().hex}/store"


@pytest.fixture
def ledger(uri: str) -> Ledger:
    return Ledger(uri)


def begun(ledger: Ledger, text: str = "made", key: str = KEY, kind: str = "fit") -> Attempt:
    attempt = ledger.begin(kind, key)
    (attempt.folder / "file.txt").write_text(text)
    return attempt


def done(ledger: Ledger, text: str = "made", key: str = KEY, kind: str = "fit") -> Attempt:
    attempt = begun(ledger, text, key, kind)
    ledger.commit(attempt, {"seconds": 1.5})
    return attempt


def read(ledger: Ledger, key: str = KEY) -> str:
    """The file of a finished step, which is the same by both ways to it."""
    record = ledger.record("fit", key)
    assert record is not None
    text = ledger.read_file(record, "file.txt").decode()
    assert (ledger.fetch("fit", key) / "file.txt").read_text() == text
    return text


def test_an_empty_store_holds_nothing(ledger: Ledger) -> None:
    assert ledger.finished(["fit", "trial"]) == set()
    assert ledger.failed(["fit"]) == set()
    assert ledger.record("fit", KEY) is None
    assert ledger.failure("fit", KEY) is None
    assert ledger.note("anything") is None
    assert list(ledger.notes("studies")) == []
    with pytest.raises(KeyError, match="fit aaaaaaaaaaaa is not finished"):
        ledger.fetch("fit", KEY)


def test_a_committed_step_is_finished_and_can_be_read(ledger: Ledger, uri: str) -> None:
    attempt = done(ledger)
    for each in (ledger, Ledger(uri)):
        assert each.finished(["fit", "trial"]) == {KEY}
        assert each.finished(["trial"]) == set()
        record = each.record("fit", KEY)
        assert record == {"seconds": 1.5, "kind": "fit", "key": KEY, "attempt": attempt.name}
        assert read(each) == "made"


def test_a_fetched_copy_stays_where_it_is(ledger: Ledger) -> None:
    done(ledger)
    assert ledger.fetch("fit", KEY) == ledger.fetch("fit", KEY)


def test_an_attempt_that_ends_halfway_does_not_count(ledger: Ledger, uri: str) -> None:
    half = begun(ledger, "half")
    assert ledger.finished(["fit"]) == set()
    assert Ledger(uri).record("fit", KEY) is None
    done(ledger, "whole")
    assert read(ledger) == "whole"
    assert not half.folder.exists()


def test_the_marker_comes_last(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a full disk stops, nothing is done that is not whole."""
    attempt = begun(ledger)

    def full(name: str, data: bytes, **_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_put", full)
        with pytest.raises(OSError, match="No space left"):
            ledger.commit(attempt, {})
    assert ledger.record("fit", KEY) is None
    assert ledger.finished(["fit"]) == set()
    ledger.commit(attempt, {})
    assert read(ledger) == "made"


def test_a_commit_sweeps_what_earlier_tries_left(ledger: Ledger) -> None:
    old = begun(ledger, "old")
    old.scratch.mkdir(parents=True)
    (old.scratch / "checkpoint.pt").write_text("state")
    failed = begun(ledger, "failed")
    ledger.fail(failed, {"error": "broken"})
    done(ledger, "new")
    for attempt in (old, failed):
        assert not attempt.folder.exists()
        assert not attempt.scratch.exists()
    assert read(ledger) == "new"


def test_two_attempts_at_once_leave_one_whole(ledger: Ledger) -> None:
    one, two = begun(ledger, "one"), begun(ledger, "two")
    ledger.commit(one, {})
    # The slower one may find its files swept away; that must not harm the step.
    with contextlib.suppress(FileNotFoundError):
        ledger.commit(two, {})
    assert read(ledger) in ("one", "two")


def test_an_attempt_committed_beside_another_is_never_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: the second marker is put when the first is, but before the first sweeps."""
    ledger = Ledger(str(tmp_path))
    one, two = begun(ledger, "one"), begun(ledger, "two")
    sweep = ledger._sweep

    def late(attempt: Attempt) -> None:
        monkeypatch.setattr(ledger, "_sweep", sweep)
        ledger.commit(two, {})
        sweep(attempt)

    monkeypatch.setattr(ledger, "_sweep", late)
    ledger.commit(one, {})
    assert read(ledger) in ("one", "two")


def test_a_slower_attempt_ends_quietly(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    one, two = begun(ledger, "one"), begun(ledger, "two")
    ledger.commit(one, {})
    ledger.commit(two, {})
    assert read(ledger) == "one"
    assert not two.folder.exists()


# Failures


def test_failed_and_finished_are_told_apart(ledger: Ledger) -> None:
    ledger.fail(begun(ledger), {"error": "diverged"})
    done(ledger, key=OTHER)
    assert ledger.failed(["fit"]) == {KEY}
    assert ledger.finished(["fit"]) == {OTHER}
    assert ledger.failure("fit", KEY) == {"error": "diverged"}
    assert ledger.record("fit", KEY) is None


def test_a_failed_step_that_finishes_has_not_failed(ledger: Ledger) -> None:
    ledger.fail(begun(ledger), {"error": "diverged"})
    done(ledger)
    assert ledger.failed(["fit"]) == set()
    assert ledger.finished(["fit"]) == {KEY}


def test_a_failure_can_be_forgotten(ledger: Ledger) -> None:
    ledger.fail(begun(ledger), {"error": "diverged"})
    ledger.forget_failure("fit", KEY)
    ledger.forget_failure("fit", OTHER)
    assert ledger.failed(["fit"]) == set()
    assert ledger.failure("fit", KEY) is None


def test_a_discarded_attempt_leaves_its_scratch(ledger: Ledger) -> None:
    attempt = begun(ledger)
    attempt.scratch.mkdir(parents=True)
    ledger.discard(attempt)
    assert not attempt.folder.exists()
    assert ledger.begin("fit", KEY).scratch.is_dir()


# Files and notes


def test_one_file_can_be_dropped(ledger: Ledger) -> None:
    done(ledger)
    ledger.remove_file("fit", KEY, "file.txt")
    ledger.remove_file("fit", KEY, "file.txt")
    ledger.remove_file("fit", OTHER, "file.txt")
    record = ledger.record("fit", KEY)
    assert record is not None
    with pytest.raises(FileNotFoundError):
        ledger.read_file(record, "file.txt")


def test_notes_are_kept_by_name(ledger: Ledger, uri: str) -> None:
    ledger.put_note("rates", {"vae": 1})
    ledger.put_note("studies/b", {"name": "b"})
    ledger.put_note("studies/a", {"name": "a"})
    ledger.put_note("studies/a", {"name": "a", "again": True})
    other = Ledger(uri)
    assert other.note("rates") == {"vae": 1}
    assert list(other.notes("studies")) == [{"name": "a", "again": True}, {"name": "b"}]


def test_places_for_others_can_be_removed(ledger: Ledger) -> None:
    ledger.put_note("kept", {})
    assert ledger.path("notes") == f"{ledger.uri}/notes"
    ledger.delete("notes")
    ledger.delete("notes")
    assert ledger.note("kept") is None


def test_a_store_is_written_as_path_or_uri(tmp_path: Path) -> None:
    done(Ledger(str(tmp_path)))
    assert Ledger(tmp_path.as_uri()).finished(["fit"]) == {KEY}
    assert store_uri("s3://bucket/prefix/") == "s3://bucket/prefix"
    assert Ledger(str(tmp_path)).local == tmp_path


def test_a_writable_store_says_nothing(ledger: Ledger) -> None:
    ledger.check_writable()
    assert ledger.finished(["fit", "notes"]) == set()


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"--store .*/file/store: '.*/file' is not a folder"):
        Ledger(str(tmp_path / "file" / "store"))
    with pytest.raises(InputError, match=r"--store file:///proc/.*: cannot be written .*choose"):
        Ledger("/proc/augury-store").check_writable()


@pytest.mark.parametrize("given", ["nowhere://bucket/store", "://"])
def test_a_store_that_cannot_be_named_is_refused(given: str) -> None:
    with pytest.raises(InputError, match=f"--store {given}: "):
        Ledger(given)


# Checkpoints


def checkpoints(ledger: Ledger, every_s: float = 0) -> FileCheckpoints:
    return FileCheckpoints(ledger, ledger.begin("trial", KEY), every_s)


STATE = {"step": 3, "history": [{"loss": 0.5}], "weights": {"w": torch.arange(4.0)}, "none": None}


def test_a_later_attempt_finds_the_state(ledger: Ledger, uri: str) -> None:
    assert checkpoints(ledger).load() is None
    checkpoints(ledger).save_if_due(lambda: STATE)
    found = checkpoints(Ledger(uri)).load()
    assert found is not None
    assert torch.equal(found["weights"].pop("w"), torch.arange(4.0))
    assert found == {"step": 3, "history": [{"loss": 0.5}], "weights": {}, "none": None}


def test_another_machine_finds_the_state_in_an_object_store(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints(Ledger(uri)).save_if_due(lambda: STATE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    found = checkpoints(Ledger(uri)).load()
    assert found is not None
    assert found["step"] == 3


def test_a_state_is_saved_when_it_is_due_and_not_before(ledger: Ledger) -> None:
    calls = []

    def state() -> dict[str, Any]:
        calls.append(1)
        return STATE

    seldom = checkpoints(ledger, every_s=3600)
    seldom.save_if_due(state)
    assert not calls
    assert checkpoints(ledger).load() is None
    often = checkpoints(ledger)
    often.save_if_due(state)
    often.save_if_due(state)
    assert len(calls) == 2


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def saved_as(old: bool, state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def put_state(ledger: Ledger, data: bytes) -> FileCheckpoints:
    attempt = ledger.begin("trial", KEY)
    attempt.scratch.mkdir(parents=True, exist_ok=True)
    (attempt.scratch / FileCheckpoints.NAME).write_bytes(data)
    return FileCheckpoints(ledger, attempt, 0)


@pytest.mark.parametrize("form", ["pickle", "old torch", "torch"])
def test_nothing_in_a_checkpoint_is_executed(form: str, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    state = {"step": 1, "bomb": Bomb(touched)}
    data = pickle.dumps(state) if form == "pickle" else saved_as(form == "old torch", state)
    assert put_state(Ledger(str(tmp_path / "store")), data).load() is None
    assert not touched.exists()
    pickle.loads(pickle.dumps(state))
    assert touched.exists(), "the bomb is live"


def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    whole = saved_as(False, STATE)
    pickled = pickle.dumps({"step": 1, "name": "text", "list": [1, 2]}, protocol=2)
    damaged = [b"", b"\0" * 100, b"not a checkpoint", json.dumps({"step": 1}).encode()]
    damaged += [whole[:length] for length in range(1, len(whole), 37)]
    damaged += [pickled[:length] for length in range(1, len(pickled))]
    damaged += [bytes([b]) + pickled[1:] for b in range(256) if b != pickled[0]]
    for data in damaged:
        checkpoint = put_state(ledger, data)
        assert checkpoint.load() is None
        checkpoint.save_if_due(lambda: STATE)
        assert checkpoint.load() is not None
