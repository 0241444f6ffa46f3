"""A plan as text for people, and as JSON for programs."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.display import duration
from orchestrator.estimate import expected_seconds, load_rates
from orchestrator.grid import label_of
from orchestrator.plan import PlannedCell, PlannedStudy, PlannedTrial, Step
from orchestrator.planning import Planned
from orchestrator.services import service_of
from orchestrator.settings import BYTES_PER_PARAMETER
from tasks import plugins
from tasks.specs import EditSpec, PackSpec, TrialSpec

BYTES_PER_WEIGHT = 4


def as_json(planned: Planned) -> str:
    """Counts of trials, every step with its status, and the cells of each study."""
    plan, to_run = planned.plan, planned.to_run
    steps = [
        {
            "kind": step.kind,
            "key": step.key,
            "status": planned.status(step.key, to_run),
            "needs": list(step.needs),
            "title": step.title,
            "size": step.size,
        }
        for step in plan.steps.values()
    ]
    document = {
        "requested": plan.requested,
        "unique": plan.unique,
        "finished": planned.num_finished,
        "to_run": planned.num_to_run,
        "deferred": plan.deferred,
        "failed": planned.num_failed,
        "steps": steps,
        "studies": {study.spec.name: _study(study) for study in plan.studies},
        "estimate": estimate(planned),
        "placeholders": list(plan.placeholders),
    }
    return json.dumps(document, indent=1)


def _study(study: PlannedStudy) -> dict[str, Any]:
    return {
        "question": study.spec.question,
        "requested": study.num_trials,
        "deferred_until": study.awaits,
        "validation_images": study.num_validation,
        "test_images": study.num_test,
        "cells": [
            {
                "coordinates": dict(cell.coordinates),
                "steps": cell.steps,
                "real": cell.num_real,
                "synthetic": cell.num_synthetic,
                "model": cell.model,
                "parameters": cell.num_parameters,
                "real_per_class": list(cell.real),
                "synthetic_per_class": list(cell.synthetic),
                "trials": {_place(trial): trial.trial for trial in cell.trials},
            }
            for cell in study.cells
        ],
    }


def _place(trial: PlannedTrial) -> str:
    return str(trial.seed) if trial.fold is None else f"{trial.seed}, fold {trial.fold}"


def estimate(planned: Planned) -> dict[str, float | int | None]:
    """What the steps to run will take; None where it cannot be known before."""
    steps = list(planned.to_run.values())
    asked = asked_of_services(steps)
    trials = [step.spec for step in steps if isinstance(step.spec, TrialSpec)]
    sizes = _parameters(planned)
    counted = [sizes.get(step.key) for step in steps if step.kind == "trial"]
    known = [size for size in counted if size is not None]
    complete = len(known) == len(trials)
    packs = [step.spec for step in steps if isinstance(step.spec, PackSpec)]
    pixels = [planned.infos[spec.reader].image_bytes for spec in packs]
    pack_bytes = sum(
        pixel * step.size
        for pixel, step in zip(pixels, (s for s in steps if s.kind == "pack"), strict=True)
    )
    weights = sum(known) * BYTES_PER_WEIGHT if complete else None
    if weights is not None and (all(pixels) or not packs):
        disk: int | None = weights + pack_bytes
    else:
        disk = None
    return {
        "worker_seconds": expected_seconds(steps, load_rates(planned.ledger)) if steps else 0.0,
        "memory_bytes_per_trial": max(known) * BYTES_PER_PARAMETER if known and complete else None,
        "disk_bytes": disk if steps else 0,
        "calls": sum(each.calls for each in asked.values()),
        "money_usd": sum(each.usd for each in asked.values()),
    }


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a service at most: answers that were kept are not asked for again."""

    calls: int
    usd: float
    max_cost_usd: float
    """The least that any of its editors allows."""


def asked_of_services(steps: Iterable[Step]) -> dict[str, Asked]:
    """Calls and money of the steps to run, by the service."""
    found: dict[str, Asked] = {}
    for step in steps:
        service = service_of(step)
        if service is None or not isinstance(step.spec, EditSpec):
            continue
        recipe = step.spec.recipe
        config = recipe.editor.config
        module = plugins.module("editors", service)
        price: float = module.cost_usd_per_image(config, recipe.masks is not None)
        known = found.get(service, Asked(calls=0, usd=0.0, max_cost_usd=config.max_cost_usd))
        found[service] = Asked(
            calls=known.calls + step.size,
            usd=known.usd + price * step.size,
            max_cost_usd=min(known.max_cost_usd, config.max_cost_usd),
        )
    return found


def _parameters(planned: Planned) -> dict[str, int | None]:
    return {
        trial.trial: cell.num_parameters
        for study in planned.plan.studies
        for cell in study.cells
        for trial in cell.trials
    }


def as_text(planned: Planned) -> str:
    """The cells of each study with their budgets, the counts, and what it will take."""
    plan = planned.plan
    lines: list[str] = []
    for study in plan.studies:
        lines += [f"{study.spec.name}: {study.spec.question}", *_table(planned, study), ""]
    for source in plan.placeholders:
        lines.append(f"not there yet, so counts are invented and `run` refuses: {source}")
    shared = plan.requested - plan.unique
    lines.append(
        f"trials: {plan.requested} requested, {plan.unique} unique"
        + (f" ({shared} shared)" if shared else "")
        + f", {planned.num_finished} finished, {planned.num_to_run} to run"
        + (f", {plan.deferred} deferred" if plan.deferred else "")
        + (f", {planned.num_failed} failed" if planned.num_failed else "")
    )
    kinds: dict[str, int] = {}
    for step in planned.to_run.values():
        kinds[step.title] = kinds.get(step.title, 0) + 1
    if kinds:
        lines.append("steps:  " + ", ".join(f"{title} × {n}" for title, n in kinds.items()))
    lines.append(_cost_line(planned))
    lines += [
        f"asks:   {service} {each.calls:,} times, for ${each.usd:,.2f} at most"
        + (
            f"; max_cost_usd is ${each.max_cost_usd:,.2f}, which may leave edits undone"
            if each.usd > each.max_cost_usd
            else ""
        )
        for service, each in asked_of_services(planned.to_run.values()).items()
    ]
    return "\n".join(lines)


def _cost_line(planned: Planned) -> str:
    found = estimate(planned)
    seconds = found["worker_seconds"]
    time = "unknown (nothing like it was run on this store)"
    if seconds is not None:
        time = f"{duration(seconds)} of one worker"
    return (
        f"needs:  time {time}, memory {_size(found['memory_bytes_per_trial'])} a trial for weights "
        f"and optimizer, disk {_size(found['disk_bytes'])}, money ${found['money_usd']:.2f}"
    )


def _size(value: float | int | None) -> str:
    if value is None:
        return "unknown"
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _table(planned: Planned, study: PlannedStudy) -> list[str]:
    header = ["cell", "steps", "real", "synthetic", "model", "parameters", "trials", "finished"]
    cells = [_cell(planned, cell, study) for cell in study.cells]
    rows = [[cell[name] for name in header] for cell in cells]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  "
        + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    if study.awaits:
        lines.append(f"  deferred until study {study.awaits} is finished")
    return lines


def _cell(planned: Planned, cell: PlannedCell, study: PlannedStudy) -> dict[str, str]:
    finished = sum(trial.is_finished(planned.done) for trial in cell.trials)
    size = f"{cell.num_parameters / 1e6:.1f} M" if cell.num_parameters else ""
    return {
        "cell": label_of(cell.coordinates),
        "steps": str(cell.steps),
        "real": str(cell.num_real),
        "synthetic": str(cell.num_synthetic),
        "model": cell.model or f"winner of {study.awaits}",
        "parameters": size,
        "trials": str(len(study.spec.seeds) * (study.spec.folds or 1)),
        "finished": str(finished),
    }
