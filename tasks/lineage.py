"""Refuses to train on edits of images that are tested on."""

from pathlib import Path

from tasks.errors import InputError
from tasks.origins import pixels_sha256
from tasks.packs import Pack
from tasks.results import write_result
from tasks.specs import LineageSpec, Progress, Work


def lineage(spec: LineageSpec, trained: Path, test: Path, out: Path) -> Work:
    """Look for test images among those that images were made from, as their files say.

    Args:
        trained: the pack of the images that are to be trained on.
        test: the pack of the test images.

    Raises InputError, in one line, where there is one.
    """
    images, tested = Pack(trained), Pack(test)
    edits = [(row, origins) for row, origins in enumerate(images.origins) if origins]
    leaks = []
    if edits:
        known = {*tested.hashes, *(pixels_sha256(tested.image(row)) for row in range(len(tested)))}
        leaks = [row for row, origins in edits if not known.isdisjoint(origins)]
    if leaks:
        raise InputError(
            f"{spec.name}: {len(leaks)} of {len(images)} images are edits of images that are "
            f"tested on, such as {images.sources[leaks[0]]}: test on them with evaluate_on, or "
            f"leave them out"
        )
    write_result(out, {"images": len(images), "edits": len(edits)})
    yield Progress(done=1, total=1)
