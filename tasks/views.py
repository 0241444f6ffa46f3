"""Resized copies of packs, made once on a machine and mapped by all of its workers."""

import contextlib
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.caches import cache_dir
from tasks.packs import Pack, Pixels

MOST_BYTES = 32 * 1024**3
"""Of all views together; the ones that were not used for longest make room."""
ROWS = 256


def view(pack: Pack, side: int) -> Pixels:
    """All images of `pack` as squares, N × side × side × C, mapped from this machine's cache.

    Falls back to memory of this process where the cache cannot be written.
    """
    shape = (len(pack), side, side, pack.channels)
    # By what the pack holds: another may come to lie where this one was.
    text = f"{pack.shape}, {pack.channels}, {side}\n" + "\n".join(pack.hashes)
    path = cache_dir() / "views" / f"{hashlib.sha256(text.encode()).hexdigest()}.bin"
    try:
        if not path.exists():
            with _alone(path):
                # Whoever waited here finds what the other one made.
                if not path.exists():
                    _write(pack, side, path)
        found = np.memmap(path, np.uint8, "c", shape=shape)
        # mtime, as many machines do not note when a file was read.
        os.utime(path)
        return found
    except (OSError, ValueError):
        return pack.array(np.arange(len(pack), dtype=np.int64), side)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process of the machine at a time; the lock ends with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(pack: Pack, side: int, path: Path) -> None:
    _make_room(path.parent, len(pack) * side * side * pack.channels)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("wb") as file:
            for start in range(0, len(pack), ROWS):
                rows = np.arange(start, min(start + ROWS, len(pack)), dtype=np.int64)
                file.write(np.ascontiguousarray(pack.array(rows, side)).data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _make_room(folder: Path, num_bytes: int) -> None:
    """Remove old views; whoever has one mapped keeps it until the mapping ends."""
    with contextlib.suppress(FileNotFoundError):  # another process makes room too
        found = sorted(folder.glob("*.bin"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in found) + num_bytes
        for path in found:
            if total <= MOST_BYTES:
                return
            total -= path.stat().st_size
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
