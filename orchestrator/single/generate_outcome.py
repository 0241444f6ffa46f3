"""Says what is made, and what was."""

import shlex
from collections import Counter

from orchestrator.display import duration
from orchestrator.report.wording import counted, listed
from orchestrator.single.generating import Wanted, folders_note
from orchestrator.single.making import MadeSet
from orchestrator.single.places import some
from orchestrator.single.set_folders import SHEET, SetFolder


def opening(wanted: Wanted) -> str:
    """What is made by what, before it begins."""
    asked = [number for number in wanted.counts if number]
    classes = counted(len(asked), "class", "classes")
    seed = f"seed {wanted.seed}"
    by = f"{wanted.file.chosen.name} of {wanted.file.path}"
    lines = [f"{by}: {counted(sum(asked), 'image')}, {asked[0]:,} of each of {classes}; {seed}"]
    lines += [folders_note(wanted)] if wanted.left_out else []
    return "\n".join(lines)


def closing(made: MadeSet) -> str:
    """What stands in the folder, and what to do with it."""
    folder, total = made.folder, len(made.entries)
    before = f", {total - made.num_new:,} there before" if made.num_new < total else ""
    how = f"{made.num_new:,} made now{_rate(made)}{before}" if made.num_new else "all there before"
    lines = [f"{folder.path}: {counted(total, 'image')}, {how}; look at {folder.path / SHEET}"]
    if made.filtered is not None:
        lines += _filtered(made)
    return "\n".join([*lines, *uses(folder)])


def _rate(made: MadeSet) -> str:
    if made.seconds is None:
        return ""
    rate = made.num_new / max(made.seconds, 1e-9)
    return f" in {duration(made.seconds)} ({rate:,.{1 if rate < 100 else 0}f} images/s)"


def _filtered(made: MadeSet) -> list[str]:
    result = made.filtered
    assert result is not None
    drawn, kept = sum(result["drawn"]), sum(result["kept"])
    dropped = ", ".join(f"{e['filter']} {sum(e['counts']):,}" for e in result["dropped"])
    lines = [f"filters: kept {kept:,} of {drawn:,} drawn; dropped by {dropped}"]
    there = Counter(entry.label for entry in made.entries)
    short = [
        f"{there[label]:,} of {asked:,} of class {name!r}"
        for label, (name, asked) in enumerate(made.folder.recipe.images.items())
        if there[label] < asked
    ]
    if short:
        lines.append(f"fewer than asked for: {listed(short, 4)}")
    return lines


def uses(folder: SetFolder) -> list[str]:
    """Where such a folder can be used."""
    path = shlex.quote(str(folder.path))
    lines = [f"next: augury train --synthetic-dir {path} ..., or `folder: {path}` in a study"]
    if folder.renamed:
        number = counted(len(folder.renamed), "class", "classes")
        lines.insert(
            0,
            f"{number} cannot be the name of a folder: {some(folder.renamed)}; their folders are "
            f"called otherwise, and studies match classes by the names of folders",
        )
    return lines
