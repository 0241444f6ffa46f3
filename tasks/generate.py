"""Makes the images of a synthetic set from a fitted generator: a shard of them, or any by name."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import plugins
from tasks.devices import memory_peak_bytes, prepare
from tasks.errors import InputError
from tasks.generation import Generator, image_info, needs_sources
from tasks.packs import Pack, Pixels, select
from tasks.results import write_result
from tasks.shards import SHARD_FILE, labelled, png
from tasks.specs import Progress, SampleSpec, SetSpec, Work, canonical, canonical_json

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

ENOUGH_TO_TELL = 8
"""So many flat images and no other are a collapsed generator's, and not chance."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One image of a set, before it is made."""

    label: int
    class_index: int
    """Among the images of its class; those behind the set's counts refill a filtered set."""
    seed: int
    source: int | None
    """Index in the pack of the real image it is made from."""
    source_hash: str
    """Of that image's file; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """One image of a set."""

    place: Place
    pixels: Pixels


class Sampler:
    """Makes any images of a synthetic set with weights that are loaded once.

    All noise of an image comes from a CPU generator of its own, so its pixels depend on its batch
    by rounding alone.
    """

    def __init__(self, synthetic: SetSpec, weights: Path, pack: Path, device: str) -> None:
        """Load the weights.

        Args:
            weights: the folder that `fit` wrote.
            pack: of the images that the generator was fitted on.

        Raises InputError where such a set cannot be made with this fit.
        """
        chosen = synthetic.generator
        plugins.module("generators", chosen.name).check(chosen.config, synthetic.sampling)
        self.synthetic = synthetic
        self.classes = (images := Pack(pack)).classes
        self._pack = images
        self._side = image_info(images)[1]
        self._real = _real_images(images, synthetic)
        # A set that cannot be made to its end is refused by its first shard already.
        self.places([(label, n - 1) for label, n in enumerate(synthetic.counts) if n])
        prepare(device)
        self._generator = _restored(synthetic, weights, images, device)

    def places(self, wanted: Sequence[tuple[int, int]]) -> list[Place]:
        """Say what the images named by (label, class_index) are made from.

        Raises InputError where the generator saw no image of the class, or reconstructed means
        would repeat.
        """
        return [self._place(label, class_index) for label, class_index in wanted]

    def _place(self, label: int, class_index: int) -> Place:
        sampling, real, name = self.synthetic.sampling, self._real[label], self.classes[label]
        if not real:
            raise InputError(
                f"images of class {name!r} are asked for; the generator was fitted on none"
            )
        source = real[class_index % len(real)] if needs_sources(sampling) else None
        posterior = getattr(sampling, "posterior", None)
        if source is not None and posterior != "sample" and class_index >= len(real):
            fewer = "fewer" if posterior is None else "posterior='sample' or fewer"
            raise InputError(
                f"reconstructions without noise make each image once: class {name!r} has "
                f"{len(real)} training images, {class_index + 1} are asked for; use {fewer}"
            )
        return Place(
            label=label,
            class_index=class_index,
            seed=image_seed(sampling, self.synthetic.seed, label, class_index),
            source=source,
            source_hash="" if source is None else self._pack.hashes[source],
        )

    def make(self, places: Sequence[Place]) -> list[Made]:
        """Make one batch, of at most the sampling's batch size."""
        import torch

        sampling = self.synthetic.sampling
        if not 0 < len(places) <= sampling.batch_size:
            raise ValueError(f"{len(places)} images in a batch of at most {sampling.batch_size}")
        rngs = [torch.Generator().manual_seed(place.seed) for place in places]
        labels = torch.tensor([place.label for place in places])
        images = self._generator.sample(labels, rngs, sampling, self._sources(places))
        pixels = images.permute(0, 2, 3, 1).numpy()
        return [Made(place=p, pixels=each) for p, each in zip(places, pixels, strict=True)]

    def _sources(self, places: Sequence[Place]) -> "torch.Tensor | None":
        chosen = [place.source for place in places if place.source is not None]
        return self._pack.batch(np.array(chosen, np.int64), self._side) if chosen else None


def sample(spec: SampleSpec, weights: Path, pack: Path, out: Path, device: str) -> Work:
    """Make images `start` to `stop` of a set; write `shard.parquet` and `result.json`.

    Pixels do not depend on the cut into shards, which are made of whole batches.

    Args:
        weights: the folder that `fit` wrote.
        pack: of the images that the generator was fitted on.

    Raises InputError where settings cannot be sampled with this fit, ValueError where the fit
    makes nothing but flat images.
    """
    import pyarrow.parquet as pq

    size = spec.synthetic.sampling.batch_size
    _check_shard(spec, size)
    sampler = Sampler(spec.synthetic, weights, pack, device)
    places = sampler.places(wanted_of(spec))
    begun = time.monotonic()
    num_flat = 0
    with pq.ParquetWriter(out / SHARD_FILE, shard_schema(sampler.classes)) as writer:
        for first in range(0, len(places), size):
            made = sampler.make(places[first : first + size])
            num_flat += sum(is_flat(each.pixels) for each in made)
            writer.write_table(shard_table(made, spec.start + first, sampler.classes))
            yield Progress(done=min(first + size, len(places)), total=len(places))
    if num_flat == len(places) >= ENOUGH_TO_TELL:
        raise ValueError(
            f"the generator makes nothing but flat images ({num_flat} of {num_flat}): its fit "
            "collapsed; lower its lr, or fit it for fewer steps or with another seed"
        )
    seconds = time.monotonic() - begun
    result = {
        "images": len(places),
        "seconds": seconds,
        "images_per_s": len(places) / max(seconds, 1e-9),
        "peak_memory_bytes": memory_peak_bytes(device),
    }
    write_result(out, result)


def image_seed(sampling: Any, set_seed: int, label: int, class_index: int) -> int:
    """The seed of an image: 63 bits of what it is, whatever its shard, batch or worker.

    torch's CPU generator keeps the low 32 of them: 10,000 images of a class hold a pair with the
    same noise with a chance of 1 %.
    """
    settings = {k: v for k, v in canonical(sampling).items() if k != "batch_size"}
    text = canonical_json([settings, set_seed, label, class_index])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def wanted_of(spec: SampleSpec) -> list[tuple[int, int]]:
    """The images of a shard as (label, class_index), in class-major order."""
    counts = spec.synthetic.counts
    begins = accumulate(counts, initial=0)
    return [
        (label, index - begin)
        for label, (begin, count) in enumerate(zip(begins, counts, strict=False))
        for index in range(max(spec.start, begin), min(spec.stop, begin + count))
    ]


def is_flat(pixels: Pixels) -> bool:
    """Whether an image, H × W × C, is of one colour."""
    return bool((pixels == pixels[0, 0]).all())


def shard_schema(classes: tuple[str, ...]) -> "pa.Schema":
    """Of samples."""
    return labelled(classes, ("index", "class_index", "seed"), ("source",))


def shard_table(made: Sequence[Made], first_index: int, classes: tuple[str, ...]) -> "pa.Table":
    """The rows of images, the first of which is number `first_index` of the whole set."""
    import pyarrow as pa

    rows = [
        {
            "image": {"bytes": png(pixels), "path": f"{place.label}/{place.class_index:06d}.png"},
            "label": place.label,
            "index": index,
            "class_index": place.class_index,
            "seed": place.seed,
            "source": place.source_hash,
        }
        for index, (place, pixels) in enumerate(((m.place, m.pixels) for m in made), first_index)
    ]
    return pa.Table.from_pylist(rows, shard_schema(classes))


def _check_shard(spec: SampleSpec, size: int) -> None:
    start, stop, total = spec.start, spec.stop, sum(spec.synthetic.counts)
    if not 0 <= start <= stop <= total or start % size or (stop % size and stop != total):
        raise InputError(
            f"shard {start} to {stop} of {total} images is not made of whole batches of {size}"
        )


def _real_images(pack: Pack, synthetic: SetSpec) -> list[list[int]]:
    """The images of each class that the generator was fitted on, as indices in the pack."""
    real: list[list[int]] = [[] for _ in pack.classes]
    for index in select(pack, synthetic.images)[1].tolist():
        real[int(pack.labels[index])].append(index)
    return real


def _restored(synthetic: SetSpec, weights: Path, pack: Pack, device: str) -> Generator:
    import torch
    from safetensors.torch import load_file

    # The fresh weights are drawn from torch's global state and thrown away.
    with torch.random.fork_rng(devices=[]):
        generator: Generator = plugins.build("generators", synthetic.generator, image_info(pack)[0])
    generator.load_sampler_state(load_file(weights / "weights.safetensors"))
    generator.to(device)
    return generator
