"""An editor around a pipeline of diffusers: images in and out at their own size and channels.

Every image draws its noise from a CPU generator of its own, seeded by its edit. Where an edit has a
mask, the source's own pixels stand outside of it in the end, bit by bit, whether the pipeline knows
masks or not.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.editing import Edit, Edited
from tasks.editors._batches import Batches
from tasks.editors._loading import quiet
from tasks.editors._memory import first_batch_size, place
from tasks.editors._settings import Worked
from tasks.edits.sizing import Fitted, How, Takes, fit, keep_outside
from tasks.errors import InputError

if TYPE_CHECKING:
    import torch
    from PIL import Image

FLAGGED = "the checkpoint's safety checker flagged the image"
NOT_FINITE = "the model gave no finite numbers: use dtype: float32"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a pipeline is called with: lists of one entry an image, all of one size."""

    prompts: list[str]
    images: "list[Image.Image]"
    masks: "list[Image.Image]"
    """White is repainted; empty where the editor takes none."""
    rngs: "list[torch.Generator]"
    height: int
    width: int

    def repeated(self, text: str) -> list[str]:
        """The same text for every image."""
        return [text] * len(self.prompts)


Ask = Callable[[Asked], Any]
"""Calls the pipeline with `output_type="np"`."""


class Painter:
    """A `tasks.editing.Editor`."""

    def __init__(
        self,
        ask: Ask,
        *,
        name: str,
        takes: Takes,
        how: How,
        batches: Batches,
        stamp: Mapping[str, str],
        needs_mask: bool = False,
    ) -> None:
        """Take over a pipeline that is ready to be asked.

        Args:
            needs_mask: it cannot work without, and is given it.
        """
        self.stamp = dict(stamp)
        self._ask, self._name = ask, name
        self._takes, self._how = takes, how
        self._batches, self._needs_mask = batches, needs_mask

    @property
    def batch_size(self) -> int:
        """Smaller after memory did not do."""
        return self._batches.size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._batches.size = size

    def edit(self, edits: Sequence[Edit]) -> Iterator[Edited]:
        """Edit images; those of one size go through together.

        Images that the model cannot take at any size are refused. Raises InputError where a mask is
        needed and not there.
        """
        groups: dict[tuple[int, int], list[tuple[Edit, Fitted]]] = {}
        for edit in edits:
            if self._needs_mask and edit.mask is None:
                raise InputError(
                    f"{self._name} repaints under a mask, and was given none: say mask"
                )
            try:
                fitted = fit(edit.image, edit.mask, self._takes, self._how)
            except InputError as error:  # too narrow, for good; the others are not
                yield Edited(id=edit.id, image=None, refusal=str(error))
                continue
            groups.setdefault(fitted.image.shape[:2], []).append((edit, fitted))
        for group in groups.values():
            yield from self._batches.run(group, self._made)

    def _made(self, group: Sequence[tuple[Edit, Fitted]]) -> list[Edited]:
        import torch

        begun = time.monotonic()
        with torch.inference_mode(), quiet():
            output = self._ask(self._asked(group))
        flags = getattr(output, "nsfw_content_detected", None) or [False] * len(group)
        seconds = (time.monotonic() - begun) / len(group)
        return [
            _edited(edit, fitted, image, bool(flagged), seconds)
            for (edit, fitted), image, flagged in zip(group, output.images, flags, strict=True)
        ]

    def _asked(self, group: Sequence[tuple[Edit, Fitted]]) -> Asked:
        import torch
        from PIL import Image

        height, width = group[0][1].image.shape[:2]
        masks = [fitted.mask for _, fitted in group if fitted.mask is not None]
        return Asked(
            prompts=[edit.prompt for edit, _ in group],
            images=[Image.fromarray(fitted.image) for _, fitted in group],
            masks=[Image.fromarray(mask.astype(np.uint8) * 255) for mask in masks]
            if self._needs_mask
            else [],
            rngs=[torch.Generator().manual_seed(edit.seed) for edit, _ in group],
            height=height,
            width=width,
        )


def _edited(
    edit: Edit, fitted: Fitted, image: npt.NDArray[np.floating[Any]], flagged: bool, seconds: float
) -> Edited:
    """What became of one image.

    Args:
        image: the model's, H × W × 3 in 0..1.
    """
    if flagged:
        return Edited(id=edit.id, image=None, refusal=FLAGGED, seconds=seconds)
    if not np.isfinite(image).all():
        return Edited(id=edit.id, image=None, left=NOT_FINITE, seconds=seconds)
    restored = fitted.restore(np.rint(image.astype(np.float32) * 255).astype(np.uint8))
    if edit.mask is not None:
        restored = keep_outside(edit.image, restored, edit.mask)
    return Edited(id=edit.id, image=restored, seconds=seconds)


def open_painter(
    pipelines: Sequence[Any],
    config: Worked,
    place_name: str,
    ask: Ask,
    *,
    name: str,
    resolved: str,
    multiple: int,
    side: int,
    dtype: "torch.dtype",
    needs_mask: bool = False,
    at_once: int | None = None,
) -> Painter:
    """Put pipelines on their device and make an editor of them.

    Args:
        ask: calls them.
        resolved: the checkpoint, as records name it.
        multiple: of the sides of the images they take.
        side: of a square of as many pixels as they were trained on.
        at_once: images that they take at once at most.

    Raises InputError where the size cannot be used or the GPU is too small.
    """
    import diffusers
    import torch

    device = torch.device(place_name)
    asked = config.size or side
    if asked < multiple:
        raise InputError(f"{name}: size={asked}: this checkpoint works on multiples of {multiple}")
    placed, free = place(pipelines, device, asked**2)
    found = config.batch_size or first_batch_size(free, asked**2)
    size = 1 if config.strict else min(found, at_once or found)
    return Painter(
        ask,
        name=name,
        takes=Takes(multiple=multiple, pixels=asked**2),
        how=config.fit,
        batches=Batches(size),
        needs_mask=needs_mask,
        stamp={
            "editor": name,
            "weights": resolved,
            "dtype": str(dtype).removeprefix("torch."),
            "placed": placed,
            "size": str(asked),
            "diffusers": str(diffusers.__version__),
        },
    )


def unet_multiple(pipeline: Any) -> int:
    """Of the sides of images that the pipeline takes and whose latents its U-Net halves evenly."""
    halvings = len(pipeline.unet.config.block_out_channels) - 1
    return math.lcm(8, pipeline.vae_scale_factor * 2**halvings)


def unet_side(pipeline: Any) -> int:
    """Of the images that a U-Net was trained on."""
    size = pipeline.unet.config.sample_size
    scale: int = pipeline.vae_scale_factor
    return scale * (size if isinstance(size, int) else max(size))
