"""Reads from the ledger what a report shows: records become a StudyResult."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrator.edited import edits_in_words
from orchestrator.grid import label_of
from orchestrator.ledger import Ledger
from orchestrator.pictures import duplicate_checks, sample_sheets
from orchestrator.plan import VERSIONS, Plan, PlannedCell, PlannedStudy, PlannedTrial, Step
from orchestrator.remarks import lineage_notes, memory_notes, study_notes
from orchestrator.report.results import CellResult, CostLine, StudyResult, TrialResult
from orchestrator.set_results import set_results
from orchestrator.settings import EditedTest
from orchestrator.trial_results import finished_trial
from tasks import plugins
from tasks.specs import Counts, Key, TrialSpec, canonical


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
        edited_tests={
            each.name: edits_in_words(each.edits)
            for each in study.spec.evaluation_sets
            if isinstance(each, EditedTest)
        },
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
        notes=(
            *study_notes(study, finished),
            *memory_notes(used, records),
            *lineage_notes(used, records),
        ),
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
    synthetic = _synthetic(study, cell, plan, ledger)
    return CellResult(
        coordinates=dict(cell.coordinates),
        label=label_of(cell.coordinates),
        trials=trials,
        baseline=cell.baseline,
        steps=cell.steps,
        num_real=cell.num_real,
        num_synthetic=sum(synthetic),
        num_parameters=parameters,
        model=cell.model,
        real_per_class=cell.real,
        synthetic_per_class=synthetic,
        sets=tuple(dict.fromkeys(pack for _, pack in cell.packs)),
    )


def _synthetic(study: PlannedStudy, cell: PlannedCell, plan: Plan, ledger: Ledger) -> Counts:
    """Synthetic images of each class, less those that filters dropped where nothing refilled."""
    found = np.array(cell.synthetic, np.int64)
    filters = {planned.pack: planned.filter for planned in study.sets if planned.filter}
    for trial in cell.trials[:1]:
        spec = plan.steps[trial.trial].spec
        assert isinstance(spec, TrialSpec)
        for asked in spec.cell.sets:
            record = ledger.record("filter", filters[asked.pack]) if asked.pack in filters else None
            if record is not None:
                found -= np.maximum(0, np.array(asked.counts) - record["result"]["kept"])
    return tuple(found.tolist())


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
        other = study.cells[cell.baseline]
        shown = ", ".join(_changes(other, cell)) or "nothing"
        lines.append(
            f"{label_of(cell.coordinates)} differs from {label_of(other.coordinates)} in {shown}"
        )
    return tuple(lines)


def _changes(before: PlannedCell, after: PlannedCell) -> list[str]:
    """What was set otherwise; a set that one of them does not have is named, not taken apart."""
    old, new = flat_settings(before), flat_settings(after)
    lone = {*dict(before.settings.sets)} ^ {*dict(after.settings.sets)}
    paths = sorted(
        path
        for path in {*old, *new}
        if old.get(path) != new.get(path)
        and path != "sets"
        and not any(path.startswith(f"sets.{name}.") for name in lone)
    )
    sets = [f"sets: {_set_names(before)} -> {_set_names(after)}"] if lone else []
    return sets + [_change(p, old.get(p, "unset"), new.get(p, "unset")) for p in paths]


def _change(path: str, old: str, new: str) -> str:
    """Of lists of augmentations and the like their names, where those tell the difference."""
    before, after = _names(old), _names(new)
    if before is not None and after is not None and before != after:
        old, new = before, after
    return f"{path}: {old} -> {new}"


def _names(text: str) -> str | None:
    """The names in a list of plug-ins; None for anything else."""
    try:
        values = json.loads(text)
    except ValueError:
        return None
    if not isinstance(values, list) or not all(isinstance(v, dict) and "name" in v for v in values):
        return None
    return " and ".join(value["name"] for value in values) or "none"


def _set_names(cell: PlannedCell) -> str:
    return " and ".join(name for name, _ in cell.settings.sets) or "none"


def _costs(used: list[Step], records: Mapping[Key, Mapping[str, Any]]) -> tuple[CostLine, ...]:
    grouped: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for step in used:
        if step.key in records:
            record = records[step.key]
            result = record["result"]
            # A step's own word includes what it spent before an interruption.
            spent = result.get("seconds", record["seconds"]), result.get("cost_usd", 0.0)
            grouped[(step.title, record["device"])].append(spent)
    return tuple(
        CostLine(
            what=title,
            steps=len(spent),
            hours=sum(seconds for seconds, _ in spent) / 3600,
            device=device,
            money_usd=sum(usd for _, usd in spent),
        )
        for (title, device), spent in grouped.items()
    )


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ", ".join(sorted(v for v in values if v))
