"""Finished work by key, on disks and object stores: `<kind>/<key>/done.json` says done."""

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, fs

from tasks.caches import cache_dir
from tasks.errors import InputError
from tasks.specs import Key

DONE = "done.json"
FAILED = "failed.json"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Where one try at a step works; nothing of it counts before it is committed."""

    kind: str
    key: Key
    name: str
    folder: Path
    """Local, and empty at the start."""
    scratch: Path
    """Local, kept between tries on this machine: checkpoints."""


class Ledger:
    """The store of a group of studies.

    A step writes under `<kind>/<key>/<attempt>/` and then, last and in one put, `done.json`, which
    names the attempt. Two workers that do the same step at once do no harm: one marker stands, and
    both attempts hold the same.
    """

    def __init__(self, uri: str) -> None:
        self.uri = store_uri(uri)
        try:
            self._fs, self._root = fs.FileSystem.from_uri(self.uri)
        except (ArrowException, ValueError, OSError) as error:
            raise InputError(f"--store {uri}: cannot be used ({error})") from error
        if not self._root.strip("/"):
            raise InputError(f"--store {uri}: name a folder or a bucket")
        self.local = Path(self._root) if isinstance(self._fs, fs.LocalFileSystem) else None
        if self.local is not None:
            there = next(path for path in (self.local, *self.local.parents) if path.exists())
            if not there.is_dir():
                raise InputError(f"--store {uri}: {str(there)!r} is not a folder")

    def check_writable(self) -> None:
        """Raises InputError where nothing can be written."""
        try:
            self._put(".writable", b"")
        except OSError as error:
            raise InputError(
                f"--store {self.uri}: cannot be written ({error}): choose another place"
            ) from error

    # What is there

    def finished(self, kinds: Iterable[str]) -> set[Key]:
        """The keys of all finished steps of these kinds."""
        with self._reading():
            return {key for kind in kinds for key in self._marked(kind, DONE)}

    def failed(self, kinds: Iterable[str]) -> set[Key]:
        """The keys of the steps that failed by their own exception and have not finished since."""
        with self._reading():
            failed = {kind: self._marked(kind, FAILED) for kind in kinds}
            return {key for k in failed for key in failed[k] - self._marked(k, DONE)}

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (ArrowException, OSError) as error:
            raise InputError(f"--store {self.uri}: cannot be read ({error})") from error

    def _marked(self, kind: str, marker: str) -> set[Key]:
        if self.local is not None:
            folder = self.local / kind
            if not folder.is_dir():
                return set()
            with os.scandir(folder) as entries:
                return {e.name for e in entries if os.path.exists(os.path.join(e.path, marker))}
        selector = fs.FileSelector(f"{self._root}/{kind}", recursive=True, allow_not_found=True)
        return {
            info.path.split("/")[-2]
            for info in self._fs.get_file_info(selector)
            if info.base_name == marker
        }

    def record(self, kind: str, key: Key) -> dict[str, Any] | None:
        """What is known of a finished step; None where it is not finished."""
        return self._read_json(f"{kind}/{key}/{DONE}")

    def failure(self, kind: str, key: Key) -> dict[str, Any] | None:
        """What is known of a failed step."""
        return self._read_json(f"{kind}/{key}/{FAILED}")

    def fetch(self, kind: str, key: Key) -> Path:
        """A local folder with the files of a finished step; on a remote store a cached copy.

        Raises KeyError where the step is not finished.
        """
        record = self.record(kind, key)
        if record is None:
            raise KeyError(f"{kind} {key[:12]} is not finished")
        inside = f"{kind}/{key}/{record['attempt']}"
        if self.local is not None:
            return self.local / inside
        target = cache_dir() / "store" / _safe(self.uri) / inside
        if not target.is_dir():
            aside = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}")
            aside.mkdir(parents=True)
            fs.copy_files(
                f"{self._root}/{inside}",
                str(aside),
                source_filesystem=self._fs,
                destination_filesystem=fs.LocalFileSystem(),
            )
            with contextlib.suppress(OSError):
                aside.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
        return target

    def read_file(self, record: Mapping[str, Any], name: str) -> bytes:
        """One file of the finished step that `record` speaks of."""
        path = f"{self._root}/{record['kind']}/{record['key']}/{record['attempt']}/{name}"
        with self._fs.open_input_stream(path, compression=None) as stream:
            data: bytes = stream.read()
        return data

    # Doing a step

    def begin(self, kind: str, key: Key) -> Attempt:
        """Open a new attempt at a step."""
        name = uuid.uuid4().hex[:12]
        if self.local is not None:
            home = self.local / kind / key
            folder, scratch = home / name, home / "scratch"
        else:
            home = (
                Path(tempfile.gettempdir()) / f"augury-{os.getuid()}" / _safe(self.uri) / kind / key
            )
            folder, scratch = home / name, home / "scratch"
        folder.mkdir(parents=True)
        return Attempt(kind=kind, key=key, name=name, folder=folder, scratch=scratch)

    def commit(self, attempt: Attempt, record: dict[str, Any]) -> None:
        """Make an attempt count: upload its files where the store is remote, then the marker.

        Where another attempt was faster, its marker stands and this one is forgotten.
        """
        inside = f"{attempt.kind}/{attempt.key}"
        full = {**record, "kind": attempt.kind, "key": attempt.key, "attempt": attempt.name}
        try:
            if self.local is None:
                fs.copy_files(
                    str(attempt.folder),
                    f"{self._root}/{inside}/{attempt.name}",
                    source_filesystem=fs.LocalFileSystem(),
                    destination_filesystem=self._fs,
                )
            else:
                _sync_to_disk(attempt.folder)
            self._put(f"{inside}/{DONE}", _json_bytes(full), first=True)
        except (FileExistsError, FileNotFoundError):
            if self.record(attempt.kind, attempt.key) is None:
                raise
            self.discard(attempt)
            return
        self._sweep(attempt)

    def _sweep(self, attempt: Attempt) -> None:
        """Remove what earlier tries on this machine left behind."""
        home = attempt.folder.parent
        for other in home.iterdir():
            if other.is_dir() and (other.name != attempt.name or self.local is None):
                shutil.rmtree(other, ignore_errors=True)
        if self.local is not None:
            (home / FAILED).unlink(missing_ok=True)

    def discard(self, attempt: Attempt) -> None:
        """Forget an attempt that came to nothing."""
        shutil.rmtree(attempt.folder, ignore_errors=True)

    def fail(self, attempt: Attempt, record: dict[str, Any]) -> None:
        """Note that a step failed by its own exception."""
        self._put(f"{attempt.kind}/{attempt.key}/{FAILED}", _json_bytes(record))
        self.discard(attempt)

    def keep_scratch(self, attempt: Attempt, name: str) -> None:
        """Copy a scratch file to a remote store, for a later try on another machine."""
        if self.local is None:
            fs.copy_files(
                str(attempt.scratch / name),
                f"{self._root}/{attempt.kind}/{attempt.key}/scratch/{name}",
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self._fs,
            )

    def restore_scratch(self, attempt: Attempt, name: str) -> None:
        """Bring back a scratch file that another machine kept in a remote store."""
        there = f"{self._root}/{attempt.kind}/{attempt.key}/scratch/{name}"
        if self.local is None and self._fs.get_file_info(there).type == fs.FileType.File:
            attempt.scratch.mkdir(parents=True, exist_ok=True)
            fs.copy_files(
                there,
                str(attempt.scratch / name),
                source_filesystem=self._fs,
                destination_filesystem=fs.LocalFileSystem(),
            )

    def forget_failure(self, kind: str, key: Key) -> None:
        """Let a failed step be run again."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._root}/{kind}/{key}/{FAILED}")

    def remove_file(self, kind: str, key: Key, name: str) -> None:
        """Delete one file of a finished step (weights that need not be kept)."""
        record = self.record(kind, key)
        if record is not None:
            with contextlib.suppress(FileNotFoundError):
                self._fs.delete_file(f"{self._root}/{kind}/{key}/{record['attempt']}/{name}")

    # Notes beside the steps: which studies a store holds, what was mirrored

    def put_note(self, name: str, values: dict[str, Any]) -> None:
        """Write a small JSON file `notes/<name>.json` in one put."""
        self._put(f"notes/{name}.json", _json_bytes(values))

    def note(self, name: str) -> dict[str, Any] | None:
        """Read a note; None where there is none."""
        return self._read_json(f"notes/{name}.json")

    def notes(self, prefix: str) -> Iterator[dict[str, Any]]:
        """All notes under `prefix/`, sorted by name."""
        selector = fs.FileSelector(f"{self._root}/notes/{prefix}", allow_not_found=True)
        for info in sorted(self._fs.get_file_info(selector), key=lambda i: i.base_name):
            if info.base_name.endswith(".json"):
                found = self.note(f"{prefix}/{info.base_name.removesuffix('.json')}")
                if found is not None:
                    yield found

    def path(self, name: str) -> str:
        """A place in the store for others to write to, as URI."""
        plain, mark, query = self.uri.partition("?")
        return f"{plain}/{name}{mark}{query}"

    def delete(self, name: str) -> None:
        """Remove a place given by `path`."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_dir(f"{self._root}/{name}")

    def _put(self, name: str, data: bytes, first: bool = False) -> None:
        """Write a small file whole; on a disk `first` refuses, atomically, one that is there."""
        path = f"{self._root}/{name}"
        if self.local is None:
            with self._fs.open_output_stream(path) as stream:
                stream.write(data)
            return
        # An object store shows a file when it is whole; a disk needs a rename for that.
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if first:
            _move_to_new(aside, target)
        else:
            aside.replace(target)

    def _read_json(self, name: str) -> dict[str, Any] | None:
        path = f"{self._root}/{name}"
        try:
            if self.local is not None:
                data = Path(path).read_bytes()
            else:
                with self._fs.open_input_stream(path) as stream:
                    data = stream.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        values: dict[str, Any] = json.loads(data)
        return values


def store_uri(given: str) -> str:
    """Make a URI of what a user writes: a path, or `s3://bucket/prefix`, `gs://...`, `file://...`."""
    if "://" in given:
        return given.rstrip("/")
    return Path(given).expanduser().absolute().as_uri()


def _safe(uri: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in uri.split("?")[0])


def _json_bytes(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=1, sort_keys=True).encode()


def _move_to_new(aside: Path, target: Path) -> None:
    """Rename, but never over a file that is there: raises FileExistsError."""
    try:
        os.link(aside, target)
    except FileExistsError:
        aside.unlink()
        raise
    except OSError:
        # A file system without hard links: the last one wins.
        aside.replace(target)
    else:
        aside.unlink()


def _sync_to_disk(folder: Path) -> None:
    """The marker must not outlive, after a power cut, the files that it speaks of."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
