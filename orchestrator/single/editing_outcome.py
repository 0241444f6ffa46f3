"""Says which edits are made, and which were."""

import re
import shlex
from collections import Counter

from orchestrator.display import duration
from orchestrator.report.wording import counted, listed
from orchestrator.single.documents import written_json
from orchestrator.single.editing_folder import EditFolder
from orchestrator.single.editing_money import Money
from orchestrator.single.editing_plan import EditPlan
from orchestrator.single.editing_recipes import FAILURES
from orchestrator.single.editing_run import Ended
from orchestrator.single.editing_sources import CONTACT_SHEET, Image
from orchestrator.single.places import some
from tasks.datasets._splits import SPLIT_NAMES
from tasks.generation import ImageInfo

SHOWN_REASONS = 3


def opening(folder: EditFolder, money: Money | None) -> str:
    """What is made of which images, before it begins."""
    plan = folder.plan
    images, classes = plan.images, plan.images.classes
    of = f" of {counted(len(classes), 'class', 'classes')}" if classes else ""
    there = f", {len(folder.rows):,} of them done before" if folder.rows else ""
    lines = [
        f"{plan.edits.editor.name}: {counted(len(images.images), 'image')}{of}, "
        f"{counted(len(plan.planned), 'edit')}{there}"
    ]
    if images.skipped:
        be = "is" if len(images.skipped) == 1 else "are"
        lines.append(
            f"{counted(len(images.skipped), 'image')} cannot be read and {be} left out: "
            f"{some(images.skipped)}"
        )
    if plan.edits.about.prompt:
        first = plan.planned[0].edit
        lines.append(f"for example {first.source}: {first.prompt}")
    if money is not None:
        lines.append(money.said)
    return "\n".join(lines)


def coarse(plan: EditPlan) -> str:
    """In a line, that a fitted generator draws less than the images show; empty where not."""
    if plan.edits.generator is None:
        return ""
    info, images = plan.edits.generator.info, plan.images.images
    larger = [
        each
        for each in images
        if each.height > info.height or each.width > info.width or each.channels > info.channels
    ]
    if not larger:
        return ""
    of = f"{len(larger):,} of {counted(len(images), 'image')}"
    first = larger[0]
    return (
        f"warning: --checkpoint: draws {_shape(info)}, and {of} show more ({first.source}: "
        f"{_shape(first)}): their edits are blurred, as they are scaled up from it"
    )


def _shape(each: Image | ImageInfo) -> str:
    return f"{each.width} × {each.height} in {'grey' if each.channels == 1 else 'colour'}"


def dry(folder: EditFolder) -> str:
    """What a run would do."""
    steps = folder.plan.steps(folder.missing)
    first = [each.file for each in folder.missing]
    lines = [
        f"{counted(len(folder.missing), 'edit')} to make, in {counted(len(steps), 'step')}; "
        f"nothing was made"
    ]
    return "\n".join([*lines, *([f"files: {some(first)}"] if first else [])])


def closing(folder: EditFolder, ended: Ended) -> str:
    """What stands in the folder, and what to do with it."""
    rows = list(folder.rows.values())
    refused = [row for row in rows if row["refusal"]]
    made = len(rows) - len(refused)
    total = len(folder.plan.planned)
    of = f" of {total:,}" if len(rows) < total else ""
    look = f"; look at {folder.path / CONTACT_SHEET}" if made else ""
    lines = [f"{folder.path}: {made:,}{of} edits are there{_how(ended, len(rows))}{look}"]
    if refused:
        reasons = Counter(row["refusal"] for row in refused)
        lines.append(
            f"{counted(len(refused), 'edit')} refused by the model or its service, and not asked "
            f"again: {_reasons(reasons)}; see {folder.path / FAILURES}"
        )
    if not folder.missing and made and folder.plan.images.classes:
        lines.append(_next(folder))
    return "\n".join(lines)


def _next(folder: EditFolder) -> str:
    path = str(folder.path)
    split = SPLIT_NAMES.get(folder.plan.images.root.name, "train")
    if split == "train":
        shown = shlex.quote(path)
        return f"next: augury train --synthetic-dir {shown} ..., or `folder: {shown}`"
    shown = path if re.fullmatch(r"[\w./][\w./-]*", path) else written_json(path)
    return (
        f"next: test on it, in a study: `evaluate_on: {{shifted: {{name: image_folder, root: "
        f"{shown}}}}}`"
    )


def _how(ended: Ended, number: int) -> str:
    paid = f", ${ended.cost_usd:,.2f} paid" if ended.cost_usd else ""
    if not ended.num_new:
        return ", all done before" if number else ""
    rate = ended.num_new / max(ended.seconds, 1e-9)
    before = f", {number - ended.num_new:,} before" if number > ended.num_new else ""
    per = f"{rate:,.{1 if rate < 100 else 0}f} images/s"
    return f", {ended.num_new:,} done now in {duration(ended.seconds)} ({per}{paid}){before}"


def incomplete(folder: EditFolder, ended: Ended) -> str:
    """What is left to do and why; empty where nothing is."""
    left = folder.missing
    if not left:
        return ""
    why = "not begun, as you stopped it" if ended.drained else "not begun"
    reasons = Counter(ended.why_left.get(each.id, why) for each in left)
    return (
        f"incomplete: {len(left):,} of {counted(len(folder.plan.planned), 'edit')} are left: "
        f"{_reasons(reasons)}; {folder.path / FAILURES} names them; run the same command again to "
        f"go on"
    )


def _reasons(reasons: Counter[str]) -> str:
    said = [f"{why} ({number:,})" for why, number in reasons.most_common(SHOWN_REASONS)]
    others = sum(reasons.values()) - sum(n for _, n in reasons.most_common(SHOWN_REASONS))
    return listed([*said, f"other reasons ({others:,})"] if others else said)
