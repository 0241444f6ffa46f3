"""What a classifier's file must offer, and how its weights are kept."""

import functools
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from tasks import plugins
from tasks.classifiers import _checkpoints
from tasks.errors import InputError
from tasks.specs import Plugin, canonical

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGEST_SIDE = 4096
"""No weights file may ask for larger images."""
LARGEST_STORED_SIDE = 13_377
"""Nor speak of larger ones that it was trained on: Pillow opens no larger square."""


@dataclass(frozen=True, kw_only=True)
class ClassifierInfo:
    """What a classifier is built for."""

    num_classes: int
    channels: int
    """Of the images: 1 or 3."""
    side: int
    """Short side of the images in pixels."""
    input_size: int | None
    """Side that the study asks for, if any."""
    mean: tuple[float, ...] | None = None
    """Of each channel, 0..1, where the study gives it; else the model's own."""
    std: tuple[float, ...] | None = None
    initialisation: str = "default"
    """Of weights trained from scratch: `default`, `he` or `xavier`."""
    dropout: float | None = None
    """Before the head; None is the model's own."""
    drop_path: float | None = None
    """Stochastic depth; None is the model's own."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """What `build` of a file in `tasks/classifiers` returns."""

    network: "nn.Module"
    """N × channels × input_size × input_size, normalised -> logits N × num_classes."""
    features: "Callable[[Tensor], Tensor]"
    """The same images -> what the head of `network` sees of them, N × D."""
    input_size: int
    channels: int
    """That the network takes; grey images are repeated where it takes 3."""
    mean: tuple[float, ...]
    """Of each of `channels`, as `std`."""
    std: tuple[float, ...]
    resolved: str
    """The exact architecture and pre-training, for the record."""
    rebuild: Mapping[str, Any] = field(default_factory=dict)
    """Settings that its weights file needs beside those of the study, to stand alone."""

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())


def normalisation(
    info: ClassifierInfo, channels: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std for each channel of the network: the study's, else the model's own.

    One number stands for all channels. Raises InputError for any other number of them.
    """
    return (
        _per_channel("mean", mean if info.mean is None else info.mean, channels),
        _per_channel("std", std if info.std is None else info.std, channels),
    )


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise InputError(f"train.{name}: has {len(values)} numbers, and images {channels} channels")
    return values * channels if len(values) == 1 else values


@dataclass(frozen=True, kw_only=True)
class WeightsNote:
    """What a weights file says of itself, so that it can be used alone."""

    name: str
    settings: dict[str, Any]
    classes: tuple[str, ...]
    info: ClassifierInfo
    input_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def save_weights(
    path: Path,
    classifier: Classifier,
    model: Plugin,
    info: ClassifierInfo,
    classes: tuple[str, ...],
) -> None:
    """Write weights with their classes, model, input size and normalisation.

    A `path` that ends in `.pt` or `.pth` becomes a file for torch.load, `{"augury": the note as
    JSON, "weights": the state dict}`; any other is a safetensors file with the note as metadata.
    """
    import torch
    from safetensors.torch import save_model

    note = WeightsNote(
        name=model.name,
        settings={**canonical(model.config), **classifier.rebuild},
        classes=classes,
        info=info,
        input_size=classifier.input_size,
        channels=classifier.channels,
        mean=classifier.mean,
        std=classifier.std,
    )
    text = json.dumps(asdict(note))
    # Not with the whole name, which may be as long as a name can be.
    aside = path.with_name(f".{os.getpid()}{path.suffix}.part")
    try:
        if path.suffix in _checkpoints.PICKLES:
            weights = {name: t.cpu() for name, t in classifier.network.state_dict().items()}
            # Through memory, as torch does not say why it could not write a file.
            content = io.BytesIO()
            torch.save({"augury": text, "weights": weights}, content)
            aside.write_bytes(content.getbuffer())
        else:
            save_model(classifier.network, str(aside), metadata={"augury": text})
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load_weights(path: Path) -> tuple[Classifier, tuple[str, ...]]:
    """Build the network that a weights file names and fill it; nothing in the file is executed.

    Pre-trained weights are not fetched, and no more memory is taken than the file has weights for.

    Returns the classifier and its classes in label order. Raises InputError where the file is
    damaged or was not written by `save_weights`.
    """
    classifier, note = load_noted(path)
    return classifier, note.classes


def load_noted(path: Path) -> tuple[Classifier, WeightsNote]:
    """As `load_weights`, with all that the file says of itself."""
    stored = _checkpoints.read(path)
    if stored.note is None:
        raise InputError(f"{path.name}: says nothing of its model; only Augury's weights will do")
    try:
        note = _read_note(stored.note)
        adapter = plugins.adapter("classifiers", note.name)
        config = adapter.validate_json(json.dumps(note.settings))
        model = plugins.plugin("classifiers", note.name, config)
        classifier = _build_to_fit(path.name, model, _info(note), stored)
    except InputError as error:
        raise InputError(f"{path.name}: {str(error).removeprefix(f'{path.name}: ')}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path.name}: its note cannot be read") from error
    return classifier, note


def load_for(path: Path, classes: Sequence[str]) -> tuple[Classifier, tuple[str, ...]]:
    """Load weights that know exactly `classes`, in any order.

    Returns the classifier and its classes in its own label order. Raises InputError as
    `load_weights` does, and where the classes are others.
    """
    classifier, known = load_weights(path)
    theirs, ours = sorted(set(known) - set(classes)), sorted(set(classes) - set(known))
    if theirs or ours:
        unknown = f"does not know {_some(ours)}" if ours else ""
        surplus = f"knows {_some(theirs)}, which {_are(theirs)} not asked for" if theirs else ""
        both = " and ".join(part for part in (unknown, surplus) if part)
        raise InputError(f"{path.name}: of {len(classes)} classes it {both}")
    return classifier, known


def _some(names: Sequence[str], at_most: int = 3) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(repr(name) for name in names[:at_most]) + more


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


@functools.cache
def _note_adapter() -> TypeAdapter[WeightsNote]:
    return TypeAdapter(WeightsNote)


def _read_note(text: str) -> WeightsNote:
    """Check a note that anybody may have written. Raises ValueError or InputError."""
    note = _note_adapter().validate_json(text, strict=True)
    if len(set(note.classes)) != len(note.classes) or len(note.classes) != note.info.num_classes:
        raise InputError(
            f"its note names {len(set(note.classes))} classes for {note.info.num_classes} outputs"
        )
    if not 1 <= note.input_size <= LARGEST_SIDE:
        raise InputError(f"its note asks for images of {note.input_size} pixels")
    if not 1 <= note.info.side <= LARGEST_STORED_SIDE:
        raise InputError(f"its note speaks of images of {note.info.side} pixels")
    shares = (note.info.dropout, note.info.drop_path)
    if (
        {note.channels, note.info.channels} - {1, 3}
        or {len(note.mean), len(note.std)} != {note.channels}
        or not all(map(math.isfinite, (*note.mean, *note.std)))
        or min(note.std) <= 0
        or not all(0 <= share < 1 for share in shares if share is not None)
    ):
        raise InputError("its note cannot be read (numbers that no classifier has)")
    return note


def _info(note: WeightsNote) -> ClassifierInfo:
    """What to build for: as trained, without what only training needs."""
    return replace(
        note.info,
        input_size=note.input_size,
        mean=note.mean,
        std=note.std,
        initialisation="default",
        gradient_checkpointing=False,
    )


def _build_to_fit(
    file: str, model: Plugin, info: ClassifierInfo, stored: _checkpoints.Stored
) -> Classifier:
    """Build the network and fill it, once a copy of it that takes no memory is seen to fit.

    Raises InputError where it does not.
    """
    import torch

    with torch.device("meta"):
        outline: Classifier = plugins.build("classifiers", model, info, load_pretrained=False)
    found = _checkpoints.misfits(outline.network, _with_tied(outline.network, stored.tensors))
    _checkpoints.refuse_misfits(found, file, model.name)
    classifier: Classifier = plugins.build("classifiers", model, info, load_pretrained=False)
    # Not strict: of tensors that are one, safetensors keeps one name.
    classifier.network.load_state_dict(stored.tensors, strict=False)
    return classifier


def _with_tied(network: "nn.Module", tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Add the other names of tensors that `network` holds under several."""
    names: dict[int, list[str]] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(name)
    tied = {
        name: tensors[known]
        for group in names.values()
        for known in group
        for name in group
        if known in tensors and name not in tensors
    }
    return {**tensors, **tied}
