"""How well a CLIP finds that images show their class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.errors import InputError
from tasks.extraction import Features
from tasks.packs import Pixels

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.clip import Clip

CHECKPOINT = "openai/clip-vit-base-patch32"
PROMPT = "a photo of a {}"
BATCH = 64


class ClipScores:
    """Probabilities of the classes' prompts, by a CLIP that is loaded when it is first asked."""

    def __init__(
        self,
        checkpoint: str,
        revision: str,
        folder: str | None,
        prompt: str,
        classes: Sequence[str],
        device: str,
    ) -> None:
        """Raises InputError for one class alone, whose probability is 1 whatever is shown."""
        if len(classes) < 2:
            raise InputError(
                "filters: a CLIP weighs the prompts of all classes against each other, and there "
                "is one class alone: leave the filters that ask a CLIP out"
            )
        self._place = (checkpoint, revision, folder, device)
        self._prompt, self._classes = prompt, tuple(classes)
        self._loaded: tuple[Clip, Tensor] | None = None

    def __call__(self, pixels: Pixels) -> Features:
        """Images, N × H × W × C -> N × classes.

        Raises InputError where the checkpoint cannot be had.
        """
        import torch

        clip, texts = self._parts()
        found = []
        for start in range(0, len(pixels), BATCH):
            batch = np.ascontiguousarray(pixels[start : start + BATCH].transpose(0, 3, 1, 2))
            with torch.inference_mode():
                logits = clip.scale * clip.images(torch.from_numpy(batch)) @ texts.T
            found.append(logits.softmax(1).cpu().numpy())
        return np.concatenate(found or [np.zeros((0, len(self._classes)), np.float32)])

    def _parts(self) -> "tuple[Clip, Tensor]":
        from tasks.clip import class_embeddings, load, prompts

        if self._loaded is None:
            clip = load(*self._place)
            texts = class_embeddings(clip.texts, prompts(self._prompt, self._classes))
            self._loaded = clip, texts
        return self._loaded
