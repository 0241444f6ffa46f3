"""Reads from the ledger what a report shows: records become a StudyResult."""

import contextlib
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.grid import label_of
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, PlannedCell, PlannedStudy, PlannedTrial, Step
from orchestrator.report.results import CellResult, CostLine, SetSample, StudyResult, TrialResult
from orchestrator.settings import FolderSet
from orchestrator.steps import fetch_pack
from tasks import plugins
from tasks.packs import Indices, Pack, select, select_first
from tasks.predictions import StoredPredictions, load_predictions
from tasks.specs import FitSpec, GatherSpec, Key, SampleSpec, TrialSpec, canonical

SHEET_IMAGES = 8
"""Of each class on a sample sheet."""
SHEET_CLASSES = 12


def collect(
    study: PlannedStudy, plan: Plan, ledger: Ledger, *, sheets: bool = False, command: str = ""
) -> StudyResult:
    """Gather the outcomes of one study.

    Args:
        sheets: also read sample images and the losses of fits, which a page shows.
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
        metrics=study.spec.metrics,
        seeds=study.spec.seeds,
        classes=study.classes,
        cells=cells,
        baseline=study.spec.baseline,
        num_validation=study.num_validation,
        num_test=study.num_test,
        match=_match(study),
        differences=_differences(study),
        costs=_costs(used, records),
        sheets=tuple(_sheets(study, plan, ledger, used)) if sheets else (),
        command=command,
        store=ledger.uri,
        commit=_only({str(r.get("commit", "")) for r in records.values()}),
        notes=tuple(_notes(study, plan, finished)),
    )


def _used(study: PlannedStudy, plan: Plan) -> list[Step]:
    """The steps behind a study, each once, in the order of the plan."""
    wanted: set[Key] = set()
    stack = [trial.evaluate for cell in study.cells for trial in cell.trials]
    while stack:
        key = stack.pop()
        if key not in wanted:
            wanted.add(key)
            stack.extend(plan.steps[key].needs)
    return [step for key, step in plan.steps.items() if key in wanted]


def _failures(study: PlannedStudy, plan: Plan, ledger: Ledger) -> dict[Key, str]:
    """One line for each step that failed, or that needs one which did."""
    kinds = ("pack", "fit", "sample", "gather", "trial", "evaluate")
    marked = {kind: ledger.failed([kind]) for kind in kinds}
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
            TrialResult(key=None, seed=seed, status="deferred") for seed in study.spec.seeds
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
    )


def _trial(
    study: PlannedStudy, planned: PlannedTrial, ledger: Ledger, failures: Mapping[Key, str]
) -> TrialResult:
    trained = ledger.record("trial", planned.trial)
    evaluated = ledger.record("evaluate", planned.evaluate)
    if trained is None or evaluated is None:
        error = failures.get(planned.trial) or failures.get(planned.evaluate)
        return TrialResult(
            key=planned.trial,
            seed=planned.seed,
            status="failed" if error else "missing",
            error=error or "",
        )
    return finished_trial(study, planned, ledger, trained, evaluated)


def finished_trial(
    study: PlannedStudy,
    planned: PlannedTrial,
    ledger: Ledger,
    trained: Mapping[str, Any],
    evaluated: Mapping[str, Any],
) -> TrialResult:
    """Compute the metrics of a trial from its stored predictions."""
    stored = load_predictions(io.BytesIO(ledger.read_file(evaluated, "predictions.npz")))
    scores, per_class, confusion = _metrics(stored, study)
    scores["val_top1"] = trained["result"]["scores"]["val_top1"]
    history = json.loads(ledger.read_file(trained, "history.json"))
    return TrialResult(
        key=planned.trial,
        seed=planned.seed,
        status="finished",
        scores=scores,
        history=tuple(history),
        per_class=per_class,
        confusion=confusion,
        seconds=trained["seconds"] + evaluated["seconds"],
        device=trained["device"],
        threads=trained["threads"],
        versions=trained["versions"],
    )


def _metrics(
    stored: StoredPredictions, study: PlannedStudy
) -> tuple[dict[str, float], dict[str, tuple[float, ...]], tuple[tuple[int, ...], ...] | None]:
    scores: dict[str, float] = {}
    per_class: dict[str, tuple[float, ...]] = {}
    confusion = None
    selected = stored.by("selected", study.classes)
    # The confusion matrix and the classes' own scores belong to every page.
    for name in dict.fromkeys((*study.spec.metrics, "f1", "confusion")):
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
            grouped[(step.title, record["device"])].append(record["seconds"])
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
    started = {c.settings.model.config.pretrained for c in study.cells if c.model in models}
    if len(models) > 1 and True in started:
        yield "the models may start from different pre-training, which moves with architecture"


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ", ".join(sorted(v for v in values if v))


def _sheets(
    study: PlannedStudy, plan: Plan, ledger: Ledger, used: list[Step]
) -> Iterator[SetSample]:
    """A few real training images of each class, then as many of each synthetic set."""
    trials = [s.spec for s in used if isinstance(s.spec, TrialSpec)]
    with_real = [spec for spec in trials if sum(spec.cell.images.training)]
    if with_real:
        spec = max(with_real, key=lambda s: sum(s.cell.images.training))
        with contextlib.suppress(KeyError):  # not made yet
            pack = Pack(ledger.fetch("pack", spec.cell.images.pack))
            yield _sample("real", pack, select(pack, spec.cell.images)[1], study.classes)
    names = {pack: name for cell in study.cells for name, pack in cell.packs}
    seen: set[Key] = set()
    for spec in trials:
        for each in spec.cell.sets:
            if each.pack not in seen:
                seen.add(each.pack)
                with contextlib.suppress(KeyError):  # not made yet
                    pack = Pack(fetch_pack(ledger, each.pack))
                    rows = select_first(pack, each.counts)
                    losses = _losses(plan.steps[each.pack], plan, ledger)
                    yield _sample(names[each.pack], pack, rows, study.classes, losses)


def _sample(
    name: str,
    pack: Pack,
    rows: Indices,
    classes: tuple[str, ...],
    losses: Mapping[str, tuple[tuple[float, float], ...]] = {},
) -> SetSample:
    images: list[tuple[bytes, ...]] = []
    for wanted in classes[:SHEET_CLASSES]:
        # A folder of synthetic images may lack classes, and numbers the others its own way.
        label = pack.classes.index(wanted) if wanted in pack.classes else None
        mine = [int(row) for row in rows if pack.labels[row] == label][:SHEET_IMAGES]
        images.append(tuple(_png(pack, row) for row in mine))
    return SetSample(name=name, images=tuple(images), losses=losses)


def _png(pack: Pack, row: int) -> bytes:
    from PIL import Image

    pixels = pack.image(row)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if max(image.size) > 128:
        image.thumbnail((128, 128))
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def _losses(step: Step, plan: Plan, ledger: Ledger) -> dict[str, tuple[tuple[float, float], ...]]:
    """Loss curves of the fit behind a gathered set; none for folders."""
    if not isinstance(step.spec, GatherSpec) or not step.needs:
        return {}
    shard = plan.steps[step.needs[0]].spec
    assert isinstance(shard, SampleSpec)
    fit = plan.steps[shard.synthetic.fit]
    assert isinstance(fit.spec, FitSpec)
    record = ledger.record("fit", fit.key)
    if record is None:
        return {}
    rows = json.loads(ledger.read_file(record, "losses.json"))
    names = [name for name in (rows[0] if rows else {}) if name != "step"]
    return {name: tuple((row["step"], row[name]) for row in rows) for name in names}
