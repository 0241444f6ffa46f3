"""Sets that a model file makes with its real images at hand: by the steps that a study has."""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.graph import Steps
from orchestrator.ledger import Ledger
from orchestrator.plan import Step
from orchestrator.provenance import device_name, versions
from orchestrator.real import RealImages, pack_of
from orchestrator.sets import plan_filter, plan_shards
from orchestrator.single.generating import Wanted
from orchestrator.single.performing import Workplace
from orchestrator.single.sources import Named, Source, find
from tasks.counting import share
from tasks.errors import InputError
from tasks.reading import file_sha256
from tasks.shards import SHARD_FILE
from tasks.specs import FitSpec, ImagesSpec, Key, SetSpec, content_key

VALIDATION = 10
"""One image of so many, where a generator was fitted on all of them."""


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """A set as the steps that make it."""

    shards: tuple[Key, ...]
    filter: Key | None
    steps: Mapping[Key, Step]

    @property
    def ends(self) -> tuple[Key, ...]:
        """The steps that hold its images."""
        return self.shards if self.filter is None else (self.filter,)


def plan_set(wanted: Wanted, named: Named) -> Stepped:
    """Plan how a set is made from a model file, once the images are seen to be those it knows.

    Raises InputError for other images.
    """
    source = find(named)
    steps = Steps({source.dataset.reader: source.info})
    file, images = wanted.file, _images(wanted, source, steps)
    name = file.chosen.name
    # It stands in the plan for what needs it, and is done once the file is adopted.
    fit = steps.add(
        FitSpec(generator=file.chosen, images=images, seed=file.note.seed),
        (images.pack,),
        f"fit {name}",
        file.note.steps,
        adopted_key(file.path),
    )
    recipe = SetSpec(
        fit=fit,
        sampling=wanted.sampling,
        counts=wanted.counts,
        seed=wanted.seed,
        generator=file.chosen,
        images=images,
    )
    set_key, shards = plan_shards(recipe, steps, name)
    kept = None
    if wanted.filters:
        real = _real(source, images)
        extractor = wanted.extractor
        kept = plan_filter(wanted.as_set(), recipe, set_key, shards, real, extractor, steps)
    return Stepped(shards=shards, filter=kept, steps=steps.found)


def _images(wanted: Wanted, source: Source, steps: Steps) -> ImagesSpec:
    """The images that the generator was fitted on, of this source."""
    known = wanted.file.note.images
    split = source.info.splits.get(known.split)
    if (
        split is None
        or split.digest != known.digest
        or source.info.classes != wanted.file.note.classes
    ):
        raise InputError(
            f"{source.named.flag}: {wanted.asks_for_data} asks for the images that the generator "
            f"was fitted on, {sum(known.training):,} of the "
            f"{'' if known.split == 'all' else f'{known.split} '}images of {known.dataset}, and "
            f"these are others"
        )
    dataset = replace(
        source.dataset,
        split=replace(source.dataset.split, size=known.size, grayscale=known.grayscale),
    )
    apart = known.validation_apart
    return ImagesSpec(
        pack=pack_of(dataset, source.info, known.split, steps),
        split_seed=known.split_seed,
        validation=known.validation,
        training=known.training,
        validation_pack=pack_of(dataset, source.info, "val", steps) if apart else None,
    )


def _real(source: Source, images: ImagesSpec) -> RealImages:
    """What filters may know: the images that the generator was fitted on, and no test.

    Where none are held out, a tenth of them validates the classifier that filters may look through.
    """
    if not sum(images.validation):
        validation = share(-(-sum(images.training) // VALIDATION), images.training)
        left = (all_ - out for all_, out in zip(images.training, validation, strict=True))
        images = replace(images, validation=validation, training=tuple(left))
    return RealImages(
        dataset=source.dataset,
        info=source.info,
        images=images,
        pool=images.training,
        test=images.pack,
        num_test=0,
    )


def adopted_key(path: Path) -> Key:
    """Of a fit that is known by the bytes of its file, and not by what the file says of itself."""
    return content_key("model file", 1, {"sha256": file_sha256(path)})


def adopt(wanted: Wanted, at: Workplace) -> None:
    """Put the weights of a model file where steps look for those of a fit."""
    file, ledger = wanted.file, at.ledger
    key = adopted_key(file.path)
    if ledger.record("fit", key) is not None:
        return
    attempt = ledger.begin("fit", key)
    shutil.copyfile(file.path, attempt.folder / "weights.safetensors")
    record: dict[str, Any] = {
        "title": f"{file.chosen.name} of a model file",
        "size": file.note.steps,
        "settings": file.note.settings,
        "result": {"losses": file.note.losses, "num_parameters": file.note.num_parameters},
        "started": time.time(),
        "seconds": 0.0,
        "device": device_name(at.device),
        "threads": at.setting.threads,
        "commit": at.setting.commit,
        "versions": versions(),
    }
    ledger.commit(attempt, record)


def rows_of(kind: str, keys: tuple[Key, ...], ledger: Ledger) -> Iterator[dict[str, Any]]:
    """The images that finished `sample` or `filter` steps hold, with their PNG files."""
    import pyarrow.parquet as pq

    for key in keys:
        with pq.ParquetFile(ledger.fetch(kind, key) / SHARD_FILE) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
