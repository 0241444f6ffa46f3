"""Images of a synthetic set as class folders that studies and commands take, with a manifest.

`<class>/<class>_000000.png` and so on, `manifest.parquet` with a row an image, `manifest.json`
with the recipe of all of them, and `sheet.png`. No file takes its name before it is whole, and the
recipe stands there first: whoever asks for the same again goes on where it was.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.report.wording import counted
from orchestrator.single.documents import written_json
from orchestrator.single.places import aside, some
from orchestrator.single.set_recipes import ABOUT, FORMAT, Recipe, difference, read_recipe
from tasks.errors import InputError
from tasks.specs import canonical

FLAG = "--output-dir"
MANIFEST, SHEET = "manifest.parquet", "sheet.png"
PNG_END = b"IEND\xaeB`\x82"
SHEET_CLASSES, SHEET_CLASSES_FEW, SHEET_IMAGES = 20, 12, 8
"""All classes are drawn up to so many; else so few, evenly chosen; images of each."""
UNSAFE = "/\0"
"""In the name of a folder."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image, by what it is."""

    label: int
    class_index: int
    seed: int
    source: str
    """sha256 of the real image that it was made from; empty where there is none."""
    prompt: str = ""
    """Of an edit; empty where there is none."""


class SetFolder:
    """Such a folder, as it is written."""

    def __init__(self, path: Path, classes: Sequence[str], recipe: Recipe) -> None:
        """Nothing is written yet.

        Raises InputError for classes that cannot have folders of their own.
        """
        self.path, self.classes, self.recipe = path, tuple(classes), recipe
        self._names = tuple(_safe(name) for name in classes)
        if len(set(self._names)) < len(self._names):
            raise InputError(f"{FLAG}: two classes would share a folder: rename one of them")

    @property
    def renamed(self) -> tuple[str, ...]:
        """Classes whose folders have other names, as theirs can be none."""
        pairs = zip(self.classes, self._names, strict=True)
        return tuple(name for name, folder in pairs if name != folder)

    def check(self) -> None:
        """Refuse, before any work is done, a folder that could not be written.

        Raises InputError where it holds anything else, or nothing can be written in it.
        """
        # `os.path`, as a name that is too long is an error to methods of `Path`.
        around = (self.path, *self.path.absolute().parents)
        there = next(path for path in around if os.path.exists(path))
        if not os.path.isdir(there):
            raise InputError(f"{FLAG} {self.path}: {str(there)!r} is a file; name a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"{FLAG} {self.path}: nothing can be written in {str(there)!r}")
        if there != self.path:
            return
        found = sorted(name for name in os.listdir(self.path) if not name.startswith("."))
        if found:
            self._check_same(found)

    def _begin(self) -> None:
        """Say in the folder what it will hold, before it holds any of it."""
        if not (self.path / ABOUT).exists():
            self.path.mkdir(parents=True, exist_ok=True)
            self._write(ABOUT, written_json(self._about(), indent=1).encode())

    def _about(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "about": f"images made by {self.recipe.generator}, in a folder for each class; what "
            f"each one is stands in {MANIFEST}",
            "recipe": canonical(self.recipe),
        }

    def _check_same(self, found: Sequence[str]) -> None:
        there = read_recipe(self.path)
        if there is None:
            raise InputError(
                f"{FLAG} {self.path}: holds other files: {some(found)}; name a new folder"
            )
        here = json.loads(json.dumps(canonical(self.recipe)))
        if there != here:
            raise InputError(
                f"{FLAG} {self.path}: holds images of another recipe ({difference(there, here)}); "
                f"name a new folder"
            )

    def has(self, entry: Entry) -> bool:
        """The image is there, and whole."""
        try:
            with (self.path / self.name_of(entry)).open("rb") as file:
                file.seek(-len(PNG_END), os.SEEK_END)
                return file.read() == PNG_END
        except OSError:
            return False

    def name_of(self, entry: Entry) -> str:
        """Where an image lies in the folder."""
        name = self._names[entry.label]
        # A long name leaves room for the number.
        stem = name.encode()[:200].decode(errors="ignore")
        return f"{name}/{stem}_{entry.class_index:06d}.png"

    def put(self, entry: Entry, png: bytes) -> None:
        """Write an image.

        Raises InputError where it cannot be written.
        """
        try:
            self._begin()
            self._write(self.name_of(entry), png)
        except OSError as error:
            raise self._unwritten(error) from error

    def finish(self, entries: Sequence[Entry]) -> None:
        """Write the manifest and the contact sheet of all images.

        Raises InputError where they cannot be written.
        """
        try:
            self._begin()
            self._write_sheet(entries)
            self._write_manifest(entries)
        except OSError as error:
            raise self._unwritten(error) from error

    def _write(self, name: str, data: bytes) -> None:
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        beside = aside(target)
        try:
            beside.write_bytes(data)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)

    def _write_manifest(self, entries: Sequence[Entry]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        recipe, number = self.recipe, len(entries)
        settings = written_json(canonical(recipe.settings))
        table = pa.table(
            {
                "path": [self.name_of(each) for each in entries],
                "class": [self.classes[each.label] for each in entries],
                "label": pa.array([each.label for each in entries], pa.int64()),
                "class_index": pa.array([each.class_index for each in entries], pa.int64()),
                "seed": pa.array([each.seed for each in entries], pa.int64()),
                "source": [each.source for each in entries],
                "prompt": [each.prompt for each in entries],
                "generator": [recipe.generator] * number,
                "model": [recipe.model] * number,
                "settings": [settings] * number,
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        self._write(MANIFEST, sink.getvalue().to_pybytes())

    def _write_sheet(self, entries: Sequence[Entry]) -> None:
        from tasks.sheets import SheetRow, draw_sheet, fitted, write_sheet

        of_class: dict[int, list[Entry]] = {}
        for entry in entries:
            of_class.setdefault(entry.label, []).append(entry)
        labels = sorted(of_class)
        if len(labels) > SHEET_CLASSES:
            last = SHEET_CLASSES_FEW - 1
            labels = [labels[at * (len(labels) - 1) // last] for at in range(SHEET_CLASSES_FEW)]
        rows = [
            SheetRow(
                label=self.classes[label],
                note=counted(len(of_class[label]), "image"),
                images=tuple(fitted(self.pixels(e)) for e in of_class[label][:SHEET_IMAGES]),
            )
            for label in labels
        ]
        few = "" if len(rows) == len(of_class) else f", {len(rows)} of {len(of_class)} classes"
        title = f"{self.recipe.generator}: {counted(len(entries), 'image')}{few}"
        write_sheet(self.path / SHEET, draw_sheet(title, rows))

    def pixels(self, entry: Entry) -> Any:
        """An image that is there, H × W × C."""
        from tasks.datasets._decode import decode

        path = self.path / self.name_of(entry)
        return decode(path.read_bytes(), str(path))

    def _unwritten(self, error: OSError) -> InputError:
        return InputError(
            f"{FLAG} {self.path}: cannot be written ({error.strerror or error}); what is there is "
            f"whole: run this again to go on"
        )


def _safe(name: str) -> str:
    """A class as the name of a folder: itself, unless no folder can be called so."""
    out = "".join(f"%{ord(letter):02X}" if letter in UNSAFE else letter for letter in name)
    # Hidden folders are passed over by who reads them.
    out = f"%2E{out[1:]}" if out.startswith(".") else out
    # Longer names are none on any disk.
    return out.encode()[:240].decode(errors="ignore") or "%00"


def entries_in(rows: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """Images by the rows of a shard."""
    return [
        Entry(
            label=row["label"],
            class_index=row["class_index"],
            seed=row["seed"],
            source=row["source"],
            prompt=row.get("prompt", ""),
        )
        for row in rows
    ]
