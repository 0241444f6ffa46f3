"""The images that a report shows: samples of each set, and test images found in the train split."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace

from orchestrator.dispatch import fetch_pack
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, PlannedStudy, Step
from orchestrator.report.results import DuplicateCheck, SetSample
from tasks.duplicates import pairs as found_pairs
from tasks.packs import Indices, Pack, Pixels, select, select_first
from tasks.specs import DuplicatesSpec, Key, TrialSpec

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
    """A few real training images of each class, then as many of each synthetic set."""
    trials = [s.spec for s in used if isinstance(s.spec, TrialSpec)]
    with_real = [spec for spec in trials if sum(spec.cell.images.training)]
    if with_real:
        spec = max(with_real, key=lambda s: sum(s.cell.images.training))
        with contextlib.suppress(KeyError):  # not made yet
            pack = Pack(ledger.fetch("pack", spec.cell.images.pack))
            yield _sample("real", pack, select(pack, spec.cell.images)[1], study.classes)
    names = {each.pack: each.name for each in study.sets}
    seen: set[Key] = set()
    for spec in trials:
        for each in spec.cell.sets:
            if each.pack not in seen:
                seen.add(each.pack)
                with contextlib.suppress(KeyError):  # not made yet
                    pack = Pack(fetch_pack(ledger, each.pack))
                    rows = select_first(pack, each.counts)
                    sample = _sample(names[each.pack], pack, rows, study.classes)
                    yield replace(sample, key=each.pack)


def _sample(name: str, pack: Pack, rows: Indices, classes: tuple[str, ...]) -> SetSample:
    images: list[tuple[bytes, ...]] = []
    for wanted in classes[:SHEET_CLASSES]:
        # A folder of synthetic images may lack classes, and numbers the others its own way.
        label = pack.classes.index(wanted) if wanted in pack.classes else None
        mine = [int(row) for row in rows if pack.labels[row] == label][:SHEET_IMAGES]
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
