"""Answers of services in a folder: a journal of every call, and the images as they were sent."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.editing import Answer, Edited
from tasks.errors import InputError

JOURNAL = "calls.jsonl"
MIN_FREE_BYTES = 64 << 20
"""Free space without which nothing is asked: what was paid for must find room."""


@dataclass(frozen=True, kw_only=True)
class _Open:
    """A call that was sent and has not ended."""

    run: str
    cost_usd: float
    ticket: str = ""


class FolderAnswers:
    """`Answers` in a folder of this machine; any number of processes may share it.

    `calls.jsonl` gets a line before a call is sent (`asked`), where its answer can be fetched later
    (`ticket`), and when it has ended (`ended`: status, what was said, cost, latency, tries, image).
    Lines are appended whole, under a lock, and reach the disk before anything else happens. An
    image is written aside, and has its name before its line is there. A call that was asked and
    never ended counts as spent for good, since nobody knows whether it was.
    """

    def __init__(self, folder: Path, min_free_bytes: int = MIN_FREE_BYTES) -> None:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._run = uuid.uuid4().hex
        self._file = os.open(folder / JOURNAL, os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, self._file)
        self._threads = threading.RLock()
        self._read = 0
        self._paid_usd = 0.0
        self._open: dict[str, _Open] = {}
        self._ended: dict[str, dict[str, Any]] = {}
        with self._locked():
            self._unseen = tuple(self._open)
        _sync(folder)

    def __reduce__(self) -> tuple[type["FolderAnswers"], tuple[Path, int]]:
        return FolderAnswers, (self._folder, self._min_free_bytes)

    def find(self, id: str) -> Answer | None:
        """What was answered before; None where its image was deleted since."""
        with self._locked():
            row = self._ended.get(id)
        if row is None:
            return None
        try:
            image = (self._folder / row["image"]).read_bytes() if row["image"] else b""
        except FileNotFoundError:
            return None
        return Answer(
            id=id,
            status=row["status"],
            image=image,
            said=row["said"],
            cost_usd=row["cost_usd"],
            latency_s=row["latency_s"],
            calls=row["calls"],
        )

    def ask(self, id: str, cost_usd: float, max_cost_usd: float) -> bool:
        """Mark a call before it is sent; False where it could go past the budget.

        Raises InputError where there is hardly any room left to keep an answer.
        """
        with self._locked():
            before = self._open.get(id)
            mine = before.cost_usd if before and before.run == self._run else 0.0
            if self._spent() - mine + cost_usd > max_cost_usd + 1e-9:
                return False
            if before and before.run == self._run and mine == cost_usd:
                return True
            self._require_room()
            self._append({"event": "asked", "id": id, "cost_usd": cost_usd})
            return True

    def note(self, id: str, ticket: str) -> None:
        """Keep by what the answer of a call under way can be fetched."""
        with self._locked():
            self._append({"event": "ticket", "id": id, "ticket": ticket})

    def ticket(self, id: str) -> str:
        """What was last noted of a call whose end nobody saw."""
        with self._locked():
            return self._open[id].ticket if id in self._open else ""

    def keep(self, answer: Answer) -> None:
        """Keep an answer whole: its image first, then the line that says so."""
        name = self._write_image(answer) if answer.image else ""
        with self._locked():
            self._append(
                {
                    "event": "ended",
                    "id": answer.id,
                    "status": answer.status,
                    "image": name,
                    "said": answer.said,
                    "cost_usd": answer.cost_usd,
                    "latency_s": round(answer.latency_s, 3),
                    "calls": answer.calls,
                }
            )

    def spent_usd(self) -> float:
        """The cost of all calls, ended or not."""
        with self._locked():
            return self._spent()

    def unseen(self) -> tuple[str, ...]:
        """Calls without an end as this was opened: open it before any worker starts."""
        return self._unseen

    def _spent(self) -> float:
        return self._paid_usd + sum(call.cost_usd for call in self._open.values())

    def _require_room(self) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < self._min_free_bytes:
            raise InputError(
                f"{str(self._folder)!r} has {free >> 20} MB free, and answers that are paid for "
                f"must find room: free {self._min_free_bytes >> 20} MB, and run it again"
            )

    def _write_image(self, answer: Answer) -> str:
        stem = hashlib.sha256(answer.id.encode()).hexdigest()
        name = f"images/{stem[:2]}/{stem}.{_suffix(answer.image)}"
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        for torn in path.parent.glob(f".{stem}.*.part"):
            # Of a run that was killed while it wrote: nobody else writes this call's image.
            torn.unlink(missing_ok=True)
        aside = path.with_name(f".{stem}.{uuid.uuid4().hex}.part")
        try:
            with aside.open("wb") as file:
                file.write(answer.image)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        _sync(path.parent)
        return name

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among threads and processes, with all that others wrote taken in."""
        with self._threads:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._take_in()
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _take_in(self) -> None:
        size = os.fstat(self._file).st_size
        if size == self._read:
            return
        text = os.pread(self._file, size - self._read, self._read)
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            # Only the holder of the lock writes, so half a line is a writer that was killed.
            os.ftruncate(self._file, self._read + whole)
        for line in text[:whole].splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                where = str(self._folder / JOURNAL)
                raise InputError(
                    f"{where!r} holds a line that is no JSON, near byte {self._read}: mend it, or "
                    "what was paid for before is not found"
                ) from None
            self._count(row)
        self._read += whole

    def _append(self, row: dict[str, Any]) -> None:
        row = {**row, "run": self._run, "at": round(time.time(), 3)}
        line = json.dumps(row).encode() + b"\n"
        try:
            if os.pwrite(self._file, line, self._read) < len(line):
                raise OSError("the line was written in part")
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._read)
            raise
        self._read += len(line)
        self._count(row)

    def _count(self, row: dict[str, Any]) -> None:
        id = row["id"]
        if row["event"] == "ended":
            self._open.pop(id, None)
            self._paid_usd += row["cost_usd"]
            self._ended[id] = row
        elif row["event"] == "ticket" and id in self._open:
            self._open[id] = replace(self._open[id], ticket=row["ticket"])
        elif row["event"] == "asked":
            before = self._open.get(id)
            if before is not None and before.run != row["run"]:
                self._paid_usd += before.cost_usd
            self._open[id] = _Open(run=row["run"], cost_usd=row["cost_usd"])


def _suffix(image: bytes) -> str:
    if image.startswith(b"\x89PNG"):
        return "png"
    return "webp" if image[:4] == b"RIFF" else "jpg"


def _sync(folder: Path) -> None:
    """Make names in a folder outlast a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def price_usd(edited: Edited, kept: FolderAnswers | None) -> float:
    """What an edit cost, whichever run paid for it.

    Args:
        kept: None where nothing is paid.
    """
    if kept is None or edited.cost_usd:
        return edited.cost_usd
    answer = kept.find(edited.id)
    return 0.0 if answer is None else answer.cost_usd
