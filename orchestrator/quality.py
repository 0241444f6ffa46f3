"""What is measured of synthetic sets: plans their features, measures, audits and gates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.graph import Steps, key_of
from orchestrator.grid import Cell, label_of
from orchestrator.planned import PlannedSet
from orchestrator.real import RealImages, without_real
from orchestrator.sets import Taken, fit_extractor
from orchestrator.settings import (
    CellSettings,
    EditedSet,
    FolderSet,
    GeneratedSet,
    QualitySettings,
)
from tasks.reference import reference_model, reference_recipe
from tasks.specs import (
    AuditSpec,
    CasSpec,
    CellSpec,
    FeaturesSpec,
    FidelitySpec,
    GateSpec,
    ImagesSpec,
    Key,
    RealReference,
    content_key,
)

CAS = "cas"
"""Of the measures, the one that trains a classifier."""

Coordinates = tuple[tuple[str, Any], ...]


@dataclass
class Quality:
    """Collects the synthetic sets of a study, and plans what is measured of each, once."""

    settings: QualitySettings
    steps: Steps
    _found: dict[Key, tuple[PlannedSet, Coordinates]] = field(default_factory=dict)

    def add(self, taken: Taken, real: RealImages, cell: Cell) -> Key | None:
        """Plan what is measured of a set; the gate that trials on it wait for, if there is one."""
        if taken.pack not in self._found:
            planned = self._planned(taken, real, _group(taken, cell.settings))
            self._found[taken.pack] = (planned, cell.coordinates)
        return self._found[taken.pack][0].gate

    def sets(self) -> tuple[PlannedSet, ...]:
        """All of them, in the order in which cells named them."""
        return named(self._found.values())

    def _planned(self, taken: Taken, real: RealImages, group: Key) -> PlannedSet:
        settings = self.settings
        # Every set of a study is compared with the same real images, whatever its subset.
        pool = replace(real.images, training=real.pool)
        planned = PlannedSet(
            name=taken.name,
            group=group,
            pack=taken.pack,
            num_images=sum(taken.counts),
            per_class=taken.counts,
            source=taken.source,
            fit=taken.fit,
            shards=taken.shards,
            filter=taken.filter,
        )
        measures = tuple(name for name in settings.measures if name != CAS)
        fidelity = held_out = cas = audit = gate = None
        if measures or settings.audit is not None:
            fitted = fit_extractor(settings.extractor, pool, real, self.steps)
            features = self._features(taken.pack, fitted, f"features of {taken.name}")
            reference = self._reference(pool, real, fitted)
            if measures:
                fidelity = self._fidelity(taken.pack, taken.name, features, reference, measures)
                if pool.fold is None:
                    test, name = (real.test, reference.test_features), "test images"
                    held_out = self._fidelity(test[0], name, test[1], reference, measures)
            if settings.audit is not None:
                # Memorised is what the generator itself was shown.
                shown = real.images if taken.fit is not None else pool
                audit = self._audit(taken, features, replace(reference, train=shown))
                gate = self._gate(taken, audit)
        if CAS in settings.measures:
            cas = self._cas(taken, pool, real)
        return replace(
            planned, fidelity=fidelity, held_out=held_out, cas=cas, audit=audit, gate=gate
        )

    def _features(self, pack: Key, fitted: Key | None, title: str) -> Key:
        spec = FeaturesSpec(extractor=self.settings.extractor, fitted=fitted, pack=pack)
        needs = (pack, *((fitted,) if fitted is not None else ()))
        size = self.steps.found[pack].size
        return self.steps.add(spec, needs, title, size, key_of(spec))

    def _reference(self, pool: ImagesSpec, real: RealImages, fitted: Key | None) -> RealReference:
        train = self._features(pool.pack, fitted, "features of train images")
        test = self._features(real.test, fitted, "features of test images")
        return RealReference(train=pool, train_features=train, test=real.test, test_features=test)

    def _fidelity(
        self, pack: Key, name: str, features: Key, real: RealReference, measures: tuple[str, ...]
    ) -> Key:
        spec = FidelitySpec(pack=pack, features=features, real=real, measures=measures)
        needs = tuple(dict.fromkeys((pack, features, *_of(real))))
        return self.steps.add(
            spec, needs, f"measure {name}", self.steps.found[pack].size, key_of(spec)
        )

    def _audit(self, taken: Taken, features: Key, real: RealReference) -> Key:
        spec = AuditSpec(pack=taken.pack, features=features, real=real)
        needs = (taken.pack, features, *_of(real))
        return self.steps.add(spec, needs, f"audit {taken.name}", sum(taken.counts), key_of(spec))

    def _gate(self, taken: Taken, audit: Key) -> Key | None:
        allowed = self.settings.audit
        if allowed is None or not allowed.is_gate:
            return None
        spec = GateSpec(
            audit=audit,
            max_test_duplicates=allowed.max_test_duplicates,
            max_memorisation=allowed.max_memorisation,
            name=taken.name,
        )
        return self.steps.add(spec, (audit,), f"audit gate of {taken.name}", 1, key_of(spec))

    def _cas(self, taken: Taken, pool: ImagesSpec, real: RealImages) -> Key:
        cell = CellSpec(
            images=without_real(pool),
            sets=(taken.images(),),
            model=reference_model(),
            recipe=reference_recipe(sum(taken.counts)),
            num_classes=len(real.info.classes),
        )
        spec = CasSpec(cell=cell, seed=0, test=real.test, classes=real.info.classes)
        validation = pool.validation_pack
        needs = (pool.pack, taken.pack, real.test, *((validation,) if validation else ()))
        title = f"classification accuracy score of {taken.name}"
        return self.steps.add(spec, tuple(dict.fromkeys(needs)), title, cell.recipe.steps)


def _of(real: RealReference) -> tuple[Key, ...]:
    keys = (real.train.pack, real.train_features, real.test, real.test_features)
    return tuple(dict.fromkeys(keys))


def _group(taken: Taken, cell: CellSettings) -> Key:
    """Everything that a set is but its seed, and in cross-validation its fold."""
    source = taken.source
    unseeded: GeneratedSet | EditedSet
    match source:
        case FolderSet():
            return taken.pack
        case GeneratedSet():
            unseeded = replace(source, settings=replace(source.settings, seed=0))
        case EditedSet():
            unseeded = replace(source, settings=replace(source.settings, seed=0))
    said = {
        "source": unseeded,
        "dataset": cell.dataset,
        "subset": replace(cell.subset, max_synth=None),
        "fills": cell.mixing.name == "fill_tail",
    }
    return content_key("group", 1, said)


def named(found: Iterable[tuple[PlannedSet, Coordinates]]) -> tuple[PlannedSet, ...]:
    """Tell sets of one name apart by where the cells that use them differ."""
    found = list(found)
    return tuple(
        replace(
            planned, name=_name(planned, place, [p for s, p in found if s.name == planned.name])
        )
        for planned, place in found
    )


def _name(planned: PlannedSet, place: Coordinates, others: Sequence[Coordinates]) -> str:
    """Its name, with the coordinates that are not the same for all sets that are called so."""
    told = tuple(
        (path, value)
        for path, value in place
        if path not in ("variant", "sets", "set_seed")
        and not path.endswith(".seed")
        and any(dict(other).get(path) != value for other in others)
    )
    return f"{planned.name} ({label_of(told)})" if told else planned.name
