"""Writes a set of a study as class folders."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.settings import EditedSet, FolderSet, GeneratedSet
from orchestrator.single.adopting import rows_of
from orchestrator.single.generating import refilling_of
from orchestrator.single.generator_files import fitted_on
from orchestrator.single.making import MadeSet, write_images
from orchestrator.single.set_folders import SetFolder
from orchestrator.single.set_recipes import Recipe
from orchestrator.single.study_sets import StudySet
from tasks.edits.naming import edit_seed
from tasks.errors import InputError
from tasks.packs import Pack, training_sources
from tasks.specs import EditSpec, FilterSpec, FitSpec, GatherSpec, PackSpec, canonical

Row = dict[str, Any]


def export(found: StudySet, path: Path) -> MadeSet:
    """Write the images that are not there yet, the manifest and the sheet.

    Raises InputError where the set is not made, or the folder cannot be written.
    """
    source = found.planned.source
    if isinstance(source, FolderSet):
        raise InputError(f"{found.asked.given}: is a folder already: {source.reader.config.root}")
    edited = isinstance(source, EditedSet)
    recipe = _recipe_of_edits(found) if edited else _recipe(found)
    folder = SetFolder(path, found.study.classes, recipe)
    folder.check()
    found.check_made()
    rows = rows_of(found.kind, found.images, found.whole.ledger)
    entries, num_new = write_images(_of_the_cell(rows, found) if edited else rows, folder)
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


def _recipe_of_edits(found: StudySet) -> Recipe:
    planned, steps = found.planned, found.whole.plan.steps
    source, shard = planned.source, steps[planned.shards[0]].spec
    assert isinstance(source, EditedSet)
    assert isinstance(shard, EditSpec)
    images = _gathered(found).sources
    assert images is not None
    pack = steps[images.pack].spec
    assert isinstance(pack, PackSpec)
    return Recipe(
        generator=source.editor.name,
        model="" if planned.fit is None else f"fit:{planned.fit}",
        settings={**canonical(source), "masks_digest": shard.recipe.masks_digest},
        seed=source.settings.seed,
        images=dict(zip(found.study.classes, planned.per_class, strict=True)),
        fitted_on=canonical(fitted_on(pack, images)),
    )


def _of_the_cell(rows: Iterable[Row], found: StudySet) -> Iterator[Row]:
    """Edits of the cell's own training images, numbered by class: shards hold others beside."""
    images = _gathered(found).sources
    assert images is not None
    wanted = training_sources(Pack(found.whole.ledger.fetch("pack", images.pack)), images)
    numbers: Counter[int] = Counter()
    for row in rows:
        if row["source"] in wanted:
            label = row["label"]
            of_edit = {"seed": edit_seed(row["id"]), "source": row["source_hash"]}
            yield {**row, **of_edit, "class_index": numbers[label]}
            numbers[label] += 1


def _gathered(found: StudySet) -> GatherSpec:
    spec = found.whole.plan.steps[found.planned.pack].spec
    assert isinstance(spec, GatherSpec)
    return spec


def _filtered(found: StudySet) -> dict[str, object] | None:
    if found.planned.filter is None:
        return None
    record = found.whole.ledger.record("filter", found.planned.filter)
    assert record is not None
    result: dict[str, object] = record["result"]
    return result
