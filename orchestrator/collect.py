"""Reads from the ledger what a report shows: records become a StudyResult."""

import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.grid import label_of
from orchestrator.ledger import Ledger
from orchestrator.pictures import duplicate_checks, sample_sheets
from orchestrator.plan import VERSIONS, Plan, PlannedCell, PlannedStudy, PlannedTrial, Step
from orchestrator.report.results import CellResult, CostLine, StudyResult, TrialResult
from orchestrator.report.wording import counted
from orchestrator.set_results import set_results
from orchestrator.settings import FolderSet
from tasks import plugins
from tasks.predictions import StoredPredictions, load_predictions
from tasks.specs import Key, TrialSpec, canonical


def collect(
    study: PlannedStudy, plan: Plan, ledger: Ledger, *, sheets: bool = False, command: str = ""
) -> StudyResult:
    """Gather the outcomes of one study.

    Args:
        sheets: also read the images that a page shows.
        command: how the user makes this report again.
    """
    failures = _failures(study, plan, ledger)
    cells = tuple(_cell(study, cell, plan, ledger, failures) for cell in study.cells)
    used = _used(study, plan)
    records = {
        step.key: record
        for step in used
        if (record := ledger.record(step.kind, step.key)) is not None
    }
    finished = [t for cell in cells for t in cell.trials if t.status == "finished"]
    return StudyResult(
        name=study.spec.name,
        question=study.spec.question,
        axes=study.spec.axis_names,
        metrics=tuple(name for name in study.spec.metrics if name != "confusion"),
        seeds=study.spec.seeds,
        classes=study.classes,
        cells=cells,
        baseline=study.spec.baseline,
        num_validation=study.num_validation,
        num_test=study.num_test,
        match=_match(study),
        differences=_differences(study),
        folds=study.spec.folds,
        evaluation_sets=dict(study.further),
        lower_is_better=frozenset(
            name
            for name in study.spec.metrics
            if not getattr(plugins.module("metrics", name), "HIGHER_IS_BETTER", True)
        ),
        duplicates=tuple(duplicate_checks(study, ledger, plan, pairs=sheets)),
        costs=_costs(used, records),
        sheets=tuple(sample_sheets(study, ledger, used)) if sheets else (),
        sets=tuple(set_results(study, plan, ledger, pictures=sheets)),
        measures=study.spec.quality.measures if study.sets else (),
        command=command,
        store=ledger.uri,
        commit=_only({str(r.get("commit", "")) for r in records.values()}),
        notes=(*_notes(study, plan, finished), *_memory_notes(used, records)),
    )


def _used(study: PlannedStudy, plan: Plan) -> list[Step]:
    """The steps behind a study, each once, in the order of the plan."""
    wanted: set[Key] = set()
    stack = [key for cell in study.cells for trial in cell.trials for key in trial.evaluations]
    stack += [check.key for check in study.checks]
    stack += [key for each in study.sets for key in each.ends]
    while stack:
        key = stack.pop()
        if key not in wanted:
            wanted.add(key)
            stack.extend(plan.steps[key].needs)
    return [step for key, step in plan.steps.items() if key in wanted]


def _failures(study: PlannedStudy, plan: Plan, ledger: Ledger) -> dict[Key, str]:
    """One line for each step that failed, or that needs one which did."""
    marked = {kind: ledger.failed([kind]) for kind in VERSIONS}
    found: dict[Key, str] = {}
    for step in _used(study, plan):
        if step.key in marked.get(step.kind, ()):
            failure = ledger.failure(step.kind, step.key) or {}
            found[step.key] = str(failure.get("error", "failed"))
            continue
        for need in step.needs:
            if need in found and ledger.record(step.kind, step.key) is None:
                cause = found[need]
                known = cause.startswith("needs ")
                found[step.key] = cause if known else f"needs {plan.steps[need].title}: {cause}"
                break
    return found


def _cell(
    study: PlannedStudy,
    cell: PlannedCell,
    plan: Plan,
    ledger: Ledger,
    failures: Mapping[Key, str],
) -> CellResult:
    if cell.trials:
        trials = tuple(_trial(study, each, ledger, failures) for each in cell.trials)
    else:
        trials = tuple(
            TrialResult(key=None, seed=seed, fold=fold, status="deferred")
            for seed in study.spec.seeds
            for fold in (range(study.spec.folds) if study.spec.folds else (None,))
        )
    parameters = cell.num_parameters
    for each in cell.trials:
        record = ledger.record("trial", each.trial)
        if record is not None:
            parameters = record["result"]["num_parameters"]
            break
    return CellResult(
        coordinates=dict(cell.coordinates),
        label=label_of(cell.coordinates),
        trials=trials,
        baseline=cell.baseline,
        steps=cell.steps,
        num_real=cell.num_real,
        num_synthetic=cell.num_synthetic,
        num_parameters=parameters,
        model=cell.model,
        real_per_class=cell.real,
        synthetic_per_class=cell.synthetic,
        sets=tuple(dict.fromkeys(pack for _, pack in cell.packs)),
    )


def _trial(
    study: PlannedStudy, planned: PlannedTrial, ledger: Ledger, failures: Mapping[Key, str]
) -> TrialResult:
    finished = finished_trial(study, planned, ledger)
    if finished is not None:
        return finished
    errors = (failures.get(key) for key in (planned.trial, *planned.evaluations))
    error = next((text for text in errors if text), "")
    return TrialResult(
        key=planned.trial,
        seed=planned.seed,
        fold=planned.fold,
        status="failed" if error else "missing",
        error=error,
    )


def finished_trial(
    study: PlannedStudy, planned: PlannedTrial, ledger: Ledger
) -> TrialResult | None:
    """Compute the metrics of a trial from its stored predictions; None while one is missing."""
    trained = ledger.record("trial", planned.trial)
    records = [ledger.record("evaluate", key) for key in planned.evaluations]
    evaluated = [record for record in records if record is not None]
    if trained is None or len(evaluated) < len(records):
        return None
    counts = tuple(trained["settings"]["cell"]["images"]["training"])
    stored, *further = (_predictions(ledger, record) for record in evaluated)
    scores, per_class, confusion = _metrics(stored, study, counts)
    scores["val_top1"] = trained["result"]["scores"]["val_top1"]
    history = json.loads(ledger.read_file(trained, "history.json"))
    return TrialResult(
        key=planned.trial,
        seed=planned.seed,
        fold=planned.fold,
        status="finished",
        scores=scores,
        history=tuple(history),
        per_class=per_class,
        confusion=confusion,
        shifted={
            name: _metrics(each, study, counts)[0]
            for (name, _), each in zip(planned.further, further, strict=True)
        },
        reference={
            name: _metrics(_among(stored, each), study, counts)[0]
            for (name, _), each in zip(planned.further, further, strict=True)
            if set(each.labels.tolist()) != set(stored.labels.tolist())
        },
        companion=_companion(stored),
        seconds=trained["result"]["seconds"] + sum(record["seconds"] for record in evaluated),
        device=trained["device"],
        threads=trained["threads"],
        versions=trained["versions"],
    )


def _predictions(ledger: Ledger, record: Mapping[str, Any]) -> StoredPredictions:
    return load_predictions(io.BytesIO(ledger.read_file(record, "predictions.npz")))


def _metrics(
    stored: StoredPredictions, study: PlannedStudy, training: tuple[int, ...]
) -> tuple[dict[str, float], dict[str, tuple[float, ...]], tuple[tuple[int, ...], ...] | None]:
    scores: dict[str, float] = {}
    per_class: dict[str, tuple[float, ...]] = {}
    confusion = None
    selected = replace(stored.by("selected", study.classes), training=training)
    # The confusion matrix and the classes' own scores belong to every page.
    for name in dict.fromkeys((*study.spec.metrics, "f1", "recall", "confusion")):
        score = plugins.build("metrics", plugins.plugin("metrics", name))(selected)
        if score.value is not None and name in study.spec.metrics:
            scores[name] = score.value
        if score.per_class is not None:
            per_class[name] = score.per_class
        if score.matrix is not None:
            confusion = score.matrix
    if stored.last is not None:
        top1 = plugins.build("metrics", plugins.plugin("metrics", "top1"))
        last = top1(stored.by("last", study.classes)).value
        if last is not None:
            scores["top1_last"] = last
    return scores, per_class, confusion


def _among(stored: StoredPredictions, other: StoredPredictions) -> StoredPredictions:
    """The predictions of those images whose class the other test set has too."""
    rows = np.isin(stored.labels, other.labels)
    last = None if stored.last is None else stored.last[rows]
    return StoredPredictions(labels=stored.labels[rows], selected=stored.selected[rows], last=last)


def _companion(stored: StoredPredictions) -> dict[str, float]:
    """How the second classifier does beside the network, where one was fitted."""
    if stored.companion is None:
        return {}
    from tasks.companion import compare

    found = compare(stored.selected, stored.companion, stored.labels)
    if found is None:
        return {}
    return {
        "agreement": found.agreement,
        "companion_top1": found.companion_top1,
        "combined_top1": found.combined_top1,
    }


def _match(study: PlannedStudy) -> str:
    return "epochs" if any(c.settings.train.match == "epochs" for c in study.cells) else "steps"


def flat_settings(cell: PlannedCell) -> dict[str, str]:
    """Every setting of a cell by dotted path, as text; the same for logs and comparisons."""
    values = canonical(cell.settings)
    values["sets"] = dict(values["sets"])
    flat: dict[str, str] = {}
    _flatten(values, "", flat)
    flat |= {
        "num_real": str(cell.num_real),
        "num_synthetic": str(cell.num_synthetic),
        "steps": str(cell.steps),
        "model": cell.model,
    }
    return flat


def _flatten(value: Any, path: str, into: dict[str, str]) -> None:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            _flatten(item, f"{path}.{key}" if path else key, into)
    else:
        into[path] = value if isinstance(value, str) else json.dumps(value)


def _differences(study: PlannedStudy) -> tuple[str, ...]:
    """For arms: the settings in which each differs from the one it is compared with."""
    if not study.spec.arms:
        return ()
    lines = []
    for cell in study.cells:
        if cell.baseline is None:
            continue
        mine, other = flat_settings(cell), flat_settings(study.cells[cell.baseline])
        paths = sorted(p for p in {*mine, *other} if mine.get(p) != other.get(p))
        shown = ", ".join(f"{p}: {other.get(p, 'unset')} -> {mine.get(p, 'unset')}" for p in paths)
        against = label_of(study.cells[cell.baseline].coordinates)
        lines.append(f"{label_of(cell.coordinates)} differs from {against} in {shown or 'nothing'}")
    return tuple(lines)


def _costs(used: list[Step], records: Mapping[Key, Mapping[str, Any]]) -> tuple[CostLine, ...]:
    grouped: dict[tuple[str, str], list[float]] = defaultdict(list)
    for step in used:
        if step.key in records:
            record = records[step.key]
            # A step's own word includes what it spent before an interruption.
            seconds = record["result"].get("seconds", record["seconds"])
            grouped[(step.title, record["device"])].append(seconds)
    return tuple(
        CostLine(what=title, steps=len(seconds), hours=sum(seconds) / 3600, device=device)
        for (title, device), seconds in grouped.items()
    )


def _notes(study: PlannedStudy, plan: Plan, finished: list[TrialResult]) -> Iterator[str]:
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


def _memory_notes(used: list[Step], records: Mapping[Key, Mapping[str, Any]]) -> Iterator[str]:
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


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ", ".join(sorted(v for v in values if v))
