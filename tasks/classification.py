"""What a classifier's file must offer, and how its weights are kept."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import plugins
from tasks.errors import InputError
from tasks.specs import Plugin, canonical

if TYPE_CHECKING:
    from torch import nn


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


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """What `build` of a file in `tasks/classifiers` returns."""

    network: "nn.Module"
    """N × channels × input_size × input_size, normalised -> logits N × num_classes."""
    input_size: int
    channels: int
    """That the network takes; grey images are repeated where it takes 3."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolved: str
    """The exact architecture and pre-training, for the record."""

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())


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
    """Write a safetensors file that carries classes, model, input size and normalisation."""
    from safetensors.torch import save_model

    note = WeightsNote(
        name=model.name,
        settings=canonical(model.config),
        classes=classes,
        info=info,
        input_size=classifier.input_size,
        channels=classifier.channels,
        mean=classifier.mean,
        std=classifier.std,
    )
    save_model(classifier.network, str(path), metadata={"augury": json.dumps(asdict(note))})


def load_weights(path: Path) -> tuple[Classifier, tuple[str, ...]]:
    """Build the network that a weights file names and fill it; nothing in the file is executed.

    Raises InputError where the file is damaged or was not written by `save_weights`.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_model

    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get("augury")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path.name}: not a readable safetensors file ({error})") from error
    if text is None:
        raise InputError(f"{path.name}: says nothing of its model; only Augury's weights will do")
    try:
        model, info, classes = _read_note(text)
        classifier: Classifier = plugins.build("classifiers", model, info, load_pretrained=False)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        reason = type(error).__name__
        raise InputError(f"{path.name}: its note cannot be read ({reason})") from error
    try:
        load_model(classifier.network, str(path))
    except (RuntimeError, SafetensorError) as error:
        raise InputError(f"{path.name}: does not fit {model.name} ({error})") from error
    return classifier, classes


def _read_note(text: str) -> tuple[Plugin, ClassifierInfo, tuple[str, ...]]:
    """Model, what it is built for, and classes, of a note that anybody may have written."""
    values = json.loads(text)
    name = values["name"]
    config = plugins.adapter("classifiers", name).validate_json(json.dumps(values["settings"]))
    model = plugins.plugin("classifiers", name, config)
    return model, ClassifierInfo(**values["info"]), tuple(values["classes"])
