"""Masks by a segmentation model of transformers: of all foreground, or of what is named."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.editing import Mask
from tasks.edits.polarity import Grow
from tasks.errors import InputError, nearest
from tasks.packs import Pixels
from tasks.reading import FileFacts
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    from torch import Tensor

FOREGROUND = "foreground"
OWN_CLASS = "{class}"
BACKGROUNDS = frozenset({"background", "__background__"})
"""What models call the rest, underscores kept."""
DESCRIPTIONS = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Segmentation:
    """What a model finds in an image."""

    name: Literal["segmentation"] = "segmentation"
    checkpoint: Locator[str]
    """A name on the hub, or a folder with config.json, preprocessor_config.json and weights in
    safetensors; for semantic segmentation (SegFormer, UPerNet, BEiT, DPT), or a universal one
    (Mask2Former, MaskFormer, DETR, EoMT)."""
    revision: Locator[str] = "main"
    """Of a name on the hub."""
    labels: Annotated[tuple[str, ...], Field(min_length=1)] = (FOREGROUND,)
    """What is repainted, as the model calls it. `foreground` is all that is not background;
    `{class}` is the image's own class."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How sure a universal model must be of a segment."""
    invert: bool = False
    """Repaint all the rest."""
    grow: Grow = 0
    """Pixels by which the repainted part grows."""


class Segments:
    """A `Maker`; the model is loaded when it is first asked, and once."""

    def __init__(self, config: Segmentation, facts: FileFacts, device: str) -> None:
        """Raises InputError for a path that is none."""
        self._config, self._facts, self._device = config, facts, device
        self._folder = _local(config.checkpoint)
        self._model: _Model | None = None

    def mask(self, source: str, class_name: str, image: Pixels, seed: int) -> Mask:
        if self._model is None:
            folder = self._folder or _fetched(self._config.checkpoint, self._config.revision)
            self._model = _loaded(folder, self._config.checkpoint, self._device)
        wanted = self._model.numbers(self._config.labels, class_name)
        return self._model.find(image, wanted, self._config.threshold)

    def stamp(self, source: str, class_name: str, seed: int) -> Any:
        # Which class an image is of decides only where it is asked for.
        return [self.content(), class_name if OWN_CLASS in "".join(self._config.labels) else ""]

    def where(self, source: str, class_name: str) -> str:
        return f"mask: {self._config.checkpoint}"

    def content(self) -> Any:
        """The weights: of a folder by content, of a name on the hub as it is written."""
        from tasks.classifiers._transformers_checkpoint import content_id

        if self._folder is None:
            return f"{self._config.checkpoint}@{self._config.revision}"
        return content_id(self._folder, weights=True, facts=self._facts)


@plain_dataclass(frozen=True, kw_only=True)
class _Model:
    """A network with its processor."""

    spoken: str
    """How messages call it."""
    network: Any
    processor: Any
    universal: bool
    names: dict[int, str]
    device: str

    def numbers(self, labels: Sequence[str], class_name: str) -> frozenset[int]:
        """The model's numbers of what is asked for."""
        found: set[int] = set()
        for label in labels:
            if label == FOREGROUND:
                found |= self._foreground()
            else:
                found |= self._called(label.replace(OWN_CLASS, class_name))
        return frozenset(found)

    def _foreground(self) -> set[int]:
        rest = {number for number, name in self.names.items() if name.lower() in BACKGROUNDS}
        # A universal model leaves the background out of its segments.
        if not rest and not self.universal:
            raise InputError(
                f"mask: {self.spoken} knows no background: say what is repainted in `labels`; "
                f"{nearest('', self.names.values())}"
            )
        return set(self.names) - rest

    def _called(self, label: str) -> set[int]:
        found = {number for number, name in self.names.items() if _plain(name) == _plain(label)}
        if not found:
            raise InputError(
                f"mask: {self.spoken} knows no {label!r}; {nearest(label, self.names.values())}"
            )
        return found

    def find(self, image: Pixels, wanted: frozenset[int], threshold: float) -> Mask:
        """Segment an image, H × W × C, and mark what is one of `wanted`."""
        import torch
        from PIL import Image

        rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        # A cut image would be answered with a map of its middle.
        whole = {"do_center_crop": False} if getattr(self.processor, "do_center_crop", 0) else {}
        given = self.processor(images=Image.fromarray(rgb), return_tensors="pt", **whole)
        with torch.inference_mode(), _hushed():
            outputs = self.network(**given.to(self.device))
            size = image.shape[:2]
            if self.universal:
                return self._of_segments(outputs, wanted, threshold, size)
            return _of_map(outputs.logits, wanted, size)

    def _of_segments(
        self, outputs: Any, wanted: frozenset[int], threshold: float, size: tuple[int, ...]
    ) -> Mask:
        found = self.processor.post_process_panoptic_segmentation(
            outputs, threshold=threshold, label_ids_to_fuse=set(), target_sizes=[size]
        )[0]
        ids = [each["id"] for each in found["segments_info"] if each["label_id"] in wanted]
        places: Mask = np.isin(found["segmentation"].cpu().numpy(), ids)
        return places


def _of_map(logits: "Tensor", wanted: frozenset[int], size: tuple[int, ...]) -> Mask:
    from torch.nn import functional

    scaled = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
    places: Mask = np.isin(scaled[0].argmax(0).cpu().numpy(), sorted(wanted))
    return places


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().casefold()


def _local(checkpoint: str) -> Path | None:
    """The folder that is meant; None is a name on the hub."""
    if os.path.isdir(checkpoint):
        return Path(checkpoint)
    if checkpoint.startswith(("/", ".", "~")) or checkpoint.count("/") > 1 or not checkpoint:
        raise InputError(f"mask: there is no folder {checkpoint!r}")
    return None


def _fetched(checkpoint: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # One request says whether the hub is there; nothing but descriptions and safetensors comes.
        return Path(
            snapshot_download(
                checkpoint, revision=revision, allow_patterns=[*DESCRIPTIONS, *WEIGHTS]
            )
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"mask: {checkpoint} cannot be had ({type(error).__name__}): fetch it into the cache "
            "of huggingface_hub, or say the path of a folder"
        ) from error


def _loaded(folder: Path, spoken: str, device: str) -> _Model:
    import transformers

    untyped: Any = transformers
    for name in DESCRIPTIONS[:2]:
        if not (folder / name).is_file():
            raise InputError(
                f"mask: {spoken} has no {name}, which transformers leaves beside weights"
            )
    try:
        with _hushed():
            config = untyped.AutoConfig.from_pretrained(folder)
            universal = type(config) in untyped.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING
            semantic = type(config) in untyped.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING
            if not universal and not semantic:
                raise InputError(
                    f"mask: {spoken} ({config.model_type}) segments nothing: such as SegFormer or "
                    "Mask2Former would do"
                )
            kind = "Universal" if universal else "Semantic"
            auto = getattr(untyped, f"AutoModelFor{kind}Segmentation")
            # No code of strangers, and no pickle.
            network = auto.from_pretrained(folder, config=config, use_safetensors=True)
            processor = untyped.AutoImageProcessor.from_pretrained(folder)
    except InputError:
        raise
    except Exception as error:  # files of a stranger fail in as many ways as there are models
        message = str(error).strip().partition("\n")[0]
        raise InputError(
            f"mask: {spoken} is nothing that transformers can load ({type(error).__name__}: "
            f"{message[:200]})"
        ) from error
    if universal and not hasattr(processor, "post_process_panoptic_segmentation"):
        raise InputError(f"mask: {spoken} has a processor that makes no segments of what it finds")
    return _Model(
        spoken=spoken,
        network=network.eval().to(device),
        processor=processor,
        universal=universal,
        names={int(number): str(name) for number, name in config.id2label.items()},
        device=device,
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep transformers from bars and remarks, which nobody asked for."""
    import transformers

    untyped: Any = transformers
    said = untyped.utils.logging
    verbosity, shown = said.get_verbosity(), said.is_progress_bar_enabled()
    said.set_verbosity(logging.ERROR)
    said.disable_progress_bar()
    try:
        yield
    finally:
        said.set_verbosity(verbosity)
        if shown:
            said.enable_progress_bar()
