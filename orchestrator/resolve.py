"""The settings of one cell become specs with keys, and the steps that make them."""

from dataclasses import dataclass, replace
from typing import Any

from orchestrator.budget import recipe_of, stages_of
from orchestrator.graph import Steps, key_of, part_key
from orchestrator.grid import Cell, label_of
from orchestrator.mixed import mixed, mixing_of
from orchestrator.models import model_label, num_parameters
from orchestrator.planned import VERSIONS, PlannedCell, PlannedTrial
from orchestrator.quality import Quality
from orchestrator.real import RealImages, count, without_real
from orchestrator.sets import Taken, synthetic
from orchestrator.settings import FolderSet, SubsetSettings
from tasks import plugins
from tasks.errors import InputError
from tasks.specs import (
    CellSpec,
    Counts,
    DuplicatesSpec,
    EvaluateSpec,
    ImagesSpec,
    Key,
    LineageSpec,
    Recipe,
    TrialSpec,
    content_key,
)


@dataclass(frozen=True, kw_only=True)
class FurtherTest:
    """Images that trials are evaluated on, beside those of the dataset."""

    name: str
    pack: Key
    num_images: int
    without: Key | None
    """The duplicates to leave out, if any."""
    skipped: tuple[str, ...] = ()
    """Images that cannot be read."""
    is_edited: bool = False
    """Its images are edits of the dataset's own test images."""


def plan_cell(
    seeds: tuple[int, ...],
    cell: Cell,
    ground: SubsetSettings,
    reals: tuple[RealImages, ...],
    further: tuple[FurtherTest, ...],
    quality: Quality | None,
    steps: Steps,
) -> tuple[PlannedCell, Key]:
    """Plan a cell at all seeds and folds; the key is that of the cell without them.

    Args:
        ground: the subset written in the study's base, whose size sets the budget.
        reals: its real images, once for each fold.
        quality: plans what is measured of synthetic sets; None where nothing is.
    """
    budget = sum(count(reals[0].pool, ground))
    first = _Fold.of(cell, budget, reals[0], quality, steps, None)
    # One recipe for all folds, which differ by an image or two.
    recipe = first.spec.recipe
    folds = [first, *(_Fold.of(cell, budget, r, quality, steps, recipe) for r in reals[1:])]
    coordinates = _shown(cell.coordinates, cell.settings.variant)
    label = label_of(coordinates)
    trials = tuple(fold.trial(label, seed, further, steps) for seed in seeds for fold in folds)
    planned = PlannedCell(
        coordinates=coordinates,
        settings=cell.settings,
        trials=trials,
        steps=first.spec.recipe.steps,
        eval_every=first.spec.recipe.eval_every,
        real=first.spec.images.training,
        synthetic=first.synthetic,
        packs=tuple((taken.name, taken.pack) for taken in first.taken),
        num_validation=sum(first.spec.images.validation),
        num_test=first.real.num_test,
        model=model_label(cell.settings.model),
        num_parameters=num_parameters(cell.settings.model),
        baseline=None,
    )
    together = first.key if len(folds) == 1 else part_key(tuple(fold.key for fold in folds))
    return planned, together


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """A cell on one fold, or on the whole train split."""

    real: RealImages
    spec: CellSpec
    key: Key
    taken: tuple[Taken, ...]
    gates: tuple[Key, ...]
    """What the audits of its sets must let through before it is trained; no part of any key."""
    synthetic: Counts
    """Images of all sets together, in the label order of the dataset."""

    @classmethod
    def of(
        cls,
        cell: Cell,
        budget: int,
        real: RealImages,
        quality: Quality | None,
        steps: Steps,
        recipe: Recipe | None,
    ) -> "_Fold":
        chosen = cell.settings
        extractor = None if quality is None else quality.settings.extractor
        found = [
            synthetic(name, each, chosen, real, extractor, steps) for name, each in chosen.sets
        ]
        # Sorted by key, so that the order in which sets are named does not count.
        taken = sorted((each for each in found if each is not None), key=lambda each: each.pack)
        gates: tuple[Key, ...] = ()
        if quality is not None:
            asked = (quality.add(each, real, cell) for each in taken)
            gates = tuple(gate for gate in asked if gate is not None)
        images = real.images
        if chosen.variant == "synthetic":
            images = without_real(images)
        training, counts = mixed(
            images.training,
            [each.counts for each in taken],
            chosen.mixing,
            chosen.subset.max_synth,
            real.info.classes,
        )
        images = replace(images, training=training)
        taken = [
            replace(each, counts=mine)
            for each, mine in zip(taken, counts, strict=True)
            if sum(mine)
        ]
        sets = tuple(each.images() for each in taken)
        num_own = sum(training)
        # Swapped in by chance, synthetic images make no pass longer.
        if chosen.mixing.name != "swap":
            num_own += sum(sum(t.counts) for t in taken)
        if not num_own:
            raise InputError(
                f"variant: {chosen.variant!r} with empty sets leaves nothing to train on"
            )
        recipe = recipe or recipe_of(chosen, budget, num_own)
        spec = CellSpec(
            images=images,
            sets=sets,
            model=chosen.model,
            recipe=recipe,
            num_classes=len(real.info.classes),
            mixing=mixing_of(chosen.mixing, bool(sets)),
            stages=stages_of(chosen, recipe.steps) if sets else (),
            companion=chosen.companion,
        )
        return cls(
            real=real,
            spec=spec,
            key=_cell_key(spec),
            taken=tuple(taken),
            gates=gates,
            synthetic=tuple(
                sum(each.counts[label] for each in taken) for label in range(len(real.info.classes))
            ),
        )

    def trial(
        self, label: str, seed: int, further: tuple[FurtherTest, ...], steps: Steps
    ) -> PlannedTrial:
        """Plan the training at a seed, and an evaluation for each test set."""
        fold = self.spec.images.fold
        note = f"{label}, seed {seed}" + (f", fold {fold[0]}" if fold is not None else "")
        model = model_label(self.spec.model)
        validation = self.spec.images.validation_pack
        needs = [self.spec.images.pack, *((validation,) if validation else ())]
        lineages = self._lineages(further, steps)
        trial = steps.add(
            TrialSpec(cell=self.spec, seed=seed),
            (*needs, *(each.pack for each in self.taken), *self.gates, *lineages),
            f"train {model}",
            self.spec.recipe.steps,
            content_key("trial", VERSIONS["trial"], {"cell": self.key, "seed": seed}),
            note,
        )

        def evaluate(pack: Key, num_images: int, without: Key | None, held_out: bool) -> Key:
            spec = EvaluateSpec(
                trial=trial,
                test=pack,
                held_out=self.spec.images if held_out else None,
                without=without,
                classes=self.real.info.classes,
                companion=self.spec.companion,
            )
            needs = (trial, pack, *((without,) if without is not None else ()))
            return steps.add(spec, needs, f"evaluate {model}", num_images, None, note)

        own = duplicates_of(self.real, self.real.test, self.real.num_test, steps)
        drop = self.real.dataset.split.drop_test_duplicates
        return PlannedTrial(
            seed=seed,
            fold=None if fold is None else fold[0],
            trial=trial,
            evaluate=evaluate(
                self.real.test, self.real.num_test, own if drop else None, fold is not None
            ),
            further=tuple(
                (each.name, evaluate(each.pack, each.num_images, each.without, False))
                for each in further
            ),
        )

    def _lineages(self, further: tuple[FurtherTest, ...], steps: Steps) -> tuple[Key, ...]:
        """What looks for edits of test images among images of which nobody knows what they are."""
        real = self.real
        looked = {
            f"synthetic.{each.name}.folder": each.pack
            for each in self.taken
            if isinstance(each.source, FolderSet)
        }
        if getattr(plugins.module("datasets", real.dataset.reader.name), "MAY_HOLD_EDITS", False):
            looked["dataset"] = real.images.pack
        own = (real.test,) if real.num_test else ()
        tests = (*own, *(each.pack for each in further if not each.is_edited))
        return tuple(
            _lineage(name, pack, tests, real.images, steps) for name, pack in looked.items()
        )


def _lineage(name: str, pack: Key, tests: tuple[Key, ...], images: ImagesSpec, steps: Steps) -> Key:
    # Which images validate does not hang on the subset.
    real = replace(images, training=(0,) * len(images.training))
    spec = LineageSpec(images=pack, tests=tests, real=real, name=name)
    held = (real.validation_pack,) if real.validation_pack else ()
    needs = tuple(dict.fromkeys((pack, *tests, real.pack, *held)))
    return steps.add(spec, needs, f"lineage of {name}", 1, key_of(spec))


def duplicates_of(real: RealImages, test: Key, num_images: int, steps: Steps) -> Key | None:
    """Plan the search for test images that stand in the train split; not within one pack."""
    if test == real.images.pack:
        return None
    spec = DuplicatesSpec(train=real.images.pack, test=test)
    title = f"check {real.dataset.reader.name} for duplicates"
    return steps.add(spec, (spec.train, spec.test), title, num_images, key_of(spec))


def _cell_key(spec: CellSpec) -> Key:
    return content_key(
        "cell",
        VERSIONS["trial"],
        {
            "images": part_key(spec.images),
            "sets": [part_key(taken) for taken in spec.sets],
            "model": part_key(spec.model),
            "recipe": part_key(spec.recipe),
            "num_classes": spec.num_classes,
            "mixing": spec.mixing,
            "stages": spec.stages,
            "companion": spec.companion,
        },
    )


def _shown(coordinates: tuple[tuple[str, Any], ...], variant: str) -> tuple[tuple[str, Any], ...]:
    """Without the axes that do not matter to a cell: a `real` one stands for all synthetic sets."""
    inert = {"real": ("sets", "set_seed", "synthetic", "mixing"), "synthetic": ("mixing",)}.get(
        variant, ()
    )
    return tuple((path, v) for path, v in coordinates if path.split(".")[0] not in inert)
