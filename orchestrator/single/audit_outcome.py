"""Says what an audit found, in words, numbers and pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.dispatch import fetch_pack
from orchestrator.report.reading import copies_note
from orchestrator.report.results import QUANTILES, AuditResult
from orchestrator.report.wording import counted, share, significant
from orchestrator.single.documents import written_json
from orchestrator.single.performing import Workplace
from orchestrator.single.places import unwritten
from orchestrator.single.score_outcome import about, opening, remarks
from orchestrator.single.subjects import Subject, result
from tasks.specs import AuditSpec

if TYPE_CHECKING:
    from tasks.audit import Case
    from tasks.sheets import SheetRow

KINDS = {"exact": "exact copy", "near": "near copy", "feature": "alike in features"}
DISTANCES = ("synthetic_to_train", "synthetic_to_test", "test_to_train")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be found; None is no limit."""

    max_test_duplicates: int | None
    max_memorisation: float | None


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A set that was audited."""

    subject: Subject
    at: Workplace
    found: AuditResult
    passed: tuple[str, ...]
    """The limits that were passed, in words."""

    @property
    def num_cases(self) -> int:
        """How many cases a sheet shows."""
        return len(_cases(self))


def audited(subject: Subject, at: Workplace, limits: Limits) -> Audited:
    """Read what the audit found, and hold it against the limits."""
    values = result(subject, "audit", subject.planned.audit, at)
    found = AuditResult(
        num_images=values["images"],
        test_exact=values["test_exact"],
        test_near=values["test_near"],
        train_exact=values["train_exact"],
        train_near=values["train_near"],
        memorised=values["memorised"],
        nearer_to_test=values["nearer_to_test"],
        quantiles={name: tuple(each) for name, each in values["quantiles"].items()},
    )
    return Audited(subject=subject, at=at, found=found, passed=tuple(_passed(found, limits)))


def _passed(found: AuditResult, limits: Limits) -> list[str]:
    lines, copies = [], found.test_exact + found.test_near
    allowed, most = limits.max_test_duplicates, limits.max_memorisation
    if allowed is not None and copies > allowed:
        images = counted(copies, "copy of test images", "copies of test images")
        lines.append(f"{images}; --max-test-duplicates {allowed}")
    memorised = found.memorised / max(1, found.num_images)
    if most is not None and memorised > most:
        lines.append(f"{share(found.memorised, found.num_images)} % memorised; {_most(most)}")
    return lines


def _most(limit: float) -> str:
    return f"--max-memorisation {limit:g} ({100 * limit:g} %)"


def as_text(audit: Audited, sheet: Path | None) -> str:
    """For people.

    Args:
        sheet: the file of the worst cases, if it was asked for.
    """
    found = audit.found
    of_all = share(found.memorised, found.num_images)
    lines = [
        opening(audit.subject),
        f"copies of test images:     {found.test_exact:,} exact, {found.test_near:,} near",
        f"copies of training images: {found.train_exact:,} exact, {found.train_near:,} near",
        f"memorised:                 {found.memorised:,} ({of_all} %), those copies and images as "
        f"near in feature space",
        f"nearer to test:            {100 * found.nearer_to_test:.1f} % lie nearer to a test image "
        f"than 99 % of test images do to a training image",
        f"nearest image, at 1 % and at the median of distances: {_distances(found)}",
        *remarks(audit.subject, ()),
        f"found: {copies_note(found) or 'no copy of a real image'}",
    ]
    lines += (
        [f"{sheet}: {counted(audit.num_cases, 'case')} beside the real images"] if sheet else []
    )
    lines += [f"over the limit: {each}" for each in audit.passed]
    return "\n".join(lines)


def _distances(found: AuditResult) -> str:
    parts = []
    for name in DISTANCES:
        values = found.quantiles.get(name, ())
        if len(values) == len(QUANTILES):
            first, middle = (significant(values[QUANTILES.index(at)]) for at in (0.01, 0.5))
            parts.append(f"{name.replace('_', ' ')} {first} and {middle}")
    return ", ".join(parts)


def as_json(audit: Audited, sheet: Path | None) -> str:
    """The same, unrounded."""
    found = audit.found
    document: dict[str, Any] = {
        **about(audit.subject),
        "test_exact": found.test_exact,
        "test_near": found.test_near,
        "train_exact": found.train_exact,
        "train_near": found.train_near,
        "memorised": found.memorised,
        "memorisation": found.memorised / max(1, found.num_images),
        "nearer_to_test": found.nearer_to_test,
        "at": list(QUANTILES),
        "quantiles": {name: list(values) for name, values in found.quantiles.items()},
        "warnings": list(audit.subject.remarks),
        "sheet": None if sheet is None else str(sheet),
        "over_the_limit": list(audit.passed),
    }
    return written_json(document, indent=1)


def draw(audit: Audited, path: Path) -> None:
    """Draw the worst cases, a synthetic image and the real one that it is too near to on a row.

    Raises InputError where the file cannot be written.
    """
    from tasks.sheets import draw_sheet, write_sheet

    rows = _rows(audit)
    what = "synthetic images, and the real ones that they copy" if rows else "no copies were found"
    try:
        write_sheet(path, draw_sheet(f"{audit.subject.name}: {what}", rows))
    except OSError as error:
        raise unwritten("--sheet", path, error) from error


def _cases(audit: Audited) -> "tuple[Case, ...]":
    from tasks.audit import worst_cases

    assert audit.subject.planned.audit is not None
    return worst_cases(audit.at.ledger.fetch("audit", audit.subject.planned.audit))


def _rows(audit: Audited) -> "list[SheetRow]":
    from tasks.packs import Pack
    from tasks.sheets import SheetRow, fitted

    subject, ledger = audit.subject, audit.at.ledger
    assert subject.planned.audit is not None
    spec = subject.steps[subject.planned.audit].spec
    assert isinstance(spec, AuditSpec)
    synthetic = Pack(fetch_pack(ledger, spec.pack))
    keys = {"train": spec.real.train.pack, "test": spec.real.test}
    real = {split: Pack(fetch_pack(ledger, pack)) for split, pack in keys.items()}
    return [
        SheetRow(
            label=f"{KINDS[case.kind]}, {case.split}",
            note=f"{synthetic.sources[case.synthetic]}, distance {significant(case.distance)}",
            images=(
                fitted(synthetic.image(case.synthetic)),
                fitted(real[case.split].image(case.real)),
            ),
        )
        for case in _cases(audit)
    ]
