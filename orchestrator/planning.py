"""Looks at the data and the store, and says what there is to do."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator import inputs
from orchestrator.ledger import Ledger
from orchestrator.plan import VERSIONS, Plan, Scores, Step, make_plan, needed, sources
from orchestrator.study import StudySpec
from tasks.specs import DatasetInfo, Key, Plugin

DEFAULT_STORE = "augury-store"
STEP_KINDS = tuple(VERSIONS)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan beside what the store holds of it."""

    plan: Plan
    ledger: Ledger
    infos: dict[Plugin, DatasetInfo]
    done: frozenset[Key]
    failed: frozenset[Key]

    @functools.cached_property
    def to_run(self) -> dict[Key, Step]:
        """The steps that a run would do now."""
        return needed(self.plan, set(self.done), set(self.failed))

    def status(self, key: Key, to_run: Mapping[Key, Step]) -> str:
        """`finished`, `failed`, `to_run`, `blocked` by a failed step, or `unneeded`."""
        if key in self.done:
            return "finished"
        if key in self.failed:
            return "failed"
        if key in to_run:
            return "to_run"
        needs = self.plan.steps[key].needs
        blocked = any(self.status(need, to_run) in ("failed", "blocked") for need in needs)
        return "blocked" if blocked else "unneeded"

    @property
    def num_finished(self) -> int:
        """Trials that are trained and evaluated."""
        return sum(t.is_finished(self.done) for t in self.plan.trials())

    @property
    def num_to_run(self) -> int:
        """Trials that still have to be trained or evaluated."""
        steps = self.to_run
        return sum(
            t.trial in steps or any(key in steps for key in t.evaluations)
            for t in self.plan.trials()
        )

    @property
    def num_failed(self) -> int:
        """Trials that failed, or need a step that did."""
        steps = self.to_run
        bad = ("failed", "blocked")
        return sum(
            any(self.status(key, steps) in bad for key in (t.trial, *t.evaluations))
            for t in self.plan.trials()
        )

    @property
    def is_complete(self) -> bool:
        """Every trial of every study is finished, none is deferred, and every set is measured."""
        measured = all(
            key in self.done
            for study in self.plan.studies
            for each in study.sets
            for key in each.ends
        )
        return not self.plan.deferred and self.num_finished == self.plan.unique and measured


def plan(
    studies: Sequence[StudySpec],
    store: str = DEFAULT_STORE,
    *,
    fetch: bool = False,
    infos: dict[Plugin, DatasetInfo] | None = None,
) -> Planned:
    """Look at the data and the store, and plan studies together.

    Args:
        fetch: download published datasets that are missing, and refuse any other gap.
        infos: what the sources hold, where it is known already.
    """
    ledger = Ledger(store)
    if infos is None:
        named = {source: None for study in studies for source in _sources(study)}
        infos = inputs.identify(named, fetch=fetch)
    scores: dict[Key, Scores] = {}
    made = make_plan(studies, infos, scores)
    # A winner may decide a study whose winner decides another: look again until nothing is new.
    while (new := _known_scores(ledger, made.awaited, studies, infos) | scores) != scores:
        scores = new
        made = make_plan(studies, infos, scores)
    done, failed = ledger.finished(STEP_KINDS), ledger.failed(STEP_KINDS)
    return Planned(
        plan=made,
        ledger=ledger,
        infos=infos,
        done=frozenset(done & set(made.steps)),
        failed=frozenset(failed & set(made.steps)),
    )


def _sources(study: StudySpec) -> Iterable[Plugin]:
    yield from sources(study)
    if study.best_of is not None:
        yield from _sources(study.best_of.study)


def _known_scores(
    ledger: Ledger,
    awaited: Sequence[Key],
    studies: Sequence[StudySpec],
    infos: dict[Plugin, DatasetInfo],
) -> dict[Key, Scores]:
    """Scores of the trials that decide a winner; empty for those that can never have any."""
    if not awaited:
        return {}
    siblings = [study.best_of.study for study in studies if study.best_of is not None]
    steps = make_plan(siblings, infos, {}).steps
    bad = ledger.failed(STEP_KINDS) - ledger.finished(STEP_KINDS)
    for key, step in steps.items():
        if any(need in bad for need in step.needs):
            bad.add(key)
    found = {key: _scores(ledger, key) for key in awaited}
    return {
        key: {} if scores is None else scores
        for key, scores in found.items()
        if scores is not None or key in bad
    }


def _scores(ledger: Ledger, key: Key) -> Scores | None:
    record = ledger.record("trial", key)
    if record is not None:
        found: Scores = record["result"]["scores"]
        return found
    return {} if ledger.failure("trial", key) is not None else None
