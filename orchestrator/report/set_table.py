"""The numbers of synthetic sets bare: rows of CSV, and mappings for JSON."""

import csv
import io
from dataclasses import asdict
from typing import Any

from orchestrator.report.audit_layout import worst_class
from orchestrator.report.fidelity import fit_state, groups, set_labels
from orchestrator.report.gains import Gain, gains
from orchestrator.report.layout import Grid
from orchestrator.report.measures import shown_measures
from orchestrator.report.ranking import rankings
from orchestrator.report.results import SetResult, StudyResult
from orchestrator.report.set_layout import fidelity_grid, gain_verdict

_AUDIT = (
    *("num_images", "test_exact", "test_near", "train_exact", "train_near"),
    *("memorised", "nearer_to_test"),
)


def sets_csv(result: StudyResult) -> str:
    """One row a set: what it is, its measures unscaled, its fit, gain, audit and filters.

    `gain` is that of the set's group, as a fraction; times are in seconds.
    """
    found, labels = gains(result), set_labels(result)
    table = [
        {"set": labels[each.key], **_flat(result, each, found.get(each.group))}
        for each in result.sets
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]) if table else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _flat(result: StudyResult, each: SetResult, gain: Gain | None) -> dict[str, Any]:
    measured = {m.name: each.measures.get(m.name) for m in shown_measures(result)}
    found = gain.found if gain else None
    fit, audit, filtered = each.fit, each.audit, each.filtered
    return {
        "name": each.name,
        "key": each.key,
        "generator": each.generator,
        "seed": each.seed,
        "images": sum(each.per_class),
        **measured,
        "convention": "; ".join(f"{name} {value}" for name, value in each.stamp.items()),
        "gain": found.difference if found else None,
        "gain_ci_low": found.ci_low if found else None,
        "gain_ci_high": found.ci_high if found else None,
        "gain_pairs": found.num_pairs if found else None,
        "fit": fit_state(fit) if fit else None,
        "fit_seconds": fit.seconds if fit else None,
        "fit_peak_memory_bytes": fit.peak_memory_bytes if fit else None,
        "fit_parameters": fit.num_parameters if fit else None,
        "fit_steps": fit.num_steps if fit else None,
        "sampling_images_per_s": each.images_per_s,
        **{f"audit_{name}": getattr(audit, name) if audit else None for name in _AUDIT},
        "audit_gate": audit.gate if audit else None,
        "filter_drawn": sum(filtered.drawn) if filtered else None,
        "filter_kept": sum(filtered.kept) if filtered else None,
        "filter_worst_class": worst_class(filtered, result.classes) if filtered else None,
    }


def grid_csv(grid: Grid) -> str:
    """A table as it is shown, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([grid.headings, *(line.texts for line in grid.lines)])
    return text.getvalue()


def fidelity_csv(result: StudyResult) -> str:
    """The table of sets as it is shown."""
    return grid_csv(fidelity_grid(result))


def set_records(result: StudyResult) -> list[dict[str, Any]]:
    """Each set as a plain mapping, without its pictures and curves."""
    labels = set_labels(result)
    return [
        {
            "set": labels[each.key],
            "name": each.name,
            "key": each.key,
            "group": each.group,
            "generator": each.generator,
            "seed": each.seed,
            "per_class": each.per_class,
            "measures": dict(each.measures),
            "held_out": dict(each.held_out),
            "convention": dict(each.stamp),
            "warnings": each.warnings,
            "images_per_s": each.images_per_s,
            "sampling_seconds": each.sampling_seconds,
            "fit": asdict(each.fit) if each.fit else None,
            "filtered": asdict(each.filtered) if each.filtered else None,
            "audit": _audit(each),
        }
        for each in result.sets
    ]


def _audit(each: SetResult) -> dict[str, Any] | None:
    if each.audit is None:
        return None
    return {name: value for name, value in vars(each.audit).items() if name != "cases"}


def group_records(result: StudyResult) -> list[dict[str, Any]]:
    """Each row of the table of sets: means over sets that differ by seed alone, and the gain."""
    found = gains(result)
    return [
        {
            "set": group.label,
            "keys": [each.key for each in group.sets],
            "measures": {name: asdict(summary) for name, summary in group.measures.items()},
            "gain": _gain(result, found[group.key]) if group.key in found else None,
        }
        for group in groups(result)
    ]


def _gain(result: StudyResult, gain: Gain) -> dict[str, Any]:
    return {
        "difference": gain.found.difference,
        "ci_low": gain.found.ci_low,
        "ci_high": gain.found.ci_high,
        "pairs": gain.found.num_pairs,
        "fits": len(gain.cells),
        "reading": gain_verdict(gain),
        "trained_on": gain.context[0],
        "against": result.cells[gain.context[1]].label,
        "cells": [result.cells[index].label for index in gain.cells],
    }


def ranking_records(result: StudyResult) -> list[dict[str, Any]]:
    """The rank correlation of each measure with the gain, for each ranking."""
    return [
        {
            "sets": ranking.labels,
            "trained_on": ranking.context[0],
            "against": result.cells[ranking.context[1]].label,
            "convention": dict(ranking.stamp),
            "measure": found.measure.name,
            "rho": found.rho,
            "n": found.n,
            "p": found.p,
            "p_holm": found.p_holm,
        }
        for ranking in rankings(result)
        for found in ranking.correlations
    ]
