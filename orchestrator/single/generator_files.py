"""A fitted generator as one file: safetensors weights that say what they are."""

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as strict_dataclass

from orchestrator.single.places import aside, unwritten
from tasks import plugins
from tasks.errors import InputError, nearest
from tasks.generation import LARGEST_SIDE, Generator, ImageInfo
from tasks.specs import STRICT, Counts, ImagesSpec, PackSpec, Plugin

FORMAT = 1
"""Raised when an older Augury could not read the note."""
NOTE = "augury"
"""The key of the note in the metadata of a safetensors file."""
WRITTEN = "give what `augury fit` wrote"


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class FittedOn:
    """The images that a generator was fitted on, by what they contain."""

    dataset: str
    """Its name; `image_folder` for class folders."""
    split: str
    digest: str
    """Of the split, as `tasks.packs.split_digest` has it."""
    size: int | None
    grayscale: bool
    split_seed: int
    validation: Counts
    """Images of each class that were held out."""
    validation_apart: bool
    """Those are a split of their own."""
    training: Counts
    fold: tuple[int, int] | None = None
    """In cross-validation: that slice, of so many, was held out before all others."""


def fitted_on(pack: PackSpec, images: ImagesSpec) -> FittedOn:
    """Which images a fit sees."""
    return FittedOn(
        dataset=pack.reader.name,
        split=pack.split,
        digest=pack.digest,
        size=pack.size,
        grayscale=pack.grayscale,
        split_seed=images.split_seed,
        validation=images.validation,
        validation_apart=images.validation_pack is not None,
        training=images.training,
        fold=images.fold,
    )


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class GeneratorNote:
    """What the file of a generator says of itself, so that it can be used alone."""

    kind: Literal["generator"] = "generator"
    format: int = FORMAT
    generator: str
    version: int
    """`VERSION` of the generator's file."""
    settings: dict[str, Any]
    seed: int
    channels: int
    height: int
    width: int
    classes: tuple[str, ...]
    images: FittedOn
    fit: str
    """The key of the fit, as a study would have it."""
    steps: int
    num_parameters: int
    losses: dict[str, float | None]
    """The last value of each."""


@dataclass(frozen=True, kw_only=True)
class GeneratorFile:
    """A generator that was fitted, read but for its weights."""

    path: Path
    note: GeneratorNote
    chosen: Plugin

    @property
    def info(self) -> ImageInfo:
        note = self.note
        return ImageInfo(
            channels=note.channels,
            height=note.height,
            width=note.width,
            num_classes=len(note.classes),
            classes=note.classes,
        )

    def network(self, device: str) -> Generator:
        """The generator with its weights, on the device.

        Raises InputError where the weights are those of another.
        """
        import torch
        from safetensors.torch import load_file

        # The fresh weights are drawn from torch's global state and thrown away.
        with torch.random.fork_rng(devices=[]):
            made: Generator = plugins.build("generators", self.chosen, self.info)
        try:
            made.load_sampler_state(load_file(self.path))
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"--generator {self.path}: its weights do not fit {self.chosen.name} "
                f"({str(error).splitlines()[0][:120]}); {WRITTEN}"
            ) from error
        made.to(device)
        return made


def save_generator(path: Path, note: GeneratorNote, weights: Path) -> None:
    """Write a model file whole or not at all.

    Args:
        weights: the safetensors file that a fit wrote.

    Raises InputError where it cannot be written; the fit is kept all the same.
    """
    from safetensors.torch import load_file, save

    text = _adapter().dump_json(note).decode()
    beside = aside(path)
    try:
        beside.write_bytes(save(load_file(weights), metadata={NOTE: text}))
        beside.replace(path)
    except OSError as error:
        raise InputError(
            f"{unwritten('--out', path, error)}; the fit is kept: run this again to save it, here "
            f"or elsewhere"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def load_generator(path: Path) -> GeneratorFile:
    """Read what a model file says of itself; nothing in it is executed, and torch is not loaded.

    Raises InputError, in one line, for any other file, and for one of another version.
    """
    where = f"--generator {path}"
    text = _metadata(path, where).get(NOTE)
    if text is None:
        raise InputError(f"{where}: says nothing of a generator; {WRITTEN}")
    _check_kind(text, where)
    try:
        note = _adapter().validate_json(text)
    except ValueError as error:
        raise InputError(f"{where}: what it says of itself cannot be read; {WRITTEN}") from error
    _check_numbers(note, where)
    return GeneratorFile(path=path, note=note, chosen=_chosen(note, where))


def _metadata(path: Path, where: str) -> Mapping[str, str]:
    from safetensors import SafetensorError, safe_open

    if not os.path.exists(path):
        raise InputError(f"{where}: there is no such file; {WRITTEN}")
    try:
        with safe_open(str(path), framework="np") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{where}: is no safetensors file, or a damaged one; {WRITTEN}") from error


def _check_kind(text: str, where: str) -> None:
    try:
        note = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: what it says of itself cannot be read; {WRITTEN}") from error
    if not isinstance(note, dict) or note.get("kind") != "generator":
        is_classifier = isinstance(note, dict) and "input_size" in note
        what = "holds a classifier" if is_classifier else "says nothing of a generator"
        raise InputError(f"{where}: {what}; {WRITTEN}")
    if isinstance(note.get("format"), int) and note["format"] > FORMAT:
        raise InputError(
            f"{where}: was written by a newer Augury (format {note['format']}, this one reads "
            f"{FORMAT}): update Augury"
        )


def _check_numbers(note: GeneratorNote, where: str) -> None:
    """Sizes that nothing was fitted with would only take memory."""
    number = len(note.classes)
    sides = (note.height, note.width)
    if (
        note.channels not in (1, 3)
        or not all(1 <= side <= LARGEST_SIDE for side in sides)
        or len(set(note.classes)) != number
        or {len(note.images.training), len(note.images.validation)} != {number}
    ):
        raise InputError(f"{where}: speaks of images that no generator makes; {WRITTEN}")


def _chosen(note: GeneratorNote, where: str) -> Plugin:
    """The generator with its settings, if it is the one of this Augury."""
    name = note.generator
    if name not in plugins.names("generators"):
        raise InputError(
            f"{where}: was fitted by {name!r}, a generator that this Augury does not have; "
            f"{nearest(name, plugins.names('generators'))}"
        )
    version: int = plugins.module("generators", name).VERSION
    if note.version != version:
        do = "update Augury" if note.version > version else "fit it again"
        raise InputError(
            f"{where}: was fitted by version {note.version} of {name}; this Augury has version "
            f"{version}, which may make other images: {do}"
        )
    try:
        config = plugins.adapter("generators", name).validate_json(json.dumps(note.settings))
    except ValueError as error:
        raise InputError(f"{where}: its settings are none of {name}; {WRITTEN}") from error
    return plugins.plugin("generators", name, config)


@functools.cache
def _adapter() -> TypeAdapter[GeneratorNote]:
    return TypeAdapter(GeneratorNote)
