"""What a tracking server is told of a study, and what it must be able to do. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from orchestrator.report.results import Status
from tasks.specs import Key

Row = Mapping[str, float]
"""One evaluation of a running trial: `step` (optimizer steps) and what was measured there."""

Kind = Literal["study", "cell", "trial", "set"]


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """One trial of a cell, as far as it got. Its settings are those of the cell, and the seed."""

    key: Key
    seed: int
    fold: int | None = None
    """In cross-validation."""
    status: Status = "missing"
    """Only a finished or failed trial becomes a run before it is started."""
    history: tuple[Row, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    """Final values by metric name, never a name that `history` uses; seconds may stand here too."""
    error: str = ""
    """One line, where the trial failed."""


@dataclass(frozen=True, kw_only=True)
class CellRun:
    """One point of the grid with its trials. A deferred trial has no key yet and is left out."""

    label: str
    coordinates: Mapping[str, Any]
    """Axis path (or `arm`) -> value; become tags `augury.axis.<path>`, which the UI groups by."""
    params: Mapping[str, str]
    """Every setting but the seed, flat. The same names in all cells of a study, or the UI cannot
    compare them."""
    trials: tuple[TrialRun, ...]


@dataclass(frozen=True, kw_only=True)
class SetRun:
    """One synthetic set that was made, or whose fit failed."""

    key: Key
    name: str
    """No other set of the study has it."""
    status: Literal["finished", "failed"]
    params: Mapping[str, str]
    """Settings of the generator, flat. The same names in all sets of a study."""
    tags: Mapping[str, str] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    """What was measured of it and what it cost, by name."""
    losses: tuple[Row, ...] = ()
    """Of its fit, by optimizer step."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """File name -> content; empty where pictures were not read, and then those there stay."""
    error: str = ""
    """One line, where the fit failed."""


@dataclass(frozen=True, kw_only=True)
class StudyRuns:
    """A study with every trial that it asks for now; its name is the experiment's."""

    name: str
    question: str
    cells: tuple[CellRun, ...]
    sets: tuple[SetRun, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    """File name -> content: the tables of its synthetic sets."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of a metric."""

    metric: str
    value: float
    step: int


@dataclass(kw_only=True)
class Run:
    """One run as the server holds it, so that only what is new is sent."""

    id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    """Metric -> its value at the highest step."""
    steps: dict[str, set[int]] = field(default_factory=dict)
    """Metric -> steps that have a point; asked of the server once, when first needed."""


class Runs(Protocol):
    """A tracking server."""

    def experiment(self, name: str, note: str) -> str:
        """The id of the experiment called `name`, made if there is none."""
        ...

    def find(self, experiment: str) -> list[Run]:
        """All its runs, the oldest first."""
        ...

    def create(self, experiment: str, tags: Mapping[str, str]) -> Run:
        """A new run, with the status RUNNING."""
        ...

    def write(
        self,
        run: Run,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add to a run. A tag replaces the one of its name; points and params are only added."""
        ...

    def steps(self, run: Run, metric: str) -> set[int]:
        """The steps at which `metric` has a point."""
        ...

    def set_status(self, run: Run, status: str) -> None:
        """RUNNING, or how it ended: FINISHED, FAILED, KILLED."""
        ...

    def attach(self, run: Run, file: Path, folder: str) -> None:
        """Keep a copy of a file beside the run, in `folder` of what is kept of it."""
        ...
