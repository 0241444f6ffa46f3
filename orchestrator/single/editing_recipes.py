"""What came of the recipe that an output folder of edits names: files, finished steps, answers."""

import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.ledger import DONE
from orchestrator.single.editing_sources import CONTACT_SHEET
from orchestrator.single.set_folders import MANIFEST
from orchestrator.single.set_recipes import ABOUT
from tasks.edits.answers import JOURNAL, FolderAnswers

PRIVATE = ".augury"
FAILURES = "failures.csv"
BESIDE = {ABOUT, MANIFEST, FAILURES, CONTACT_SHEET}
"""What a run writes beside its edits."""


def is_blank(folder: Path, store: Path) -> bool:
    """There is no edit, and no answer that was paid; rows of the manifest are not looked at.

    Args:
        store: of the folder, with its steps and answers.
    """
    return not (
        any(path.relative_to(folder).as_posix() not in BESIDE for path in _files(folder))
        or any((store / "edit_files").glob(f"*/{DONE}"))
        or any(FolderAnswers(each.parent).spent_usd() for each in journals(store))
    )


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        if Path(here) == folder:
            folders[:] = [name for name in folders if name != PRIVATE]
        yield from (Path(here, name) for name in files)


def journals(store: Path) -> list[Path]:
    """Of the services that were asked for edits of the folder."""
    return sorted((store / "answers").glob(f"*/{JOURNAL}"))
