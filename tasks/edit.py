"""Edits images of a pack: a shard of a synthetic set, or of a test set."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.editing import OVER_BUDGET, Edit, Edited
from tasks.edits.answers import FolderAnswers, price_usd
from tasks.edits.keeping import Fitted, about, editor_of, masks_of
from tasks.edits.masks import Masks
from tasks.edits.naming import edit_id, edit_seed, mask_seed
from tasks.edits.prompts import Prompt, chosen
from tasks.errors import InputError
from tasks.generation import image_info
from tasks.origins import KEY, origins_of
from tasks.packs import Pack, Pixels, ordered
from tasks.results import write_result
from tasks.shards import SHARD_FILE, labelled, png
from tasks.specs import EditSpec, Progress, Work

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Job:
    """One edit, before it is made."""

    id: str
    source: int
    """Index in the pack."""
    prompt: Prompt
    replica: int
    mask_seed: int


def edit(
    spec: EditSpec,
    pack: Path,
    fitted: Path | None,
    answers: Path | None,
    out: Path,
    device: str,
) -> Work:
    """Write `shard.parquet`, a row for each edit that was made, and `result.json`.

    Pixels depend on the recipe, the source image, the prompt and the replica, and on the batch by
    rounding alone. What a service refuses is counted, and not made.

    Args:
        fitted: the folder of the fit, for editors that are a generator.
        answers: the folder of a service's answers, for services.

    Raises InputError where the editor cannot be had, or a mask cannot be used.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = Pack(pack)
    recipe = spec.recipe
    generator = None
    if fitted is not None:
        generator = Fitted(folder=fitted, info=image_info(images)[0])
    masks = None
    if recipe.masks is not None:
        masks = masks_of(recipe.masks, images.classes, device)
        if masks.digest != recipe.masks_digest:
            raise InputError("masks were changed before they were used; run this again")
    jobs = _jobs(spec, images, masks)
    editor = editor_of(recipe.editor, device, generator, answers)
    origins = images.origins
    begun = time.monotonic()
    refused, done = 0, 0
    found: dict[str, Edited] = {}
    left: list[str] = []
    schema = shard_schema(images.classes)
    with pq.ParquetWriter(out / SHARD_FILE, schema) as writer:
        for start in range(0, len(jobs), editor.batch_size):
            batch = jobs[start : start + editor.batch_size]
            # Equal images have one id, and one edit: a service would be paid twice.
            new = {job.id: job for job in batch if job.id not in found}
            edits = [_edit(job, spec, images, masks) for job in new.values()]
            found |= {each.id: each for each in editor.edit(edits)} if edits else {}
            left += [_why_left(found.get(each.id)) for each in edits]
            rows = [
                _row(job, spec.label, images, origins[job.source], pixels)
                for job in batch
                if job.id in found and (pixels := found[job.id].image) is not None
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))
            refused += len(batch) - len(rows)
            done += len(batch)
            yield Progress(done=done, total=len(jobs))
    _check_none_left([why for why in left if why], recipe.editor.name)
    kept = None if answers is None else FolderAnswers(answers)
    seconds = time.monotonic() - begun
    result = {
        "images": len(jobs) - refused,
        "refused": refused,
        "cost_usd": sum(price_usd(each, kept) for each in found.values()),
        "seconds": seconds,
        "images_per_s": len(jobs) / max(seconds, 1e-9),
        "stamp": editor.stamp,
    }
    write_result(out, result)


def _why_left(edited: Edited | None) -> str:
    """Why there is neither an image nor a refusal; empty where there is one of them."""
    if edited is None:
        return "there is no image"
    return edited.left


def _check_none_left(left: Sequence[str], editor: str) -> None:
    """A shard is whole or not there; what was paid for is kept apart, and not asked again.

    Raises InputError where the budget does not do, ConnectionError where a service kept failing.
    """
    over = sum(why == OVER_BUDGET for why in left)
    if over:
        raise InputError(
            f"{editor}: max_cost_usd leaves {over} edits of this shard undone: raise it, or edit "
            "fewer images"
        )
    if left:
        raise ConnectionError(f"{editor}: {len(left)} edits are left to do ({left[0]})")


def _jobs(spec: EditSpec, images: Pack, masks: Masks | None) -> list[Job]:
    """All edits of the shard, image by image in their order."""
    rows = ordered(images, spec.split_seed)[spec.label][spec.start : spec.stop]
    return [job for row in rows for job in _jobs_of(row, spec, images, masks)]


def _jobs_of(row: int, spec: EditSpec, images: Pack, masks: Masks | None) -> Iterator[Job]:
    recipe, source_hash = spec.recipe, images.hashes[row]
    class_name = images.classes[spec.label]
    reads_prompts = about(recipe.editor).prompt
    for prompt, replica in chosen(spec.prompts, source_hash, recipe.per_image, recipe.seed):
        of_mask = mask_seed(seed=recipe.seed, source_hash=source_hash, replica=replica)
        digest = "" if masks is None else masks.digest_of(images.sources[row], class_name, of_mask)
        name = edit_id(
            # Only who draws a class makes something else of an image that is labelled otherwise.
            recipe=recipe.editor if reads_prompts else (recipe.editor, recipe.fit, spec.label),
            seed=recipe.seed,
            source_hash=source_hash,
            prompt=prompt.text,
            replica=replica,
            mask=digest,
        )
        yield Job(id=name, source=row, prompt=prompt, replica=replica, mask_seed=of_mask)


def _edit(job: Job, spec: EditSpec, images: Pack, masks: Masks | None) -> Edit:
    pixels = images.image(job.source)
    mask = None
    if masks is not None:
        source, class_name = images.sources[job.source], images.classes[spec.label]
        mask = masks.mask(source, class_name, pixels, job.mask_seed)
    return Edit(
        id=job.id,
        image=pixels,
        prompt=job.prompt.text,
        seed=edit_seed(job.id),
        label=spec.label,
        mask=mask,
    )


def shard_schema(classes: tuple[str, ...]) -> "pa.Schema":
    """Of edits."""
    return labelled(classes, ("replica",), ("source", "source_hash", "prompt", "prompt_id", "id"))


def _row(
    job: Job, label: int, images: Pack, named: tuple[str, ...], pixels: Pixels
) -> dict[str, Any]:
    source_hash = images.hashes[job.source]
    origins = origins_of(source_hash, images.image(job.source), named)
    return {
        "image": {"bytes": png(pixels, {KEY: " ".join(origins)}), "path": None},
        "label": label,
        "source": images.sources[job.source],
        "source_hash": source_hash,
        "prompt": job.prompt.text,
        "prompt_id": job.prompt.id,
        "replica": job.replica,
        "id": job.id,
    }
