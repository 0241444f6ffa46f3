"""The steps that put images into packs: a dataset's split, or the shards of a synthetic set."""

import io
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks import plugins
from tasks.errors import InputError
from tasks.origins import read_origins
from tasks.packs import Example, Pack, split_digest, training_sources, write_pack
from tasks.results import write_result
from tasks.shards import SHARD_FILE
from tasks.specs import GatherSpec, PackSpec, Progress, Work

EDIT_MARK = "#"
"""Between the name of an image and of its edit."""


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


def gather(
    spec: GatherSpec, shards: Sequence[Path], out: Path, total: int, sources: Path | None = None
) -> Work:
    """Decode the shards of a synthetic set, in their order, into one pack.

    Args:
        sources: the pack of `spec.sources`, whose edits are gathered.

    Raises InputError where no image is left, as where a service refused all edits.
    """
    started = time.perf_counter()
    wanted = None
    if spec.sources is not None and sources is not None:
        wanted = training_sources(Pack(sources), spec.sources)
    yield from write_pack(out, lambda: _read(shards, wanted), spec.classes, spec.size, total)
    num_images = len(Pack(out))
    write_result(out, {"images": num_images, "seconds": time.perf_counter() - started})
    yield Progress(done=num_images, total=num_images)


def _read(shards: Sequence[Path], wanted: Container[str] | None) -> Iterator[Example]:
    import hashlib

    import pyarrow.parquet as pq
    from PIL import Image

    for shard in shards:
        for row in pq.read_table(shard / SHARD_FILE).to_pylist():
            if wanted is not None and row["source"] not in wanted:
                continue
            data = row["image"]["bytes"]
            pixels = np.asarray(Image.open(io.BytesIO(data)))
            yield Example(
                pixels=pixels[..., None] if pixels.ndim == 2 else pixels,
                label=row["label"],
                source=_name(row),
                sha256=hashlib.sha256(data).hexdigest(),
                origins=read_origins(data),
            )


def _name(row: Mapping[str, Any]) -> str:
    """Of a sample its class and number; of an edit its source, prompt and replica."""
    if "prompt_id" in row:
        return f"{row['source']}{EDIT_MARK}{row['prompt_id']}_{row['replica']}"
    return f"{row['label']}/{row['class_index']:06d}"
