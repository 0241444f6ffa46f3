"""Refuses to train on edits of images that are tested on."""

from pathlib import Path

from tasks.errors import InputError
from tasks.packs import Pack
from tasks.results import write_result
from tasks.specs import LineageSpec, Progress, Work

MANIFEST = "manifest.parquet"
SOURCE = "source_sha256"
"""Column of a manifest: sha256 of the image that another was made from."""


def lineage(spec: LineageSpec, test: Path, out: Path) -> Work:
    """Look for test images among those that a folder's images were made from, as it says itself.

    Args:
        test: the pack of the test images.

    Raises InputError, in one line, where there is one, or the manifest cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(spec.manifest)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{spec.manifest}: cannot be read as a manifest ({error})") from error
    made_from = table[SOURCE].to_pylist() if SOURCE in table.column_names else []
    tested = set(Pack(test).hashes)
    leaks = [row for row, source in enumerate(made_from) if source in tested]
    if leaks:
        file = table["file"][leaks[0]].as_py() if "file" in table.column_names else leaks[0]
        raise InputError(
            f"synthetic.{spec.name}: {len(leaks)} of {len(made_from)} images are edits of images "
            f"that are tested on, such as {file}: test on them with evaluate_on, or leave them out"
        )
    write_result(out, {"images": len(made_from)})
    yield Progress(done=1, total=1)
