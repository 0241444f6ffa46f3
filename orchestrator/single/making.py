"""Makes the images of a set, from the model file alone or by steps, and writes their folder."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.single import adopting
from orchestrator.single.drawing import draw, planned_entries, refuse_collapsed
from orchestrator.single.generating import Wanted
from orchestrator.single.performing import Workplace, carry_out, outstanding, workplace
from orchestrator.single.places import Place
from orchestrator.single.set_folders import Entry, SetFolder, entries_in
from orchestrator.single.sources import Named
from orchestrator.single.watching import Bar, Lines
from tasks.errors import InputError


@dataclass(frozen=True, kw_only=True)
class MadeSet:
    """A folder of images."""

    folder: SetFolder
    entries: Sequence[Entry]
    num_new: int
    """Written now, and not by an earlier command."""
    seconds: float | None = None
    """That making those took, loading the weights included; None where other work took some."""
    filtered: Mapping[str, Any] | None = None
    """What filters kept and dropped, where there were any."""


def folder_of(wanted: Wanted, path: Path, place: Place) -> SetFolder:
    """The folder that a set goes to, once it is seen that it can.

    Raises InputError where it holds anything else, or cannot be written.
    """
    folder = SetFolder(path, wanted.file.note.classes, wanted.recipe(place.device))
    folder.check()
    return folder


def make(
    wanted: Wanted, named: Named | None, folder: SetFolder, place: Place, watcher: Bar | Lines
) -> MadeSet:
    """Make what is missing of a set, and write its manifest and sheet.

    Args:
        named: the real images, where the set asks for them.

    Raises InputError for what the user can mend.
    """
    if named is not None:
        return _by_steps(wanted, named, folder, workplace(place), watcher)
    entries = planned_entries(wanted.counts, wanted.sampling, wanted.seed)
    begun = time.monotonic()
    num_new = draw(wanted.file, wanted.sampling, entries, folder, place.device, watcher)
    seconds = time.monotonic() - begun
    refuse_collapsed(folder, entries)
    folder.finish(entries)
    return MadeSet(folder=folder, entries=entries, num_new=num_new, seconds=seconds)


def _by_steps(
    wanted: Wanted, named: Named, folder: SetFolder, at: Workplace, watcher: Bar | Lines
) -> MadeSet:
    planned = adopting.plan_set(wanted, named)
    adopting.adopt(wanted, at)
    try:
        carry_out(outstanding(planned.ends, planned.steps, at), at, watcher)
    except InputError as error:
        text = str(error).replace("raise max_draws", "raise --set max_draws=20")
        raise InputError(text.replace("say refill: false", "say --set refill=false")) from error
    kind = "sample" if planned.filter is None else "filter"
    entries, num_new = write_images(adopting.rows_of(kind, planned.ends, at.ledger), folder)
    folder.finish(entries)
    record = None if planned.filter is None else at.ledger.record("filter", planned.filter)
    return MadeSet(
        folder=folder,
        entries=entries,
        num_new=num_new,
        filtered=None if record is None else record["result"],
    )


def write_images(rows: Any, folder: SetFolder) -> tuple[list[Entry], int]:
    """Write the images that are stored elsewhere and not in the folder yet.

    Returns all of them, and how many were written.
    """
    entries: list[Entry] = []
    num_new = 0
    for row in rows:
        (entry,) = entries_in([row])
        if not folder.has(entry):
            folder.put(entry, row["image"]["bytes"])
            num_new += 1
        entries.append(entry)
    return entries, num_new
