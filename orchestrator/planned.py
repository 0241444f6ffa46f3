"""The values that a plan is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.settings import CellSettings
from orchestrator.study import StudySpec
from tasks.specs import Key, Spec

VERSIONS = {"pack": 1, "fit": 1, "sample": 1, "gather": 1, "trial": 1, "evaluate": 1}
"""Raised when a kind's results change; plug-in files have versions of their own."""

Scores = Mapping[str, float]
"""Validation scores of a finished trial; empty for one that failed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One piece of work, done at most once in the life of a store."""

    kind: str
    key: Key
    spec: Spec
    needs: tuple[Key, ...]
    title: str
    """Equal for steps of the same sort, whose times can be compared."""
    size: int
    """Images, optimizer steps or predictions: what its time grows with."""
    note: str = ""
    """Which of them this is: the cell and the seed of a trial."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A cell at one seed."""

    seed: int
    trial: Key
    evaluate: Key


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with what planning found out about it."""

    coordinates: tuple[tuple[str, Any], ...]
    settings: CellSettings
    trials: tuple[PlannedTrial, ...]
    """Empty while the cell is deferred."""
    steps: int
    eval_every: int
    num_real: int
    num_synthetic: int
    packs: tuple[tuple[str, Key], ...]
    """Name and pack of each synthetic set."""
    num_validation: int
    num_test: int
    model: str
    num_parameters: int | None
    baseline: int | None
    """Index of the cell that this one is compared with."""


@dataclass(frozen=True, kw_only=True)
class PlannedStudy:
    """A study with its cells."""

    spec: StudySpec
    cells: tuple[PlannedCell, ...]
    train_pack: Key | None
    num_validation: int
    num_test: int
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    """Images left out because they cannot be read."""
    awaits: str | None = None
    """The study whose winner is not known yet."""

    @property
    def num_trials(self) -> int:
        return len(self.cells) * len(self.spec.seeds)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What several studies need, each thing once."""

    studies: tuple[PlannedStudy, ...]
    steps: Mapping[Key, Step]
    """In an order in which every step comes after what it needs."""
    requested: int
    unique: int
    """Trials after sharing; deferred ones as the winner that shares least would have them."""
    deferred: int
    awaited: tuple[Key, ...]
    """Trials whose scores decide the deferred ones."""
    placeholders: tuple[str, ...] = ()
    """Sources that are not there yet: counts are invented and nothing can be run."""

    def trials(self) -> Iterator[PlannedTrial]:
        """Every planned trial, once."""
        seen: set[Key] = set()
        for trial in (t for s in self.studies for c in s.cells for t in c.trials):
            if trial.trial not in seen:
                seen.add(trial.trial)
                yield trial
