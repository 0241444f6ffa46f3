"""Reads from the ledger what became of the synthetic sets of a study."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.dispatch import fetch_pack
from orchestrator.ledger import Ledger
from orchestrator.pictures import png_of, png_of_pixels
from orchestrator.plan import Plan, PlannedStudy
from orchestrator.planned import PlannedSet
from orchestrator.report.results import (
    AuditCase,
    AuditResult,
    FeatureMap,
    FilterResult,
    FitResult,
    SetResult,
    Strip,
)
from orchestrator.settings import EditedSet, FolderSet, GeneratedSet
from tasks.packs import Pack
from tasks.specs import AuditSpec, FidelitySpec, FitSpec, Key

Record = Mapping[str, Any]
Losses = dict[str, tuple[tuple[float, float], ...]]

RECONSTRUCTION = "reconstruction_mse"
"""The loss of autoencoders that is also a measure: mean squared error a pixel, in [-1, 1]."""


def set_results(
    study: PlannedStudy, plan: Plan, ledger: Ledger, *, pictures: bool
) -> Iterator[SetResult]:
    """What is known of each set.

    Args:
        pictures: also read the images that a page shows.
    """
    for planned in study.sets:
        yield _result(planned, plan, ledger, pictures)


def _result(planned: PlannedSet, plan: Plan, ledger: Ledger, pictures: bool) -> SetResult:
    fidelity = _record(ledger, "fidelity", planned.fidelity)
    held_out = _record(ledger, "fidelity", planned.held_out)
    cas = _record(ledger, "cas", planned.cas)
    fit = _record(ledger, "fit", planned.fit)
    made_by = "edit" if isinstance(planned.source, EditedSet) else "sample"
    shards = [r for key in planned.shards if (r := ledger.record(made_by, key)) is not None]
    made = sum(shard["result"]["images"] for shard in shards)
    seconds = sum(shard["result"]["seconds"] for shard in shards)
    measures: dict[str, float] = {}
    if fidelity is not None:
        measures |= fidelity["result"]["measures"]
    if cas is not None:
        measures["cas"] = cas["result"]["cas"]
    if fit is not None and RECONSTRUCTION in fit["result"]["losses"]:
        measures[RECONSTRUCTION] = fit["result"]["losses"][RECONSTRUCTION]
    source = None if isinstance(planned.source, FolderSet) else planned.source
    return SetResult(
        key=planned.pack,
        name=planned.name,
        group=planned.group,
        seed=None if source is None else source.settings.seed,
        generator=_maker(planned.source),
        edited=isinstance(planned.source, EditedSet),
        per_class=planned.per_class,
        measures=measures,
        stamp={} if fidelity is None else fidelity["result"]["stamp"],
        warnings=() if fidelity is None else tuple(fidelity["result"]["warnings"]),
        held_out={} if held_out is None else held_out["result"]["measures"],
        images_per_s=made / seconds if seconds else None,
        sampling_seconds=seconds,
        fit=_fit(planned, plan, ledger, fit),
        filtered=_filtered(ledger, planned.filter),
        audit=_audit(planned, plan, ledger, pictures),
        losses=_losses(ledger, planned.fit, fit),
        visuals=_visuals(ledger, planned.fit) if pictures and fit is not None else {},
        neighbours=_neighbours(planned, plan, ledger) if pictures and fidelity else (),
        map=_map(ledger, planned.fidelity) if pictures and fidelity else None,
        errors=tuple(_errors(planned, plan, ledger)),
    )


def _maker(source: GeneratedSet | EditedSet | FolderSet) -> str:
    match source:
        case GeneratedSet():
            return source.generator.name
        case EditedSet():
            return source.editor.name
        case FolderSet():
            return ""


def _errors(planned: PlannedSet, plan: Plan, ledger: Ledger) -> Iterator[str]:
    """Why there is no more to say of a set than there is."""
    stack, seen = [planned.pack, *planned.ends], set[Key]()
    while stack:
        step = plan.steps[stack.pop()]
        if step.key in seen or ledger.record(step.kind, step.key) is not None:
            continue
        seen.add(step.key)
        stack.extend(step.needs)
        failure = ledger.failure(step.kind, step.key)
        if failure is not None and step.kind not in ("fit", "gate"):
            yield f"{step.title}: {failure['error']}"


def _record(ledger: Ledger, kind: str, key: Key | None) -> Record | None:
    return None if key is None else ledger.record(kind, key)


def _fit(
    planned: PlannedSet, plan: Plan, ledger: Ledger, record: Record | None
) -> FitResult | None:
    if planned.fit is None:
        return None
    spec = plan.steps[planned.fit].spec
    assert isinstance(spec, FitSpec)
    if record is None:
        failure = ledger.failure("fit", planned.fit) or {}
        return FitResult(key=planned.fit, seed=spec.seed, error=str(failure.get("error", "")))
    result = record["result"]
    return FitResult(
        key=planned.fit,
        seed=spec.seed,
        seconds=result["seconds"],
        peak_memory_bytes=result["peak_memory_bytes"],
        num_parameters=result["num_parameters"],
        num_steps=record["size"],
        device=record["device"],
    )


def _losses(ledger: Ledger, key: Key | None, record: Record | None) -> Losses:
    """The losses of a fit by name, of one that diverged too."""
    if key is None:
        return {}
    if record is not None:
        rows: Sequence[Record] = json.loads(ledger.read_file(record, "losses.json"))
    else:
        rows = (ledger.failure("fit", key) or {}).get("history", ())
    names = dict.fromkeys(name for row in rows for name in row if name != "step")
    return {
        name: tuple((row["step"], row[name]) for row in rows if row.get(name) is not None)
        for name in names
    }


def _filtered(ledger: Ledger, key: Key | None) -> FilterResult | None:
    record = _record(ledger, "filter", key)
    if record is None:
        return None
    result = record["result"]
    return FilterResult(
        drawn=tuple(result["drawn"]),
        kept=tuple(result["kept"]),
        dropped={each["filter"]: tuple(each["counts"]) for each in result["dropped"]},
    )


def _audit(planned: PlannedSet, plan: Plan, ledger: Ledger, pictures: bool) -> AuditResult | None:
    record = _record(ledger, "audit", planned.audit)
    if record is None or planned.audit is None:
        return None
    result = record["result"]
    stopped = None if planned.gate is None else ledger.failure("gate", planned.gate)
    return AuditResult(
        num_images=result["images"],
        test_exact=result["test_exact"],
        test_near=result["test_near"],
        train_exact=result["train_exact"],
        train_near=result["train_near"],
        memorised=result["memorised"],
        nearer_to_test=result["nearer_to_test"],
        quantiles={name: tuple(values) for name, values in result["quantiles"].items()},
        cases=tuple(_cases(plan, planned.audit, ledger)) if pictures else (),
        gate="" if stopped is None else str(stopped["error"]),
    )


def _cases(plan: Plan, key: Key, ledger: Ledger) -> Iterator[AuditCase]:
    from tasks.audit import worst_cases

    spec = plan.steps[key].spec
    assert isinstance(spec, AuditSpec)
    synthetic = Pack(fetch_pack(ledger, spec.pack))
    real = {"train": spec.real.train.pack, "test": spec.real.test}
    packs = {split: Pack(ledger.fetch("pack", pack)) for split, pack in real.items()}
    for case in worst_cases(ledger.fetch("audit", key)):
        yield AuditCase(
            kind=case.kind,
            split=case.split,
            distance=case.distance,
            synthetic=png_of(synthetic, case.synthetic),
            real=png_of(packs[case.split], case.real),
        )


def _visuals(ledger: Ledger, key: Key | None) -> dict[str, tuple[Strip, ...]]:
    assert key is not None
    path = ledger.fetch("fit", key) / "visuals.npz"
    with np.load(path, allow_pickle=False) as found:
        return {
            name: tuple(tuple(png_of_pixels(pixels) for pixels in row) for row in found[name])
            for name in found.files
        }


def _neighbours(
    planned: PlannedSet, plan: Plan, ledger: Ledger
) -> tuple[tuple[int, bytes, bytes], ...]:
    assert planned.fidelity is not None
    spec = plan.steps[planned.fidelity].spec
    assert isinstance(spec, FidelitySpec)
    synthetic = Pack(fetch_pack(ledger, spec.pack))
    real = Pack(ledger.fetch("pack", spec.real.train.pack))
    with _arrays(ledger, planned.fidelity, "neighbours.npz") as found:
        pairs = zip(found["synthetic"].tolist(), found["real"].tolist(), strict=True)
        return tuple(
            (int(synthetic.labels[mine]), png_of(synthetic, mine), png_of(real, other))
            for mine, other in pairs
        )


def _map(ledger: Ledger, key: Key | None) -> FeatureMap:
    assert key is not None
    with _arrays(ledger, key, "map.npz") as found:
        return FeatureMap(
            pca=tuple(map(tuple, found["pca"].tolist())),
            tsne=tuple(map(tuple, found["tsne"].tolist())),
            group=tuple(found["group"].tolist()),
            label=tuple(found["label"].tolist()),
        )


def _arrays(ledger: Ledger, key: Key, name: str) -> Any:
    return np.load(Path(ledger.fetch("fidelity", key), name), allow_pickle=False)
