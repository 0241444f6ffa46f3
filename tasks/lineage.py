"""Refuses to train on edits of images that are tested on, and counts those of validation images."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tasks.errors import InputError
from tasks.origins import pixels_sha256
from tasks.packs import Pack, select
from tasks.results import write_result
from tasks.specs import Key, LineageSpec, Progress, Work


def lineage(spec: LineageSpec, packs: Mapping[Key, Path], out: Path) -> Work:
    """Look for test images among those that images were made from, as their files say.

    Args:
        packs: of `spec`, by key.

    Raises InputError, in one line, where there is one.
    """
    images = Pack(packs[spec.images])
    edits = [(row, origins) for row, origins in enumerate(images.origins) if origins]

    def made_from(pack: Pack, rows: Iterable[int]) -> list[int]:
        if not edits:
            return []
        known = {
            name for row in rows for name in (pack.hashes[row], pixels_sha256(pack.image(row)))
        }
        return [row for row, origins in edits if not known.isdisjoint(origins)]

    for key in spec.tests:
        test = Pack(packs[key])
        leaks = made_from(test, range(len(test)))
        if leaks:
            raise InputError(
                f"{spec.name}: {len(leaks)} of {len(images)} images are edits of images that are "
                f"tested on, such as {images.sources[leaks[0]]}: test on them with evaluate_on, "
                f"or leave them out"
            )
    apart = spec.real.validation_pack
    held = Pack(packs[apart or spec.real.pack])
    rows = range(len(held)) if apart else select(held, spec.real)[0].tolist()
    of_validation = len(made_from(held, rows))
    write_result(out, {"images": len(images), "edits": len(edits), "of_validation": of_validation})
    yield Progress(done=1, total=1)
