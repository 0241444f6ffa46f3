"""Says how good a synthetic set is, for people and for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.parsing import ALL_MEASURES
from orchestrator.report.measures import measure as known
from orchestrator.report.wording import NONE, counted
from orchestrator.single.documents import written_json
from orchestrator.single.performing import Workplace
from orchestrator.single.subjects import Subject, absent, result

STAMP_FIRST = ("extractor", "weights", "features", "size", "resize", "dtype")
BETTER = {True: "higher", False: "lower", None: ""}


def measured(subject: Subject, at: Workplace) -> tuple[dict[str, float], dict[str, Any]]:
    """The figures by name, and all else that is known of them."""
    fidelity = result(subject, "fidelity", subject.planned.fidelity, at)
    cas = result(subject, "cas", subject.planned.cas, at)
    found = {**fidelity.get("measures", {}), **({"cas": cas["cas"]} if cas else {})}
    return {name: found[name] for name in ALL_MEASURES if name in found}, fidelity


def as_text(subject: Subject, at: Workplace) -> str:
    """For people."""
    figures, fidelity = measured(subject, at)
    lines = [opening(subject), *_table(figures, held_out(subject, at))]
    stamp: Mapping[str, str] = fidelity.get("stamp", {})
    if stamp:
        first = [key for key in STAMP_FIRST if key in stamp]
        rest = [key for key in stamp if key not in first]
        lines.append("by " + ", ".join(f"{key} {stamp[key]}" for key in (*first, *rest)))
    if "cas" in figures:
        lines.append(f"cas: trained on the set alone, tested on {_tested(subject)}")
    return "\n".join([*lines, *remarks(subject, fidelity.get("warnings", ()))])


def held_out(subject: Subject, at: Workplace) -> dict[str, float]:
    """The same figures of the real test images, as if they were the set; those that there are."""
    found: dict[str, float] = result(subject, "fidelity", subject.planned.held_out, at).get(
        "measures", {}
    )
    return found


def _table(figures: Mapping[str, float], of_test: Mapping[str, float]) -> list[str]:
    """A line a measure: of the set, and of real test images where those are measured too."""
    if not figures:
        return ["nothing could be measured"]
    rows = [("measure", "value", *(["real test"] if of_test else []), "better")]
    for name, value in figures.items():
        about = known(name)
        beside = [about.text(of_test[name]) if name in of_test else NONE] if of_test else []
        better = BETTER[about.higher_is_better]
        rows.append((about.title, about.text(value), *beside, better))
    told = "real test: what the real test images get, measured as if they were the set"
    return [*aligned(rows), *([told] if of_test else [])]


def opening(subject: Subject) -> str:
    """What is compared with what."""
    classes = len(subject.classes) - len(subject.absent)
    real = f"{counted(subject.num_train, 'real training image')} and " if subject.num_train else ""
    return (
        f"{subject.name}: {counted(subject.planned.num_images, 'image')} of "
        f"{counted(classes, 'class', 'classes')}, beside {real}{_tested(subject)}"
    )


def _tested(subject: Subject) -> str:
    return f"{counted(subject.num_test, 'test image')} ({subject.test})"


def remarks(subject: Subject, warnings: Sequence[str]) -> list[str]:
    """What must be known beside the figures, a line each."""
    lacking = [absent(subject)] if subject.absent else []
    return [f"warning: {each}" for each in (*lacking, *subject.remarks, *warnings)]


def as_json(subject: Subject, at: Workplace) -> str:
    """The same, unrounded."""
    figures, fidelity = measured(subject, at)
    better = {name: BETTER[known(name).higher_is_better] or None for name in figures}
    of_test = held_out(subject, at)
    document: dict[str, Any] = {
        **about(subject),
        "measures": {
            name: {"value": value, "real_test": of_test.get(name), "better": better[name]}
            for name, value in figures.items()
        },
        "kid_std": fidelity.get("kid_std"),
        "stamp": fidelity.get("stamp", {}),
        "warnings": [*subject.remarks, *fidelity.get("warnings", ())],
    }
    return written_json(document, indent=1)


def about(subject: Subject) -> dict[str, Any]:
    """Which images the figures are of."""
    pairs = zip(subject.classes, subject.planned.per_class, strict=True)
    return {
        "set": subject.name,
        "images": subject.planned.num_images,
        "per_class": dict(pairs),
        "absent": list(subject.absent),
        "real": {"train": subject.num_train, "test": subject.num_test},
    }


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Names and words to the left, the numbers between them to the right."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *numbers, last in rows:
        middle = (text.rjust(width) for text, width in zip(numbers, wide[1:-1], strict=True))
        lines.append("  ".join((first.ljust(wide[0]), *middle, last)).rstrip())
    return lines
