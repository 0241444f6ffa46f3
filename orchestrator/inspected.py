"""Says what a look at a dataset found, in words and for programs."""

from collections.abc import Sequence
from typing import Any

from orchestrator.inspection import Extent, Inspection
from orchestrator.report.spelling import spelled
from orchestrator.report.wording import counted
from orchestrator.single.documents import written_json

FOLD_ABOVE, SHOWN_CLASSES, SHOWN_SKIPPED = 30, 12, 5
"""Longer lists of classes are folded; so many classes and images are then named."""


def as_json(found: Inspection) -> str:
    """One document; `skipped` counts, `skipped_images` names the first few."""
    info = found.info
    document: dict[str, Any] = {"name": found.name, "settings": dict(found.settings)}
    document |= {split: sum(info.splits[split].counts) for split in found.splits}
    document |= {
        "classes": len(info.classes),
        "class_names": list(info.classes),
        "per_class": {
            split: dict(zip(info.classes, info.splits[split].counts, strict=True))
            for split in found.splits
        },
        "empty_classes": {split: list(found.empty_classes(split)) for split in found.splits},
        "skipped": len(found.skipped),
        "skipped_images": list(found.skipped[:SHOWN_SKIPPED]),
        "undivided": info.undivided,
        "sizes": {
            name: {"min": side.min, "median": side.median, "max": side.max}
            for name, side in (("height", found.height), ("width", found.width))
        },
        "modes": dict(found.modes),
        "mean": list(found.mean),
        "std": list(found.std),
        "bytes": found.num_bytes,
        "digests": {split: info.splits[split].digest for split in found.splits},
    }
    return written_json(document, indent=1)


def as_text(found: Inspection) -> str:
    """For people."""
    info = found.info
    settings = ", ".join(f"{key}: {spelled(value)}" for key, value in found.settings.items())
    splits = ", ".join(f"{split} {sum(info.splits[split].counts):,}" for split in found.splits)
    divided = " (test is a fixed part: the dataset has none of its own)" if info.undivided else ""
    modes = ", ".join(f"{number:,} {mode}" for mode, number in found.modes.items() if number)
    lines = [
        f"dataset:  {found.name}" + (f" ({settings})" if settings else ""),
        f"images:   {splits}{divided}",
        f"classes:  {len(info.classes)}",
        f"size:     height {_sides(found.height)}, width {_sides(found.width)} pixels",
        f"modes:    {modes}",
        f"memory:   {size(found.num_bytes)} decoded",
        f"mean:     {_numbers(found.mean)}",
        f"std:      {_numbers(found.std)}",
    ]
    if found.skipped:
        names = ", ".join(found.skipped[:SHOWN_SKIPPED])
        rest = len(found.skipped) - SHOWN_SKIPPED
        more = f" and {rest} more" if rest > 0 else ""
        lines.append(f"skipped:  {len(found.skipped)} that cannot be read: {names}{more}")
    for split in found.splits:
        if empty := found.empty_classes(split):
            more = ", …" if len(empty) > SHOWN_CLASSES else ""
            what = f"{counted(len(empty), 'class', 'classes')} of {split}"
            lines.append(f"empty:    {what}: {', '.join(empty[:SHOWN_CLASSES])}{more}")
    return "\n".join([*lines, "", *_table(found)])


def size(num_bytes: float) -> str:
    """Bytes in the largest unit of which there is one."""
    for unit in ("bytes", "kB", "MB"):
        if num_bytes < 999.95:
            return f"{num_bytes:.{0 if unit == 'bytes' else 1}f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} GB"


def _sides(extent: Extent) -> str:
    if extent.min == extent.max:
        return str(extent.min)
    return f"{extent.min} to {extent.max} (median {extent.median})"


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.4f}' for value in values)}]"


def _table(found: Inspection) -> list[str]:
    info = found.info
    folded = len(info.classes) > FOLD_ABOVE
    shown = SHOWN_CLASSES if folded else len(info.classes)
    counts = [info.splits[split].counts for split in found.splits]
    rows = [["class", *found.splits]]
    rows += [[info.classes[i], *(f"{each[i]:,}" for each in counts)] for i in range(shown)]
    if folded:
        rest = [_range(each[shown:]) for each in counts]
        rows.append([f"and {len(info.classes) - shown} more (all: --json)", *rest])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    ]


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,} each" if low == high else f"{low:,} to {high:,}"
