"""Draws a contact sheet of edits: images before and after, in pairs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.report.wording import counted
from orchestrator.single.editing_plan import EditPlan
from tasks.datasets._decode import decode
from tasks.errors import InputError
from tasks.packs import Pixels
from tasks.sheets import SheetRow, draw_sheet, fitted

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

CLASSES, PAIRS = 12, 4
"""Classes at most, evenly chosen, and pairs of each."""


def draw_pairs(plan: EditPlan, folder: Path, rows: Sequence[Mapping[str, Any]]) -> "PILImage":
    """Lay out pairs in a row for each class.

    Args:
        folder: that the files of `rows` are in.
        rows: of the manifest.
    """
    sources = {
        (each.edit.prompt_id, each.edit.replica, each.id): each.edit.source for each in plan.planned
    }
    of_class: dict[str, list[tuple[Path, Path]]] = {}
    for row in rows:
        if row["file"]:
            source = sources[row["prompt_id"], row["replica"], row["edit_id"]]
            pair = (plan.images.root / source, folder / row["file"])
            of_class.setdefault(row["class"], []).append(pair)
    names = _evenly(sorted(of_class), CLASSES)
    lines = [
        SheetRow(
            label=name or "images",
            note=counted(len(of_class[name]), "edit"),
            images=tuple(
                fitted(pixels)
                for pair in _evenly(of_class[name], PAIRS)
                for pixels in _opened(pair)
            ),
        )
        for name in names
    ]
    few = "" if len(names) == len(of_class) else f", {len(names)} of {len(of_class)} classes"
    number = counted(sum(map(len, of_class.values())), "edit")
    title = f"{plan.edits.editor.name}: {number}, before and after in pairs{few}"
    return draw_sheet(title, lines)


def _opened(pair: tuple[Path, Path]) -> list[Pixels]:
    """Both images; nothing where one was removed since."""
    try:
        return [decode(path.read_bytes(), str(path)) for path in pair]
    except (OSError, InputError):
        return []


def _evenly(items: Sequence[Any], number: int) -> list[Any]:
    if len(items) <= number:
        return list(items)
    return [items[at * (len(items) - 1) // (number - 1)] for at in range(number)]
