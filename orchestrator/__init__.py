"""Augury from Python: load a study, plan it, run it, and read its table.

>>> import orchestrator as augury
>>> study = augury.load_study("quickstart")
>>> augury.plan([study]).num_to_run
9
>>> augury.run([study]).is_complete  # doctest: +SKIP
True
>>> augury.frame(study)  # doctest: +SKIP
"""

from orchestrator.api import Planned, RunOptions, RunResult, frame, plan, report, run, sync
from orchestrator.study import StudySpec, load_study

__all__ = [
    "Planned",
    "RunOptions",
    "RunResult",
    "StudySpec",
    "frame",
    "load_study",
    "plan",
    "report",
    "run",
    "sync",
]
