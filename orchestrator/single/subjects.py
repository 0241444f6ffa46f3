"""Plans what is measured of a synthetic set, in a folder or of a study, and looks it up."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.graph import Steps, key_of
from orchestrator.grid import Cell
from orchestrator.inputs import identify
from orchestrator.ledger import Ledger
from orchestrator.parsing import parse_quality, parse_set
from orchestrator.plan import Step
from orchestrator.planned import PlannedSet
from orchestrator.quality import Quality
from orchestrator.real import real_images
from orchestrator.sets import synthetic
from orchestrator.settings import (
    CellSettings,
    Dataset,
    FolderSet,
    MixingSettings,
    SubsetSettings,
    TrainSettings,
)
from orchestrator.single.measuring import Change
from orchestrator.single.performing import (
    Watcher,
    Workplace,
    carry_out,
    in_store,
    outstanding,
    workplace,
)
from orchestrator.single.places import some, take_place
from orchestrator.single.set_recipes import read_recipe
from orchestrator.single.sources import Named, Source, bare, find
from orchestrator.single.study_sets import SEPARATOR, Asked, find_set
from orchestrator.steps import THREADS
from tasks.errors import InputError
from tasks.reference import reference_model
from tasks.specs import AuditSpec, CasSpec, FidelitySpec, Key, RealReference


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A set with what is to be measured of it, planned but not begun."""

    name: str
    """As the user gave it."""
    planned: PlannedSet
    steps: Mapping[Key, Step]
    classes: tuple[str, ...]
    """Of the real images, in the label order of all counts."""
    test: str
    """Where the test images come from, in words."""
    remarks: tuple[str, ...]
    """What must be known beside the figures."""
    store: Ledger | None
    """Of the study; None is the cache of this machine."""

    @property
    def num_train(self) -> int:
        """Real training images that it is compared with; 0 where it is compared with none."""
        real = self._real
        return 0 if real is None else sum(real.train.training)

    @property
    def num_test(self) -> int:
        """Real test images."""
        if self._real is not None:
            return self.steps[self._real.test].size
        assert self.planned.cas is not None
        spec = self.steps[self.planned.cas].spec
        assert isinstance(spec, CasSpec)
        return self.steps[spec.test].size

    @property
    def _real(self) -> RealReference | None:
        keys = (self.planned.fidelity, self.planned.audit)
        specs = (self.steps[key].spec for key in keys if key is not None)
        return next((s.real for s in specs if isinstance(s, FidelitySpec | AuditSpec)), None)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes that the set has no image of."""
        pairs = zip(self.classes, self.planned.per_class, strict=True)
        return tuple(name for name, number in pairs if not number)


def is_folder(given: str) -> bool:
    """A set is named by its folder, and not as `STUDY:SET`.

    Raises InputError for what is neither.
    """
    if os.path.isdir(given):
        return True
    if SEPARATOR in given:
        return False
    raise InputError(f"{given}: there is no such folder; or write STUDY:SET for a set of a study")


def of_folder(given: str, real: Named, change: Change) -> Subject:
    """Plan as a study with this folder would.

    Raises InputError for folders that are missing or cannot be used, and for other classes.
    """
    name = Path(given).name
    folder = parse_set({"folder": given}, name)
    assert isinstance(folder, FolderSet)
    if real.skip_bad:
        config = replace(folder.reader.config, skip_bad=True)
        folder = replace(folder, reader=replace(folder.reader, config=config))
    source = find(real)
    try:
        infos = identify([folder.reader]) | {source.dataset.reader: source.info}
    except InputError as error:
        raise InputError(f"{given}: {bare(error)}") from error
    steps = Steps(infos)
    try:
        reals = real_images(source.dataset, SubsetSettings(), None, steps)
        cell = _cell(source.dataset)
        taken = synthetic(name, folder, cell, reals, None, steps)
        assert taken is not None
        kept = Quality(change(parse_quality({})), steps)
        kept.add(taken, reals, Cell(coordinates=(), settings=cell))
    except InputError as error:
        text = str(error).replace(f"synthetic.{name}.folder: ", f"{given}: ")
        raise InputError(text.replace("dataset: ", f"{real.flag}: ")) from error
    (planned,) = kept.sets()
    planned = _beside_all(planned, steps)
    return Subject(
        name=given,
        planned=planned,
        steps=steps.found,
        classes=source.info.classes,
        test=_test(source),
        remarks=tuple(_remarks(given, source)),
        store=None,
    )


def _beside_all(planned: PlannedSet, steps: Steps) -> PlannedSet:
    """Audit a folder beside the images that a study would hold out for validation, too.

    Nobody knows which images its generator was shown.
    """
    if planned.audit is None:
        return planned
    step = steps.found[planned.audit]
    spec = step.spec
    assert isinstance(spec, AuditSpec)
    images = spec.real.train
    if images.validation_pack is not None:
        return planned
    both = zip(images.validation, images.training, strict=True)
    every = replace(
        images, validation=(0,) * len(images.validation), training=tuple(map(sum, both))
    )
    spec = replace(spec, real=replace(spec.real, train=every))
    key = steps.add(spec, step.needs, step.title, step.size, key_of(spec))
    return replace(planned, audit=key)


def _cell(dataset: Dataset) -> CellSettings:
    """A cell of a study that says nothing but its dataset."""
    return CellSettings(
        dataset=dataset,
        subset=SubsetSettings(),
        variant="synthetic",
        sets=(),
        mixing=MixingSettings(),
        train=TrainSettings(),
        model=reference_model(),
        augmentations=(),
        companion=None,
    )


def _test(source: Source) -> str:
    if source.named.test_dir is not None:
        return f"of {source.named.test_dir}"
    if source.info.undivided and source.named.is_folder:
        return "a fixed part of the folder, as a study would hold it out"
    return f"of {source.named.flag.partition(' ')[2]}"


def _remarks(given: str, source: Source) -> list[str]:
    """What the generator of a folder has seen that it should not have, if that is known."""
    recipe = read_recipe(Path(given)) or {}
    seen = recipe.get("fitted_on")
    if not isinstance(seen, dict) or not source.info.undivided:
        return []
    whole = source.info.splits.get("all")
    if whole is None or seen.get("digest") != whole.digest:
        return []
    return [
        f"its generator was fitted on images of all of {source.named.flag}, those held out for "
        f"tests included: say --test-dir DIR with images that it has not seen"
    ]


def of_study(asked: Asked, change: Change) -> Subject:
    """Plan as the study does.

    Raises InputError where there is no such set, or it is not made.
    """
    found = find_set(asked, change)
    found.check_made()
    return Subject(
        name=f"{asked.study}{SEPARATOR}{found.label}",
        planned=found.planned,
        steps=found.whole.plan.steps,
        classes=found.study.classes,
        test="those of the study",
        remarks=(),
        store=found.whole.ledger,
    )


def place_of(subject: Subject, device: str | None, threads: int | None) -> Workplace:
    """Where it is measured: sets of a study in its store, as its own steps would.

    Raises InputError for a device that is not there, or where nothing can be written.
    """
    if subject.store is None:
        return workplace(take_place(device, threads))
    if threads is not None:
        raise InputError("--threads: steps of a study take one each; leave it out")
    place = take_place(device, THREADS)
    subject.store.check_writable()
    return in_store(subject.store, place)


def measure(subject: Subject, at: Workplace, watcher: Watcher) -> None:
    """Do the steps that measure a set and are not done yet.

    Raises InputError for what the user can mend.
    """
    ends = [key for key in subject.planned.ends if subject.steps[key].kind != "gate"]
    carry_out(outstanding(ends, subject.steps, at), at, watcher)


def result(subject: Subject, kind: str, key: Key | None, at: Workplace) -> dict[str, Any]:
    """What a finished step says; nothing where none was asked for."""
    if key is None:
        return {}
    record = at.ledger.record(kind, key)
    assert record is not None, f"{subject.name}: {kind} was not done"
    found: dict[str, Any] = record["result"]
    return found


def absent(subject: Subject) -> str:
    """A line on the classes that a set lacks; empty where it has all."""
    if not subject.absent:
        return ""
    number = len(subject.absent)
    return f"no image of {number} class{'es' if number > 1 else ''}: {some(subject.absent)}"
