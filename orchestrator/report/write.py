"""Writes a report to a folder, each file aside and then renamed."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.report.documents import latex, markdown
from orchestrator.report.html import html
from orchestrator.report.results import StudyResult, WrittenReport
from orchestrator.report.set_table import sets_csv
from orchestrator.report.table import csv_text, json_text

FORMATS: Mapping[str, tuple[str, Callable[[StudyResult], str]]] = {
    "markdown": ("report.md", markdown),
    "csv": ("report.csv", csv_text),
    "json": ("report.json", json_text),
    "latex": ("report.tex", latex),
    "html": ("report.html", html),
}
"""Format -> the name of its file, and what makes its text."""
SETS: Mapping[str, tuple[str, Callable[[StudyResult], str]]] = {"csv": ("sets.csv", sets_csv)}
"""Beside the file of that format, where a study has synthetic sets."""


def write_report(
    result: StudyResult, folder: Path, formats: Sequence[str] = tuple(FORMATS)
) -> WrittenReport:
    """Write one file a format into `folder`, which is made if need be; `SETS` beside them.

    A reader never sees half a file. Raises ValueError for a format that is none.
    """
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"unknown report format {name!r}: choose from {', '.join(FORMATS)}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    wanted = dict.fromkeys(formats)
    beside = [SETS[name] for name in wanted if name in SETS and result.sets]
    for file_name, render in (*(FORMATS[name] for name in wanted), *beside):
        path = folder / file_name
        aside = folder / f".{file_name}.{os.getpid()}"
        aside.write_text(render(result), encoding="utf-8", newline="\n")
        aside.replace(path)
        written.append(path)
    return WrittenReport(folder=folder, files=tuple(written))
