"""What a reader of a report must know beside its tables: devices, releases, sets from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.plan import PlannedStudy, Step
from orchestrator.report.results import TrialResult
from orchestrator.report.wording import counted
from orchestrator.settings import FolderSet
from tasks.specs import Key, LineageSpec, TrialSpec


def study_notes(study: PlannedStudy, finished: Sequence[TrialResult]) -> Iterator[str]:
    """What stands in the way of comparing cells and trials."""
    tests = sorted({cell.num_test for cell in study.cells})
    if len(tests) > 1:
        yield f"the cells are tested on different numbers of images: {tests[0]} to {tests[-1]}"
    for field, what in (("device", "devices"), ("threads", "thread counts")):
        kinds = sorted({str(getattr(trial, field)) for trial in finished})
        if len(kinds) > 1:
            yield f"trials ran on different {what}: {', '.join(kinds)}"
    torches = sorted({trial.versions.get("torch", "?") for trial in finished})
    if len(torches) > 1:
        yield f"trials ran with different releases of torch: {', '.join(torches)}"
    if study.skipped:
        shown = ", ".join(study.skipped[:3])
        yield f"{len(study.skipped)} images could not be read and were left out: {shown}"
    folders = sorted(
        {
            name
            for cell in study.cells
            for name, each in cell.settings.sets
            if isinstance(each, FolderSet)
        }
    )
    for name in folders:
        yield f"set {name} was made elsewhere: which images it was made from is not known"
    models = {cell.model for cell in study.cells if cell.settings.model.name == "timm"}
    started = {
        cell.settings.model.config.pretrained
        for cell in study.cells
        if cell.settings.model.name == "timm"
    }
    if len(models) > 1 and started != {False}:
        yield "the models may start from different pre-training, which moves with architecture"


def lineage_notes(used: Sequence[Step], records: Mapping[Key, Mapping[str, Any]]) -> Iterator[str]:
    """Training images that were made from validation images, as their files say."""
    for step in used:
        if isinstance(step.spec, LineageSpec) and step.key in records:
            result = records[step.key]["result"]
            if result["of_validation"]:
                yield (
                    f"{step.spec.name}: {result['of_validation']:,} of {result['images']:,} images "
                    f"are edits of validation images, which flatters validation scores"
                )


def memory_notes(used: Sequence[Step], records: Mapping[Key, Mapping[str, Any]]) -> Iterator[str]:
    """Trials whose batches did not fit: batch norm saw smaller parts in them."""
    halved = set()
    for step in used:
        if isinstance(step.spec, TrialSpec) and step.key in records:
            recipe = step.spec.cell.recipe
            size = records[step.key]["result"]["micro_batch"]
            if size < -(-recipe.batch_size // recipe.accumulate):
                halved.add((step.key, size))
    if halved:
        sizes = ", ".join(str(size) for size in sorted({size for _, size in halved}))
        yield (
            f"{counted(len(halved), 'trial')} ran out of memory and went on with micro-batches of "
            f"{sizes} images, which batch norm sees: their scores may differ from the others' by it"
        )
