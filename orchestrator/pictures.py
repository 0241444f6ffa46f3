"""The images that a report shows: samples of each set, and test images found in the train split."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping

from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, PlannedStudy, Step
from orchestrator.report.results import DuplicateCheck, SetSample
from orchestrator.steps import fetch_pack
from tasks.duplicates import pairs as found_pairs
from tasks.packs import Indices, Pack, select, select_first
from tasks.specs import DuplicatesSpec, FitSpec, GatherSpec, Key, SampleSpec, TrialSpec

SHEET_IMAGES = 8
"""Of each class on a sample sheet."""
SHEET_CLASSES = 12
SHOWN_PAIRS = 12


def duplicate_checks(
    study: PlannedStudy, ledger: Ledger, plan: Plan, *, pairs: bool
) -> Iterator[DuplicateCheck]:
    """What the searches for test images in the train split found, as far as they are done.

    Args:
        pairs: also read the images of a few of them.
    """
    for check in study.checks:
        record = ledger.record("duplicates", check.key)
        if record is None:
            continue
        shown: tuple[tuple[bytes, bytes], ...] = ()
        if pairs:
            spec = plan.steps[check.key].spec
            assert isinstance(spec, DuplicatesSpec)
            train, test = (Pack(ledger.fetch("pack", key)) for key in (spec.train, spec.test))
            found = found_pairs(ledger.fetch("duplicates", check.key))[:SHOWN_PAIRS]
            shown = tuple((_png(test, p.test), _png(train, p.train)) for p in found)
        yield DuplicateCheck(
            where=check.where,
            num_test=check.num_test,
            num_exact=record["result"]["num_exact"],
            num_near=record["result"]["num_near"],
            dropped=check.dropped,
            pairs=shown,
        )


def sample_sheets(
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
