"""Writes a set of a study as class folders."""

from pathlib import Path

from orchestrator.settings import EditedSet, FolderSet, GeneratedSet
from orchestrator.single.adopting import rows_of
from orchestrator.single.generating import refilling_of
from orchestrator.single.generator_files import fitted_on
from orchestrator.single.making import MadeSet, write_images
from orchestrator.single.set_folders import SetFolder
from orchestrator.single.set_recipes import Recipe
from orchestrator.single.study_sets import StudySet
from tasks.errors import InputError
from tasks.specs import FilterSpec, FitSpec, PackSpec, canonical


def export(found: StudySet, path: Path) -> MadeSet:
    """Write the images that are not there yet, the manifest and the sheet.

    Raises InputError where the set is not made, or the folder cannot be written.
    """
    source = found.planned.source
    if isinstance(source, FolderSet):
        raise InputError(f"{found.asked.given}: is a folder already: {source.reader.config.root}")
    if isinstance(source, EditedSet):
        raise InputError(
            f"{found.asked.given}: edits are not exported; augury generate --input-dir writes them"
        )
    folder = SetFolder(path, found.study.classes, _recipe(found))
    folder.check()
    found.check_made()
    rows = rows_of(found.kind, found.images, found.whole.ledger)
    entries, num_new = write_images(rows, folder)
    folder.finish(entries)
    return MadeSet(folder=folder, entries=entries, num_new=num_new, filtered=_filtered(found))


def _recipe(found: StudySet) -> Recipe:
    planned, steps = found.planned, found.whole.plan.steps
    source = planned.source
    assert isinstance(source, GeneratedSet)
    assert planned.fit is not None
    fit = steps[planned.fit].spec
    assert isinstance(fit, FitSpec)
    pack = steps[fit.images.pack].spec
    assert isinstance(pack, PackSpec)
    extractor = None
    if planned.filter is not None:
        spec = steps[planned.filter].spec
        assert isinstance(spec, FilterSpec)
        extractor = spec.extractor
    return Recipe(
        generator=source.generator.name,
        model=f"fit:{planned.fit}",
        settings=canonical(source.sampling),
        seed=source.settings.seed,
        images=dict(zip(found.study.classes, planned.per_class, strict=True)),
        fitted_on=canonical(fitted_on(pack, fit.images)),
        filters=[canonical(each) for each in source.filters],
        refilling=refilling_of(source.settings) if source.filters else None,
        extractor=None if extractor is None else canonical(extractor),
    )


def _filtered(found: StudySet) -> dict[str, object] | None:
    if found.planned.filter is None:
        return None
    record = found.whole.ledger.record("filter", found.planned.filter)
    assert record is not None
    result: dict[str, object] = record["result"]
    return result
