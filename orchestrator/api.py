"""Load a study, plan it, run it, report it: what commands do, and notebooks may do too."""

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.collect import collect
from orchestrator.ledger import Ledger
from orchestrator.planning import DEFAULT_STORE, Planned, plan
from orchestrator.report.results import StudyResult
from orchestrator.running import RunOptions, RunResult, note_mirrored, run, tracking_address
from orchestrator.study import StudySpec, load_study
from tasks.errors import InputError

if TYPE_CHECKING:
    import pandas

    from orchestrator.tracking import SyncReport

__all__ = [
    "DEFAULT_STORE",
    "Planned",
    "RunOptions",
    "RunResult",
    "frame",
    "plan",
    "report",
    "run",
    "stored_studies",
    "sync",
    "tracking_address",
]


def stored_studies(store: str) -> list[StudySpec]:
    """The studies that were run on a store, as they were run; those that are gone are left out."""
    found = []
    for note in Ledger(store).notes("studies"):
        try:
            found.append(load_study(note["origin"], note["overrides"], note["smoke"]))
        except InputError as error:
            print(f"study {note['name']} is left out: {error}", file=sys.stderr)
    return found


def report(
    studies: Sequence[StudySpec], store: str = DEFAULT_STORE, *, sheets: bool = False
) -> list[StudyResult]:
    """Read the outcomes of studies from the store; nothing is run.

    Args:
        sheets: also read sample images and loss curves, for pages.
    """
    planned = _with_data(plan(studies, store))
    return [
        collect(
            each, planned.plan, planned.ledger, sheets=sheets, command=_command(each.spec, store)
        )
        for each in planned.plan.studies
    ]


def _with_data(planned: Planned) -> Planned:
    """Records are found by what the data holds: without it there is nothing to say."""
    if planned.plan.placeholders:
        missing = planned.plan.placeholders[0]
        raise InputError(
            f"{missing} is not there, so the records of these studies cannot be found; run this "
            f"where the study was run, or say where the data is"
        )
    return planned


def frame(study: StudySpec, store: str = DEFAULT_STORE) -> "pandas.DataFrame":
    """The table of a study: one row a cell and metric, scores as fractions."""
    from orchestrator.report.table import frame as as_frame

    return as_frame(report([study], store)[0])


def sync(
    studies: Sequence[StudySpec], store: str = DEFAULT_STORE, tracking_uri: str | None = None
) -> "SyncReport":
    """Bring everything that the store knows of these studies to MLflow; safe to repeat.

    Raises TrackingUnavailable where the server does not answer.
    """
    from orchestrator import tracking
    from orchestrator.live import study_runs
    from orchestrator.report.write import write_report

    planned = _with_data(plan(studies, store))
    uri = tracking_address(planned.ledger, tracking_uri)
    found = [
        (
            each,
            collect(
                each, planned.plan, planned.ledger, sheets=True, command=_command(each.spec, store)
            ),
        )
        for each in planned.plan.studies
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = {
            each.spec.name: write_report(result, Path(folder) / each.spec.name).files
            for each, result in found
        }
        done = tracking.sync(uri, [study_runs(each, result) for each, result in found], files)
    note_mirrored(planned, uri)
    return done


def _command(study: StudySpec, store: str) -> str:
    """The command line that makes a report again."""
    words = ["augury", "report", study.origin]
    words += ["--smoke"] if study.smoke else []
    words += [word for text in study.overrides for word in ("--set", text)]
    words += ["--store", store] if store != DEFAULT_STORE else []
    return shlex.join(words)
