"""The folder that edits are written to: resumable, locked by one run, never a file in part.

It holds the edits in the folders that their images have in the input, `manifest.parquet` with a row
for each of them, `manifest.json` with the recipe of all, `failures.csv`, `contact_sheet.png`, and
`.augury`, in which a run keeps what the next one needs. Every image says in itself which edit it
is, so that it is known again whatever else was lost.
"""

import errno
import fcntl
import json
import os
import shlex
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.single.documents import written_json
from orchestrator.single.editing_plan import EditPlan, Planned
from orchestrator.single.editing_recipes import FAILURES, PRIVATE, is_blank, journals
from orchestrator.single.editing_rows import (
    Name,
    Row,
    failures,
    name_of,
    name_of_row,
    parquet,
    row_of,
    table_of,
)
from orchestrator.single.editing_sources import CONTACT_SHEET
from orchestrator.single.places import some
from orchestrator.single.set_folders import MANIFEST, PNG_END
from orchestrator.single.set_recipes import ABOUT, FORMAT, difference, read_recipe
from tasks.edit_files import PNG_TEXT
from tasks.errors import InputError
from tasks.specs import Key, canonical

FLAG = "--output-dir"
HEAD_BYTES = 4096
"""Of an image's file, in which the id of its edit stands."""
ID_TEXT = b"tEXt" + PNG_TEXT.encode() + b"\0"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class EditFolder:
    """Such a folder, as it is written."""

    def __init__(self, path: Path, plan: EditPlan) -> None:
        """Nothing is written yet."""
        self.path, self.plan = path, plan
        self.private = path / PRIVATE
        self.rows: dict[Name, Row] = {}
        """What is known of the edits that are done: there, or refused."""
        self._guessed: set[Name] = set()
        """Those that are known by their image alone: not what was paid, nor how long it took."""
        self._by_id: dict[str, list[Planned]] = {}
        for each in plan.planned:
            self._by_id.setdefault(each.id, []).append(each)
        self._lock: int | None = None

    # Before anything is done

    def check(self) -> None:
        """Refuse a folder that could not be written, or that holds anything else.

        Raises InputError.
        """
        source, target = self.plan.images.root.resolve(), self.path.resolve()
        for inner, outer, words in (
            (target, source, "lies in --input-dir"),
            (source, target, "holds --input-dir"),
        ):
            if inner.is_relative_to(outer):
                raise InputError(f"{FLAG} {self.path}: {words} {source}: name another folder")
        # `os.path`, as a name that is too long is an error to methods of `Path`.
        around = (self.path, *self.path.absolute().parents)
        there = next(path for path in around if os.path.exists(path))
        if not os.path.isdir(there):
            raise InputError(f"{FLAG} {self.path}: {str(there)!r} is a file; name a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"{FLAG} {self.path}: nothing can be written in {str(there)!r}")
        if there == self.path:
            self._check_same()

    def _check_same(self) -> None:
        there = read_recipe(self.path)
        if there is None:
            found = sorted(name for name in os.listdir(self.path) if not name.startswith("."))
            if found:
                raise InputError(
                    f"{FLAG} {self.path}: holds other files: {some(found)}; name a new folder"
                )
            return
        here = self._recipe
        if there != here and not self._came_to_nothing(there):
            raise InputError(
                f"{FLAG} {self.path}: holds edits of another recipe ({difference(there, here)}); "
                f"name a new folder{self._paid_here()}"
            )

    def _came_to_nothing(self, recipe: Mapping[str, Any]) -> bool:
        """A run by that recipe failed before it had made, or paid, anything."""
        is_of_edits = recipe.keys() == self._recipe.keys()
        return is_of_edits and not self._known_rows() and is_blank(self.path, self.store)

    def _paid_here(self) -> str:
        """How a new folder comes by what was paid for this one."""
        if not (self.plan.edits.about.service and journals(self.store)):
            return ""
        return f", with --store {shlex.quote(str(self.store))}, so that nothing is paid twice"

    def look(self) -> None:
        """Find out which edits are done.

        Raises InputError where there are edits of images that are gone.
        """
        known = {name_of_row(row): row for row in self._known_rows()}
        planned = {name_of(each): each for each in self.plan.planned}
        files = (row["file"] for name, row in known.items() if name not in planned)
        gone = sorted(file for file in files if file and os.path.exists(self.path / file))
        if gone:
            raise InputError(
                f"{FLAG} {self.path}: holds edits of images that are no longer there: "
                f"{some(gone)}: remove these files, or name a new folder"
            )
        for name, each in planned.items():
            row = known.get(name)
            if row is not None and row["edit_id"] != each.id:
                row = None
            if row is not None and row["refusal"]:
                self.rows[name] = row
            elif self.has(each.file, each.id):
                if row is None:
                    self._guessed.add(name)
                self.rows[name] = (row or row_of(self.plan.edits, each, {}, {})) | {
                    "file": each.file
                }
            elif row is not None and self.has(row["file"], each.id):
                # Another image has come to lie beside its source, and their names are told apart.
                self.rows[name] = row | {"moves_from": row["file"], "file": each.file}

    def has(self, file: str, id: str) -> bool:
        """Whether that edit is there, and whole."""
        try:
            with (self.path / file).open("rb") as opened:
                head = opened.read(HEAD_BYTES)
                opened.seek(-len(PNG_END), os.SEEK_END)
                return ID_TEXT + id.encode() in head and opened.read() == PNG_END
        except OSError:
            return False

    @property
    def missing(self) -> list[Planned]:
        """What is still to be made."""
        return [each for each in self.plan.planned if name_of(each) not in self.rows]

    # While it is done

    def begin(self) -> None:
        """Say in the folder what it will hold, and keep other runs out.

        Raises InputError where another run is writing to it, OSError where it cannot be written.
        """
        for folder in (self._asides, self._row_files):
            folder.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = os.open(self.private / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self.close()
                raise InputError(f"{FLAG} {self.path}: another run is writing to it") from error
            except OSError:
                # Some network disks know no locks: then two runs at once do the same work twice.
                pass
        for torn in self._asides.iterdir():
            torn.unlink()
        try:
            # Another run may have begun here since.
            self._check_same()
        except InputError:
            self.close()
            raise
        if read_recipe(self.path) != self._recipe:
            self._write(ABOUT, written_json(self._about(), indent=1).encode())
        for row in self.rows.values():
            if before := row.pop("moves_from", ""):
                (self.path / before).replace(self.path / row["file"])

    @property
    def is_begun(self) -> bool:
        """No other run writes to it."""
        return self._lock is not None

    def close(self) -> None:
        """Let other runs in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def note_steps(self, keys: Iterable[Key]) -> None:
        """Keep which steps are about to be done: should this run end, the next asks for them."""
        data = written_json(sorted(keys)).encode()
        self._write(f"{PRIVATE}/steps.json", data)

    def noted_steps(self) -> list[Key]:
        """The steps that an earlier run was about to do."""
        try:
            keys: list[Key] = json.loads((self.private / "steps.json").read_text())
        except (OSError, ValueError):
            return []
        return keys

    def take(self, key: Key, shard: Path, result: Mapping[str, Any]) -> dict[str, str]:
        """Write the images of a finished step, and then what they are.

        Args:
            shard: the file with its images.
            result: of the step.

        Returns why edits are left, by id. Raises OSError where they cannot be written.
        """
        import pyarrow.parquet as pq

        names: list[Name] = []
        left: dict[str, str] = {}
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=16):
                for found in batch.to_pylist():
                    if found["left"]:
                        left[found["id"]] = found["left"]
                    else:
                        names += self._taken(found, result["stamp"])
        if names:
            table = table_of([self.rows[name] for name in names])
            self._write(f"{PRIVATE}/rows/{key}.parquet", parquet(table))
        return left

    def _taken(self, found: Row, stamp: Mapping[str, str]) -> list[Name]:
        """Write the files of one edit; those that are there already stay."""
        names: list[Name] = []
        for each in self._by_id.get(found["id"], ()):
            name = name_of(each)
            if name in self.rows and name not in self._guessed:
                continue
            if found["image"] is not None and not self.has(each.file, each.id):
                self._write(each.file, found["image"]["bytes"])
            # What was paid stands with the first of equal images.
            paid = {} if names else {"cost_usd": found["cost_usd"], "seconds": found["seconds"]}
            self.rows[name] = row_of(
                self.plan.edits, each, stamp, {"refusal": found["refusal"], **paid}
            )
            self._guessed.discard(name)
            names.append(name)
        return names

    # When it is done, or stopped

    def finish(self, why_left: Mapping[str, str]) -> None:
        """Write the manifest, the failures and the contact sheet of what is there.

        Args:
            why_left: why edits were not made, by id.

        Raises OSError where they cannot be written.
        """
        from orchestrator.single.editing_sheet import draw_pairs
        from tasks.sheets import write_sheet

        rows = [self.rows[n] for each in self.plan.planned if (n := name_of(each)) in self.rows]
        self._write(MANIFEST, parquet(table_of(rows)))
        self._write(FAILURES, failures(self.plan.planned, self.rows, why_left))
        if any(row["file"] for row in rows):
            write_sheet(self.path / CONTACT_SHEET, draw_pairs(self.plan, self.path, rows))
        shutil.rmtree(self._row_files, ignore_errors=True)
        if not self.missing:
            (self.private / "steps.json").unlink(missing_ok=True)

    def _known_rows(self) -> list[Row]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows: list[Row] = []
        for path in (self.path / MANIFEST, *sorted(self._row_files.glob("*.parquet"))):
            try:
                rows += pq.read_table(path).to_pylist()
            except (OSError, pa.ArrowException):
                # A power cut may leave less than was written: images say themselves what they are.
                continue
        return rows

    def _about(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "about": f"images edited by {self.plan.edits.editor.name}, in the folders of their "
            f"sources; what each one is stands in {MANIFEST}",
            "recipe": canonical(self.plan.recipe),
        }

    @property
    def store(self) -> Path:
        """Of steps and paid answers, where no other is named."""
        return self.private / "store"

    @property
    def _recipe(self) -> dict[str, Any]:
        """As `manifest.json` has it."""
        found: dict[str, Any] = json.loads(json.dumps(canonical(self.plan.recipe)))
        return found

    @property
    def _asides(self) -> Path:
        return self.private / "aside"

    @property
    def _row_files(self) -> Path:
        return self.private / "rows"

    def _write(self, name: str, data: bytes) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not beside it: what a kill leaves is nothing that anybody reads.
        aside = self._asides / uuid.uuid4().hex
        try:
            aside.write_bytes(data)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)


def is_full(error: BaseException) -> bool:
    """A disk takes no more."""
    return isinstance(error, OSError) and error.errno in FULL


def why_full(text: str) -> str:
    """What the system says of a disk that takes no more, in an error's text; empty for others."""
    return next((why for why in map(os.strerror, FULL) if why in text), "")
