"""Makes images with a generator that was read from a file, batch by batch, into a folder."""

from collections.abc import Sequence
from typing import Any

from orchestrator.single.generator_files import GeneratorFile
from orchestrator.single.set_folders import Entry, SetFolder
from orchestrator.single.watching import Bar, Lines
from tasks.errors import InputError
from tasks.generate import ENOUGH_TO_TELL, Made, Place, image_seed, is_flat, shard_table
from tasks.generation import Generator
from tasks.specs import Counts, Progress


def planned_entries(counts: Counts, sampling: Any, seed: int) -> list[Entry]:
    """The images of a set, in class-major order, as a study has them."""
    return [
        Entry(
            label=label,
            class_index=index,
            seed=image_seed(sampling, seed, label, index),
            source="",
        )
        for label, number in enumerate(counts)
        for index in range(number)
    ]


def draw(
    file: GeneratorFile,
    sampling: Any,
    entries: Sequence[Entry],
    folder: SetFolder,
    device: str,
    watcher: Bar | Lines,
) -> int:
    """Make the images that the folder lacks. Batches are those of a study: they are made whole.

    Returns how many were made.

    Raises InputError where they cannot be written, or the weights do not fit.
    """
    size = sampling.batch_size
    batches = [entries[first : first + size] for first in range(0, len(entries), size)]
    missing = [batch for batch in batches if not all(map(folder.has, batch))]
    num_left = sum(map(len, missing))
    if not num_left:
        return 0
    from tasks.devices import is_out_of_memory, prepare

    prepare(device)
    network = file.network(device)
    num_new = 0
    for batch in missing:
        try:
            made = _made(network, batch, sampling, folder.classes)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"--batch-size {size}: {device} has too little memory for it; say less, and name a "
                f"new folder, as other batches are other images"
            ) from error
        for entry, png in made:
            if not folder.has(entry):
                folder.put(entry, png)
                num_new += 1
        num_left -= len(batch)
        done = Progress(done=len(entries) - num_left, total=len(entries))
        watcher.show(f"sample {file.chosen.name}", done, "images")
    return num_new


def _made(
    network: Generator, batch: Sequence[Entry], sampling: Any, classes: tuple[str, ...]
) -> list[tuple[Entry, bytes]]:
    """As `tasks.generate.Sampler` makes them, which asks for the real images too."""
    import torch

    rngs = [torch.Generator().manual_seed(entry.seed) for entry in batch]
    labels = torch.tensor([entry.label for entry in batch])
    pixels = network.sample(labels, rngs, sampling, None).permute(0, 2, 3, 1).numpy()
    made = [
        Made(
            place=Place(
                label=entry.label,
                class_index=entry.class_index,
                seed=entry.seed,
                source=None,
                source_hash="",
            ),
            pixels=each,
        )
        for entry, each in zip(batch, pixels, strict=True)
    ]
    pngs = shard_table(made, 0, classes).column("image").to_pylist()
    return [(entry, png["bytes"]) for entry, png in zip(batch, pngs, strict=True)]


def refuse_collapsed(folder: SetFolder, entries: Sequence[Entry]) -> None:
    """Raise InputError where there is nothing but images of one colour."""
    if len(entries) >= ENOUGH_TO_TELL and all(is_flat(folder.pixels(e)) for e in entries):
        raise InputError(
            f"--generator: all {len(entries)} images in {folder.path} are of one colour each: its "
            f"fit collapsed; fit it again with a lower lr, fewer steps or another seed"
        )
