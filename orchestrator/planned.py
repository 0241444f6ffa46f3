"""The values that a plan is made of."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.settings import CellSettings, EditedSet, FolderSet, GeneratedSet
from orchestrator.study import StudySpec
from tasks.specs import Counts, Key, Spec

VERSIONS = {
    "pack": 1,
    "duplicates": 1,
    "fit": 1,
    "sample": 1,
    "filter": 1,
    "gather": 1,
    "edit": 2,
    "edit_files": 2,
    "extractor": 1,
    "features": 1,
    "fidelity": 1,
    "cas": 1,
    "audit": 1,
    "gate": 1,
    "lineage": 2,
    "trial": 2,
    "evaluate": 2,
}
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
    """A cell at one seed, and in cross-validation at one fold."""

    seed: int
    fold: int | None = None
    trial: Key
    evaluate: Key
    further: tuple[tuple[str, Key], ...] = ()
    """Name and evaluation of each further test set."""

    @property
    def evaluations(self) -> tuple[Key, ...]:
        return (self.evaluate, *(key for _, key in self.further))

    def is_finished(self, done: Collection[Key]) -> bool:
        """Trained, which an evaluation needs, and evaluated on every test set."""
        return all(key in done for key in self.evaluations)


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with what planning found out about it."""

    coordinates: tuple[tuple[str, Any], ...]
    settings: CellSettings
    trials: tuple[PlannedTrial, ...]
    """Empty while the cell is deferred."""
    steps: int
    eval_every: int
    real: Counts
    """Real training images of each class; in cross-validation those of the first fold."""
    synthetic: Counts
    packs: tuple[tuple[str, Key], ...]
    """Name and pack of each synthetic set."""
    num_validation: int
    num_test: int
    """Images; in cross-validation those of the first fold."""
    model: str
    num_parameters: int | None
    baseline: int | None
    """Index of the cell that this one is compared with."""

    @property
    def num_real(self) -> int:
        return sum(self.real)

    @property
    def num_synthetic(self) -> int:
        return sum(self.synthetic)


@dataclass(frozen=True, kw_only=True)
class DuplicatesCheck:
    """A search for test images that also stand in the train split."""

    where: str
    """`test`, or the name of a further test set."""
    key: Key
    num_test: int
    dropped: bool
    """What is found is left out of the scores."""


@dataclass(frozen=True, kw_only=True)
class PlannedSet:
    """A synthetic set of a study, with what is measured of it."""

    name: str
    """As the study has it, with what tells it from others of that name."""
    group: str
    """Equal for sets that differ by their seed alone."""
    pack: Key
    num_images: int
    per_class: Counts
    source: GeneratedSet | EditedSet | FolderSet
    fit: Key | None = None
    shards: tuple[Key, ...] = ()
    filter: Key | None = None
    fidelity: Key | None = None
    held_out: Key | None = None
    """The same measures of the real test images; none in cross-validation."""
    cas: Key | None = None
    audit: Key | None = None
    gate: Key | None = None

    @property
    def ends(self) -> tuple[Key, ...]:
        """The steps that measure it, and that nothing else may ask for."""
        found = (self.fidelity, self.held_out, self.cas, self.audit, self.gate)
        return tuple(key for key in found if key is not None)


@dataclass(frozen=True, kw_only=True)
class PlannedStudy:
    """A study with its cells."""

    spec: StudySpec
    cells: tuple[PlannedCell, ...]
    num_validation: int
    num_test: int
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    """Images left out because they cannot be read."""
    further: tuple[tuple[str, int], ...] = ()
    """Name and images of each further test set."""
    checks: tuple[DuplicatesCheck, ...] = ()
    sets: tuple[PlannedSet, ...] = ()
    """Every synthetic set of its cells, once."""
    awaits: str | None = None
    """The study whose winner is not known yet."""

    @property
    def num_trials(self) -> int:
        return len(self.cells) * len(self.spec.seeds) * (self.spec.folds or 1)


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
