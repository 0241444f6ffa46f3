"""Filters a generated set, and draws other images in place of those that are dropped."""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks import plugins
from tasks.errors import InputError
from tasks.extraction import Extractor, Features
from tasks.features import described
from tasks.filtering import Candidates, Filter
from tasks.generate import Made, Place, Sampler, shard_schema, shard_table
from tasks.generation import image_info
from tasks.packs import Pack, Pixels, select
from tasks.results import write_result
from tasks.shards import SHARD_FILE
from tasks.specs import FilterSpec, Progress, Work


def filter_set(
    spec: FilterSpec,
    shards: Sequence[Path],
    weights: Path,
    pack: Path,
    fitted: Path | None,
    out: Path,
    device: str,
) -> Work:
    """Write `shard.parquet` with the images that all filters keep, up to each class's quota.

    The images of `shards` are drawn already. Those that are missing then are drawn in rounds, with
    the numbers that follow in their class, and meet the same thresholds. `result.json` says what
    was `drawn` and `kept` of each class, and what each filter `dropped`.

    Args:
        shards: of the whole set, in their order.
        weights: the fit of its generator.
        pack: of the images that the generator was fitted on.
        fitted: the `extractor` step, where filters look through one.

    Raises InputError where a class cannot be filled with `max_draws` times its quota.
    """
    import pyarrow.parquet as pq

    started = time.perf_counter()
    sampler = Sampler(spec.synthetic, weights, pack, device)
    work = _Filtering(spec, sampler, Pack(pack), fitted, device)
    work.first([each for shard in shards for each in _read(shard, sampler)])
    total = sum(spec.synthetic.counts)
    yield Progress(done=work.num_kept, total=total)
    while spec.refill and (wanted := work.wanted()):
        work.meet(_drawn(sampler, wanted))
        yield Progress(done=work.num_kept, total=total)
    kept = work.chosen()
    with pq.ParquetWriter(out / SHARD_FILE, shard_schema(spec.classes)) as writer:
        writer.write_table(shard_table(kept, 0, spec.classes))
    write_result(out, {**work.figures(), "seconds": time.perf_counter() - started})
    yield Progress(done=total, total=total)


def _read(shard: Path, sampler: Sampler) -> Iterator[Made]:
    import pyarrow.parquet as pq
    from PIL import Image

    rows = pq.read_table(shard / SHARD_FILE).to_pylist()
    places = sampler.places([(row["label"], row["class_index"]) for row in rows])
    for row, place in zip(rows, places, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        yield Made(place=place, pixels=pixels[..., None] if pixels.ndim == 2 else pixels)


def _drawn(sampler: Sampler, wanted: Sequence[tuple[int, int]]) -> list[Made]:
    places: list[Place] = sampler.places(wanted)
    size: int = sampler.synthetic.sampling.batch_size
    return [
        made
        for start in range(0, len(places), size)
        for made in sampler.make(places[start : start + size])
    ]


@dataclass(frozen=True, kw_only=True)
class _Named:
    """A filter, as records name it."""

    name: str
    filter: Filter


class _Filtering:
    """What was drawn so far, and what became of it."""

    def __init__(
        self, spec: FilterSpec, sampler: Sampler, real: Pack, fitted: Path | None, device: str
    ) -> None:
        self._spec, self._sampler, self._real = spec, sampler, real
        self._extractor: Extractor | None = None
        if spec.extractor is not None:
            self._extractor = plugins.build("extractors", spec.extractor, fitted, device)
        self._filters = [
            _Named(name=name, filter=plugins.build("filters", chosen, spec.classes, device))
            for name, chosen in zip(_names(spec), spec.filters, strict=True)
        ]
        classes = len(spec.classes)
        self._drawn = [0] * classes
        self._kept: list[list[Made]] = [[] for _ in range(classes)]
        self._dropped = {each.name: [0] * classes for each in self._filters}
        self._rounds = 0

    @property
    def num_kept(self) -> int:
        """Images of the set that is asked for."""
        counts = self._spec.synthetic.counts
        return sum(min(len(kept), n) for kept, n in zip(self._kept, counts, strict=True))

    def first(self, made: Sequence[Made]) -> None:
        """Let filters learn from what was drawn first, and meet it."""
        drawn, real = self._candidates(made), self._real_images()
        for each in self._filters:
            each.filter.learn(drawn, real)
        self._meet(made, drawn)

    def meet(self, made: Sequence[Made]) -> None:
        """Let further images meet the filters."""
        self._rounds += 1
        self._meet(made, self._candidates(made))

    def _meet(self, made: Sequence[Made], candidates: Candidates) -> None:
        for one in made:
            self._drawn[one.place.label] += 1
        left = np.arange(len(made))
        for each in self._filters:
            if not len(left):
                break
            mask = each.filter.keep(candidates)
            for label in candidates.labels[~mask]:
                self._dropped[each.name][label] += 1
            left, candidates = left[mask], candidates.where(mask)
        for index in left.tolist():
            self._kept[made[index].place.label].append(made[index])

    def wanted(self) -> list[tuple[int, int]]:
        """The images to draw next, as many as each class still lacks.

        Raises InputError for a class of which enough were drawn in vain.
        """
        wanted: list[tuple[int, int]] = []
        for label, quota in enumerate(self._spec.synthetic.counts):
            missing = quota - len(self._kept[label])
            if missing <= 0:
                continue
            drawn, most = self._drawn[label], quota * self._spec.max_draws
            if drawn >= most:
                raise InputError(self._exhausted(label, quota))
            wanted += [(label, n) for n in range(drawn, min(drawn + missing, most))]
        return wanted

    def _exhausted(self, label: int, quota: int) -> str:
        by_filter = ", ".join(f"{name} {counts[label]}" for name, counts in self._dropped.items())
        return (
            f"filters: of {self._drawn[label]} images drawn of class {self._spec.classes[label]!r} "
            f"{len(self._kept[label])} are kept, {quota} are asked for (dropped: {by_filter}): "
            "loosen the filters, ask for fewer images, raise max_draws, or say refill: false"
        )

    def chosen(self) -> list[Made]:
        """The images of the set, class by class in the order in which they were drawn."""
        counts = self._spec.synthetic.counts
        kept = [made for each, n in zip(self._kept, counts, strict=True) for made in each[:n]]
        if not kept:
            raise InputError("filters: no image is left of the set: loosen the filters")
        return kept

    def figures(self) -> dict[str, Any]:
        """What `result.json` says."""
        counts = self._spec.synthetic.counts
        kept = [min(len(each), n) for each, n in zip(self._kept, counts, strict=True)]
        return {
            "drawn": self._drawn,
            "kept": kept,
            "dropped": [{"filter": name, "counts": n} for name, n in self._dropped.items()],
            "rounds": self._rounds,
            "images": sum(kept),
        }

    def _real_images(self) -> Candidates:
        rows = select(self._real, self._spec.synthetic.images)[1]
        pixels = self._real.array(rows, image_info(self._real)[1])
        return self._described(pixels, self._real.labels[rows])

    def _candidates(self, made: Sequence[Made]) -> Candidates:
        labels = np.array([each.place.label for each in made], np.int64)
        return self._described(np.stack([each.pixels for each in made]), labels)

    def _described(
        self, pixels: Pixels, labels: "np.ndarray[Any, np.dtype[np.int64]]"
    ) -> Candidates:
        features: Features | None = None
        probabilities: Features | None = None
        if self._extractor is not None:
            import torch

            images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
            parts = [
                found for _, found in described(self._extractor, lambda r: images[r], len(images))
            ]
            features = np.concatenate([part.features for part in parts])
            known = [part.probabilities for part in parts if part.probabilities is not None]
            probabilities = np.concatenate(known) if known else None
        return Candidates(
            pixels=pixels, labels=labels, features=features, probabilities=probabilities
        )


def _names(spec: FilterSpec) -> list[str]:
    """The filters' names; one that stands there twice is told by its place."""
    names = [chosen.name for chosen in spec.filters]
    return [
        name if names.count(name) == 1 else f"{name} {index + 1}"
        for index, name in enumerate(names)
    ]
