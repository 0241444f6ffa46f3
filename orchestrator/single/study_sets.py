"""Finds a synthetic set of a study, `STUDY:SET`, and its images in the store."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orchestrator import api
from orchestrator.plan import PlannedStudy
from orchestrator.planned import PlannedSet
from orchestrator.planning import Planned
from orchestrator.settings import EditedSet, FolderSet, QualitySettings
from orchestrator.single.places import some
from orchestrator.study import StudySpec, load_study
from tasks.errors import InputError, nearest
from tasks.specs import FitSpec, Key

SEPARATOR = ":"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command line says of a set of a study."""

    given: str
    """`STUDY:SET`."""
    overrides: tuple[str, ...] = ()
    smoke: bool = False
    store: str = api.DEFAULT_STORE

    @property
    def study(self) -> str:
        return self.given.partition(SEPARATOR)[0]

    @property
    def set(self) -> str:
        return self.given.partition(SEPARATOR)[2]

    def command(self, verb: str) -> str:
        """The command line that does something with the same study."""
        words = ["augury", verb, self.study, *(["--smoke"] if self.smoke else [])]
        words += [word for text in self.overrides for word in ("--set", text)]
        words += ["--store", self.store] if self.store != api.DEFAULT_STORE else []
        return shlex.join(words)


@dataclass(frozen=True, kw_only=True)
class StudySet:
    """A set of a study, planned."""

    asked: Asked
    label: str
    """As it is told from all others of the study."""
    planned: PlannedSet
    study: PlannedStudy
    whole: Planned

    @property
    def images(self) -> tuple[Key, ...]:
        """The steps that hold its images; none of a folder."""
        return self.planned.shards if self.planned.filter is None else (self.planned.filter,)

    @property
    def kind(self) -> str:
        """Of those steps."""
        if isinstance(self.planned.source, EditedSet):
            return "edit"
        return "sample" if self.planned.filter is None else "filter"

    def check_made(self) -> None:
        """Raise InputError where the set is not made, with what makes it or why it cannot be."""
        there = [key for key in self.images if key in self.whole.done]
        if len(there) < len(self.images):
            if why := self._failure():
                raise InputError(f"{self.asked.given}: could not be made: {why}")
            parts = f" ({len(there)} of {len(self.images)} parts are)" if there else ""
            raise InputError(
                f"{self.asked.given}: is not made yet{parts}; make it with: "
                f"{self.asked.command('run')}"
            )

    def _failure(self) -> str:
        """Why the study could not make it, in a line; empty where nothing failed."""
        steps, ledger = self.whole.plan.steps, self.whole.ledger
        stack, seen = list(self.images), set[Key]()
        while stack:
            step = steps[stack.pop()]
            if step.key in seen or step.key in self.whole.done:
                continue
            seen.add(step.key)
            stack.extend(step.needs)
            failure = ledger.failure(step.kind, step.key)
            if failure is not None:
                return " ".join(f"{step.title}: {failure['error']}".split())
        return ""


def find_set(
    asked: Asked, change: Callable[[QualitySettings], QualitySettings] | None = None
) -> StudySet:
    """Plan the study and look for the set.

    Args:
        change: what is measured of sets -> what is to be measured instead.

    Raises InputError where there is no such set, or more than one.
    """
    if not asked.study or not asked.set:
        raise InputError(f"{asked.given}: write STUDY:SET, such as quickstart:ddpm")
    spec = load_study(asked.study, asked.overrides, asked.smoke)
    asks = spec.quality if change is None else change(spec.quality)
    whole = api.plan([replace(spec, quality=asks)], asked.store)
    if whole.plan.placeholders:
        raise InputError(
            f"{asked.given}: {whole.plan.placeholders[0]} is not there, and a set is known by the "
            f"images that it was made from"
        )
    (study,) = whole.plan.studies
    if study.awaits is not None:
        raise InputError(
            f"{asked.given}: its study needs the winner of {study.awaits}; run that first: "
            f"augury run {study.awaits}"
        )
    labels = _labels(study, whole)
    label = _chosen(asked, labels, spec)
    planned = study.sets[labels.index(label)]
    if planned.filter is not None and asks.extractor != spec.quality.extractor:
        raise InputError(
            f"--extractor: {asked.given} was filtered by what {spec.quality.extractor.name} sees, "
            f"and is another set by another: leave it out, or export the set and name its folder"
        )
    return StudySet(asked=asked, label=label, planned=planned, study=study, whole=whole)


def _chosen(asked: Asked, labels: Sequence[str], spec: StudySpec) -> str:
    """The label of the set that is meant."""
    if asked.set in labels:
        return asked.set
    names = [_bare(label) for label in labels]
    found = [label for label, name in zip(labels, names, strict=True) if name == asked.set]
    if len(found) == 1:
        return found[0]
    if found:
        example = shlex.quote(f"{asked.study}{SEPARATOR}{found[0]}")
        raise InputError(
            f"{asked.given}: there are {len(found)} of that name: {some(found, 6)}; name one, as "
            f"in {example}"
        )
    if not labels:
        raise InputError(f"{asked.given}: study {spec.name} has no synthetic set")
    raise InputError(f"{asked.given}: no such set; {nearest(asked.set, set(names))}")


def _bare(label: str) -> str:
    """The name that the study gives it."""
    return label.partition(" (")[0].partition(", ")[0]


def _labels(study: PlannedStudy, whole: Planned) -> list[str]:
    """What tells each set from all others: its name, then the seed, then the fold."""
    labels = [each.name for each in study.sets]
    for tell in (_seed, _fold):
        labels = [
            f"{label}, {told}" if labels.count(label) > 1 and told else label
            for label, told in zip(labels, (tell(s, whole) for s in study.sets), strict=True)
        ]
    # What nothing else tells apart, its key does.
    return [
        f"{label}, {each.pack[:8]}" if labels.count(label) > 1 else label
        for label, each in zip(labels, study.sets, strict=True)
    ]


def _seed(planned: PlannedSet, whole: Planned) -> str:
    source = planned.source
    return "" if isinstance(source, FolderSet) else f"seed {source.settings.seed}"


def _fold(planned: PlannedSet, whole: Planned) -> str:
    if planned.fit is None:
        return ""
    spec = whole.plan.steps[planned.fit].spec
    assert isinstance(spec, FitSpec)
    return "" if spec.images.fold is None else f"fold {spec.images.fold[0]}"
