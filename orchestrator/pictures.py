"""The images that a report shows: samples of each set, and test images found in the train split."""

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.dispatch import fetch_pack
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, PlannedStudy, Step
from orchestrator.report.results import DuplicateCheck, SetSample
from orchestrator.settings import EditedSet
from tasks.duplicates import pairs as found_pairs
from tasks.pack import EDIT_MARK
from tasks.packs import Indices, Pack, Pixels, select, select_first
from tasks.specs import DuplicatesSpec, EvaluateSpec, Key, Spec, TrialSpec

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
            shown = tuple((png_of(test, p.test), png_of(train, p.train)) for p in found)
        yield DuplicateCheck(
            where=check.where,
            num_test=check.num_test,
            num_exact=record["result"]["num_exact"],
            num_near=record["result"]["num_near"],
            dropped=check.dropped,
            pairs=shown,
        )


def sample_sheets(study: PlannedStudy, ledger: Ledger, used: list[Step]) -> Iterator[SetSample]:
    """A few real training images of each class, then as many of each test and synthetic set.

    Edits stand where their sources do.
    """
    trials = [s.spec for s in used if isinstance(s.spec, TrialSpec)]
    with_real = [spec for spec in trials if sum(spec.cell.images.training)]
    real: _Shown | None = None
    if with_real:
        spec = max(with_real, key=lambda s: sum(s.cell.images.training))
        with contextlib.suppress(KeyError):  # not made yet
            pack = Pack(ledger.fetch("pack", spec.cell.images.pack))
            real = _Shown(pack=pack, rows=select(pack, spec.cell.images)[1])
            yield _sample("real", real, study.classes)
    yield from _test_sheets(study, ledger, {step.key: step.spec for step in used})
    planned = {each.pack: each for each in study.sets}
    seen: set[Key] = set()
    for spec in trials:
        for each in spec.cell.sets:
            if each.pack not in seen:
                seen.add(each.pack)
                with contextlib.suppress(KeyError):  # not made yet
                    pack = Pack(fetch_pack(ledger, each.pack))
                    edited = isinstance(planned[each.pack].source, EditedSet)
                    rows = _edits_of(real, pack) if edited and real else None
                    if rows is None:
                        rows = select_first(pack, each.counts)
                    shown = _Shown(pack=pack, rows=rows)
                    sample = _sample(planned[each.pack].name, shown, study.classes)
                    yield replace(sample, key=each.pack)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """Images of a pack, in the order in which they are shown."""

    pack: Pack
    rows: Indices


def _test_sheets(
    study: PlannedStudy, ledger: Ledger, specs: Mapping[Key, Spec]
) -> Iterator[SetSample]:
    """Where there are further test sets: the study's own test images, then each of those."""
    trial = next((trial for cell in study.cells for trial in cell.trials if trial.further), None)
    if trial is None:
        return
    clean: _Shown | None = None
    for name, key in (("test", trial.evaluate), *trial.further):
        spec = specs[key]
        assert isinstance(spec, EvaluateSpec)
        if spec.held_out is not None:  # test images are training images of other folds
            continue
        with contextlib.suppress(KeyError):  # not made yet
            pack = Pack(fetch_pack(ledger, spec.test))
            rows = None if clean is None else _edits_of(clean, pack)
            if rows is None:
                held = np.bincount(pack.labels, minlength=len(pack.classes))
                rows = select_first(pack, tuple(held.clip(max=SHEET_IMAGES).tolist()))
            shown = _Shown(pack=pack, rows=rows)
            clean = clean or shown
            yield _sample(name, shown, study.classes)


def _edits_of(shown: _Shown, pack: Pack) -> Indices | None:
    """One edit of each image, in their order; prompts take turns. None where `pack` has none."""
    by_source: dict[str, list[int]] = {}
    for row, name in enumerate(pack.sources):
        by_source.setdefault(name.rpartition(EDIT_MARK)[0], []).append(row)
    wanted = (shown.pack.sources[row] for row in shown.rows.tolist())
    found = [
        own[place % len(own)]
        for place, source in enumerate(wanted)
        if (own := by_source.get(source))
    ]
    return np.array(found, np.int64) if found else None


def _sample(name: str, shown: _Shown, classes: tuple[str, ...]) -> SetSample:
    pack = shown.pack
    images: list[tuple[bytes, ...]] = []
    for wanted in classes[:SHEET_CLASSES]:
        # A folder of synthetic images may lack classes, and numbers the others its own way.
        label = pack.classes.index(wanted) if wanted in pack.classes else None
        mine = [int(row) for row in shown.rows if pack.labels[row] == label][:SHEET_IMAGES]
        images.append(tuple(png_of(pack, row) for row in mine))
    return SetSample(name=name, images=tuple(images))


def png_of(pack: Pack, row: int) -> bytes:
    """An image of a pack as a PNG file, scaled down where it is large."""
    return png_of_pixels(pack.image(row))


def png_of_pixels(pixels: Pixels) -> bytes:
    """An image, H × W × C, as a PNG file, scaled down where it is large."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if max(image.size) > 128:
        image.thumbnail((128, 128))
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()
