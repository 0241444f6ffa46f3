"""An evaluation as tables for people, and as JSON for programs."""

import io
from typing import TYPE_CHECKING

from orchestrator.report.wording import counted, percent
from orchestrator.single.documents import written_json
from orchestrator.single.evaluating import Evaluation
from orchestrator.single.places import some

if TYPE_CHECKING:
    from rich.table import Table

LARGEST_MATRIX = 20
"""Classes of a confusion matrix that still fits a page."""

NO_COUNTS = (
    "no score, as nothing here says how many images of each class were trained on; a study knows"
)
"""Of metrics that choose classes by that."""

WIDE = 10_000
"""Columns of a page that nothing is cut for."""


def as_json(found: Evaluation) -> str:
    """Scores as fractions, null where there is none."""
    by_class = {name: s.per_class for name, s in found.scores.items() if s.per_class is not None}
    document = {
        "images": sum(found.num_images),
        "skipped": list(found.skipped),
        "classes": list(found.classes),
        "metrics": {name: s.value for name, s in found.scores.items() if s.matrix is None},
        "notes": dict.fromkeys(found.unknown, NO_COUNTS),
        "per_class": {
            each: {
                "images": found.num_images[label],
                **{name: values[label] for name, values in by_class.items()},
            }
            for label, each in enumerate(found.classes)
        },
    }
    matrices = {name: s.matrix for name, s in found.scores.items() if s.matrix is not None}
    return written_json({**document, **matrices}, indent=1)


def as_text(found: Evaluation) -> str:
    """The scores, those of each class, and the confusion matrix."""
    parts = [_summary(found), _drawn(_whole(found))]
    if any(score.per_class is not None for score in found.scores.values()):
        parts.append(_drawn(_by_class(found)))
    for score in found.scores.values():
        if score.matrix is not None:
            parts.append(_matrix(found, score.matrix))
    return "\n\n".join(parts)


def _summary(found: Evaluation) -> str:
    lines = [
        f"{counted(sum(found.num_images), 'image')} of "
        f"{counted(len(found.classes), 'class', 'classes')}; scores in %"
    ]
    if found.skipped:
        verb = "is" if len(found.skipped) == 1 else "are"
        lines.append(
            f"{counted(len(found.skipped), 'image')} that cannot be read {verb} left out: "
            f"{some(found.skipped)}"
        )
    if found.unknown:
        lines.append(f"{', '.join(found.unknown)}: {NO_COUNTS}")
    if found.absent:
        lines.append(
            f"{counted(len(found.absent), 'class has', 'classes have')} no image and count 0 in "
            f"averages over classes: {some(found.absent)}"
        )
    return "\n".join(lines)


def _whole(found: Evaluation) -> "Table":
    table = _table("metric", "score")
    for name, score in found.scores.items():
        if score.matrix is None:
            macro = " (mean of the classes)" if score.per_class is not None else ""
            _add(table, f"{name}{macro}", percent(score.value))
    return table


def _by_class(found: Evaluation) -> "Table":
    columns = {name: s.per_class for name, s in found.scores.items() if s.per_class is not None}
    table = _table("class", "images", *columns)
    for label, name in enumerate(found.classes):
        values = (percent(column[label]) for column in columns.values())
        _add(table, name, f"{found.num_images[label]:,}", *values)
    return table


def _matrix(found: Evaluation, matrix: tuple[tuple[int, ...], ...]) -> str:
    if len(found.classes) > LARGEST_MATRIX:
        return f"the confusion matrix of {len(found.classes)} classes is in --json"
    table = _table("true \\ predicted", *(str(label) for label in range(len(found.classes))))
    for label, name in enumerate(found.classes):
        _add(
            table, f"{label} {name}", *(str(number) if number else "." for number in matrix[label])
        )
    return _drawn(table)


def _table(first: str, *others: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _add(table: "Table", *cells: str) -> None:
    from rich.text import Text

    # As text: in a name of a class, brackets are no markup.
    table.add_row(*(Text(cell) for cell in cells))


def _drawn(table: "Table") -> str:
    """The table as it would stand on a page that is wide enough: no cell is cut."""
    from rich.console import Console

    page = Console(file=io.StringIO(), width=WIDE, color_system=None, legacy_windows=False)
    with page.capture() as drawn:
        page.print(table)
    return "\n".join(line.rstrip() for line in drawn.get().splitlines())
