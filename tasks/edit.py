"""Edits images of a pack: a shard of a synthetic set, or of a test set."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.editing import OVER_BUDGET, Edit
from tasks.edits.keeping import Fitted, about, editor_of, masks_of
from tasks.edits.masks import Masks
from tasks.edits.naming import edit_id, edit_seed, mask_seed
from tasks.edits.prompts import Prompt, chosen
from tasks.errors import InputError
from tasks.generation import image_info
from tasks.packs import Pack, Pixels, ordered
from tasks.png import png
from tasks.results import write_result
from tasks.specs import EditSpec, Progress, Work

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_FILE = "shard.parquet"


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
    import pyarrow.parquet as pq

    images = Pack(pack)
    recipe = spec.recipe
    generator = None
    if fitted is not None:
        generator = Fitted(folder=fitted, info=image_info(images)[0])
    masks = None
    if recipe.masks is not None:
        masks = masks_of(recipe.masks, images.classes, device)
    jobs = _jobs(spec, images, masks)
    editor = editor_of(recipe.editor, device, generator, answers)
    begun = time.monotonic()
    refused, cost, done = 0, 0.0, 0
    left: list[str] = []
    with pq.ParquetWriter(out / SHARD_FILE, shard_schema(images.classes)) as writer:
        for start in range(0, len(jobs), editor.batch_size):
            batch = jobs[start : start + editor.batch_size]
            edits = [_edit(job, spec, images, masks) for job in batch]
            found = {each.id: each for each in editor.edit(edits)}
            left += [each.left for each in found.values() if each.left]
            rows = [
                _row(job, spec.label, images, pixels)
                for job in batch
                if (pixels := found[job.id].image) is not None
            ]
            writer.write_table(shard_table(rows, images.classes))
            refused += len(batch) - len(rows)
            cost += sum(each.cost_usd for each in found.values())
            done += len(batch)
            yield Progress(done=done, total=len(jobs))
    _check_none_left(left, recipe.editor.name)
    seconds = time.monotonic() - begun
    result = {
        "images": len(jobs) - refused,
        "refused": refused,
        "cost_usd": cost,
        "seconds": seconds,
        "images_per_s": len(jobs) / max(seconds, 1e-9),
        "stamp": editor.stamp,
    }
    write_result(out, result)


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
    for prompt, replica in chosen(
        recipe.prompts[spec.label], source_hash, recipe.per_image, recipe.seed
    ):
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
    """Hugging Face's image schema: `datasets` reads the file as images with class names."""
    import pyarrow as pa

    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "source": {"dtype": "string", "_type": "Value"},
        "source_hash": {"dtype": "string", "_type": "Value"},
        "prompt": {"dtype": "string", "_type": "Value"},
        "prompt_id": {"dtype": "string", "_type": "Value"},
        "replica": {"dtype": "int64", "_type": "Value"},
        "id": {"dtype": "string", "_type": "Value"},
    }
    text = json.dumps({"info": {"features": features}})
    fields = [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("label", pa.int64()),
        ("source", pa.string()),
        ("source_hash", pa.string()),
        ("prompt", pa.string()),
        ("prompt_id", pa.string()),
        ("replica", pa.int64()),
        ("id", pa.string()),
    ]
    return pa.schema(fields, metadata={"huggingface": text})


def shard_table(rows: Sequence[dict[str, Any]], classes: tuple[str, ...]) -> "pa.Table":
    """Rows of a shard."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=shard_schema(classes))


def _row(job: Job, label: int, images: Pack, pixels: Pixels) -> dict[str, Any]:
    return {
        "image": {"bytes": png(pixels), "path": None},
        "label": label,
        "source": images.sources[job.source],
        "source_hash": images.hashes[job.source],
        "prompt": job.prompt.text,
        "prompt_id": job.prompt.id,
        "replica": job.replica,
        "id": job.id,
    }
