"""Looks at the data that studies name, and remembers the hash of every file it has read."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from tasks import plugins
from tasks.caches import cache_dir
from tasks.errors import InputError
from tasks.reading import DataMissing
from tasks.specs import DatasetInfo, Plugin, SplitInfo, content_key


class FileCache:
    """Facts of files by (path, size, mtime, ctime, inode), in a file to be deleted at will."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_dir() / "files.sqlite"
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> "FileCache":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Each fact is written by itself, so that nobody waits while others look at their data.
            self._database = sqlite3.connect(self._path, timeout=10, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS facts (path TEXT, what TEXT, stamp TEXT, value TEXT, "
                "PRIMARY KEY (path, what)) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error):
            # A cache that cannot be had costs time and nothing else.
            self._database = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def __call__(self, path: Path, what: str, compute: Callable[[Path], str]) -> str:
        """What `compute(path)` says; computed again where the file has changed in any way."""
        if self._database is None:
            return compute(path)
        stamp, name = _stamp(path), str(path.absolute())
        try:
            row = self._database.execute(
                "SELECT value FROM facts WHERE path=? AND what=? AND stamp=?", (name, what, stamp)
            ).fetchone()
        except sqlite3.Error:
            row = None
        if row is not None:
            return str(row[0])
        value = compute(path)
        # A file that changed while it was read is not remembered under either stamp.
        if _stamp(path) == stamp:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute(
                    "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", (name, what, stamp, value)
                )
        return value


def _stamp(path: Path) -> str:
    s = path.stat()
    return f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}"


def identify(
    sources: Iterable[Plugin], cache: Path | None = None, fetch: bool = False
) -> dict[Plugin, DatasetInfo]:
    """Find out what each source holds.

    Args:
        cache: the file of remembered hashes; None is this machine's own.
        fetch: download published data that is missing.

    Returns infos; data that is not there gets invented counts and is marked as placeholder.
    Raises InputError for data that is there and cannot be used.
    """
    infos: dict[Plugin, DatasetInfo] = {}
    with FileCache(cache) as facts:
        for source in sources:
            reader = plugins.build("datasets", source)
            try:
                if fetch:
                    reader.fetch()
                infos[source] = reader.identify(facts)
            except DataMissing:
                if fetch:
                    raise
                infos[source] = placeholder(source)
            except (OSError, UnicodeError) as error:
                raise InputError(f"{source.name}: {error}") from error
    return infos


def placeholder(source: Plugin) -> DatasetInfo:
    """Invented counts for data that is not there: ten classes of 100 + 20 images."""
    classes = tuple(f"class {index}" for index in range(10))
    name = content_key("placeholder", 1, {"source": repr(source)})
    splits = {
        split: SplitInfo(digest=f"{name}/{split}", counts=(count,) * len(classes))
        for split, count in (("train", 100), ("test", 20), ("all", 100))
    }
    return DatasetInfo(classes=classes, splits=splits, placeholder=True)
