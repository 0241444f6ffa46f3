"""Reads from the ledger how a trial ended: its scores are computed from stored predictions."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.ledger import Ledger
from orchestrator.plan import PlannedStudy, PlannedTrial
from orchestrator.report.results import TrialResult
from tasks import plugins
from tasks.predictions import StoredPredictions, load_predictions


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
