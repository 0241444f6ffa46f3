"""Samples one shard of a synthetic set from a fitted generator."""

import hashlib
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import plugins
from tasks.errors import InputError
from tasks.generation import Generator, image_info, needs_sources
from tasks.packs import Pack, select
from tasks.specs import Counts, ImagesSpec, Progress, SampleSpec, Work, canonical, canonical_json

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Place:
    """One image of a set, before it is made."""

    index: int
    """In the whole set, class by class."""
    label: int
    class_index: int
    seed: int
    source: int | None
    """Index in the pack of the real image it is made from."""


def sample(spec: SampleSpec, weights: Path, pack: Path, out: Path, device: str) -> Work:
    """Make images `start` to `stop` of a set; write `shard.parquet` and `result.json`.

    All noise of an image comes from a CPU generator of its own, so its pixels depend on its batch
    by rounding alone, and on the cut into shards of whole batches not at all.

    Args:
        weights: the folder that `fit` wrote.
        pack: of the images that the generator was fitted on.

    Raises InputError where settings cannot be sampled with this fit.
    """
    import pyarrow.parquet as pq
    import torch

    chosen, sampling = spec.synthetic.generator, spec.synthetic.sampling
    plugins.module("generators", chosen.name).check(chosen.config, sampling)
    images = Pack(pack)
    places = places_of(spec, images)
    generator = _restored(spec, weights, images, device)
    begun = time.monotonic()
    schema = _schema(images.classes)
    num_done = 0
    with pq.ParquetWriter(out / "shard.parquet", schema) as writer:
        for first in range(0, len(places), sampling.batch_size):
            batch = places[first : first + sampling.batch_size]
            rngs = [torch.Generator().manual_seed(place.seed) for place in batch]
            labels = torch.tensor([place.label for place in batch])
            with _exact(device):
                made = generator.sample(labels, rngs, sampling, _sources(images, batch))
            writer.write_table(_table(batch, made, images, schema))
            num_done += len(batch)
            yield Progress(done=num_done, total=len(places))
    seconds = time.monotonic() - begun
    result = {"images": num_done, "seconds": seconds, "images_per_s": num_done / max(seconds, 1e-9)}
    (out / "result.json").write_text(json.dumps(result))


def image_seed(sampling: Any, set_seed: int, label: int, class_index: int) -> int:
    """The seed of an image: 63 bits of what it is, whatever its shard, batch or worker.

    torch's CPU generator keeps the low 32 of them: 10,000 images of a class hold a pair with the
    same noise with a chance of 1 %.
    """
    settings = {k: v for k, v in canonical(sampling).items() if k != "batch_size"}
    text = canonical_json([settings, set_seed, label, class_index])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def places_of(spec: SampleSpec, pack: Pack) -> list[Place]:
    """The images of a shard, in class-major order.

    Raises InputError where the shard is not made of whole batches, a class was never seen by the
    generator, or reconstructed means would repeat.
    """
    synthetic, start, stop = spec.synthetic, spec.start, spec.stop
    sampling, counts = synthetic.sampling, synthetic.counts
    total, size = sum(counts), sampling.batch_size
    if not 0 <= start <= stop <= total or start % size or (stop % size and stop != total):
        raise InputError(
            f"shard {start} to {stop} of {total} images is not made of whole batches of {size}"
        )
    real = _real_images(pack, synthetic.images, counts, sampling)
    places = []
    for label, begin in enumerate(accumulate(counts, initial=0)):
        if label == len(counts):
            break
        for index in range(max(start, begin), min(stop, begin + counts[label])):
            nth = index - begin
            source = real[label][nth % len(real[label])] if needs_sources(sampling) else None
            seed = image_seed(sampling, synthetic.seed, label, nth)
            places.append(
                Place(index=index, label=label, class_index=nth, seed=seed, source=source)
            )
    return places


def _real_images(pack: Pack, images: ImagesSpec, counts: Counts, sampling: Any) -> list[list[int]]:
    """The training images of each class, checked to suffice for `counts`."""
    training = select(pack, images)[1].tolist()
    real: list[list[int]] = [[] for _ in pack.classes]
    for index in training:
        real[int(pack.labels[index])].append(index)
    means = needs_sources(sampling) and getattr(sampling, "posterior", "sample") == "mean"
    for name, count, found in zip(pack.classes, counts, real, strict=True):
        if count and not found:
            raise InputError(
                f"{count} images of class {name!r} are asked for; the generator was fitted on none"
            )
        if means and count > len(found):
            raise InputError(
                f"posterior='mean' makes each image once: class {name!r} has {len(found)} training "
                f"images, {count} are asked for; use posterior='sample' or fewer"
            )
    return real


def _restored(spec: SampleSpec, weights: Path, pack: Pack, device: str) -> Generator:
    import torch
    from safetensors.torch import load_file

    # The fresh weights are drawn from torch's global state and thrown away.
    with torch.random.fork_rng(devices=[]):
        generator: Generator = plugins.build(
            "generators", spec.synthetic.generator, image_info(pack)[0]
        )
    generator.load_sampler_state(load_file(weights / "weights.safetensors"))
    generator.to(device)
    return generator


@contextmanager
def _exact(device: str) -> Iterator[None]:
    """Full float32 on a GPU: TensorFloat-32 would make an image depend visibly on its batch."""
    if not device.startswith("cuda"):
        yield
        return
    import torch

    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def _sources(pack: Pack, batch: list[Place]) -> "Tensor | None":
    import numpy as np

    chosen = [place.source for place in batch if place.source is not None]
    return pack.batch(np.array(chosen, np.int64), image_info(pack)[1]) if chosen else None


def _schema(classes: tuple[str, ...]) -> "pa.Schema":
    """Hugging Face's image schema: `datasets` reads the file as images with class names."""
    import pyarrow as pa

    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "index": {"dtype": "int64", "_type": "Value"},
        "class_index": {"dtype": "int64", "_type": "Value"},
        "seed": {"dtype": "int64", "_type": "Value"},
        "source": {"dtype": "string", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    integers = [(name, pa.int64()) for name in ("label", "index", "class_index", "seed")]
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([("image", image), *integers, ("source", pa.string())], metadata)


def _table(batch: list[Place], made: "Tensor", pack: Pack, schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    rows = [
        {
            "image": {"bytes": _png(pixels), "path": f"{place.label}/{place.class_index:06d}.png"},
            "label": place.label,
            "index": place.index,
            "class_index": place.class_index,
            "seed": place.seed,
            "source": "" if place.source is None else pack.hashes[place.source],
        }
        for place, pixels in zip(batch, made, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema)


def _png(pixels: "Tensor") -> bytes:
    """Encode one uint8 image, C × H × W."""
    from PIL import Image

    array = pixels.permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(buffer, "PNG")
    return buffer.getvalue()
