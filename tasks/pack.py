"""The steps that put images into packs: a dataset's split, or the shards of a synthetic set."""

import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks import plugins
from tasks.errors import InputError
from tasks.packs import Example, Pack, split_digest, write_pack
from tasks.results import write_result
from tasks.specs import GatherSpec, PackSpec, Progress, Work


def pack(spec: PackSpec, out: Path, total: int) -> Work:
    """Decode a split into `out`, and check that it is the one the key speaks of.

    Raises InputError where the data changed after it was identified, or cannot be read.
    """
    started = time.perf_counter()
    reader = plugins.build("datasets", spec.reader)
    yield from write_pack(
        out,
        lambda: reader.read(spec.split),
        spec.classes,
        spec.size,
        total,
        spec.grayscale,
    )
    written = Pack(out)
    rows = zip(written.labels.tolist(), written.sources, written.hashes, strict=True)
    # A class that was not there before has no name here; it shows in the digest.
    names = dict(enumerate(spec.classes))
    digest = split_digest((names.get(label, ""), source, sha) for label, source, sha in rows)
    if digest != spec.digest:
        raise InputError(
            f"{spec.reader.name}: the {spec.split} images changed while the study ran: run it again"
        )
    write_result(out, {"images": len(written), "seconds": time.perf_counter() - started})


def gather(spec: GatherSpec, shards: Sequence[Path], out: Path, total: int) -> Work:
    """Decode the shards of a synthetic set, in their order, into one pack."""
    started = time.perf_counter()
    yield from write_pack(out, lambda: _read(shards), spec.classes, spec.size, total)
    num_images = len(Pack(out))
    write_result(out, {"images": num_images, "seconds": time.perf_counter() - started})
    yield Progress(done=num_images, total=num_images)


def _read(shards: Sequence[Path]) -> Iterator[Example]:
    import hashlib

    import pyarrow.parquet as pq
    from PIL import Image

    for shard in shards:
        for row in pq.read_table(shard / "shard.parquet").to_pylist():
            data = row["image"]["bytes"]
            pixels = np.asarray(Image.open(io.BytesIO(data)))
            yield Example(
                pixels=pixels[..., None] if pixels.ndim == 2 else pixels,
                label=row["label"],
                source=f"{row['label']}/{row['class_index']:06d}",
                sha256=hashlib.sha256(data).hexdigest(),
            )
