"""Classical augmentations of training, as an editor: images changed once, to be written to disk.

`probability` of the augmentation's own settings is the chance that an image is changed at all.
Augmentations are made for squares: another image is mirrored at its border to one, augmented, and
cut out of its middle again. Fills that are stated behind normalisation are taken as on a network
with mean 0.5 and deviation 0.25.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks import plugins
from tasks.augmentation import Augmentation, AugmentationInfo, Batch
from tasks.editing import Edit, Edited
from tasks.edits.sizing import Takes, fit
from tasks.errors import InputError, nearest
from tasks.packs import Pixels
from tasks.specs import Plugin

MIXING = ("cutmix", "mixup", "saliencymix")
"""They make one image of two, and one target of theirs: nothing that a class folder could hold."""
MEAN, STD = 0.5, 0.25


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """The Config of an augmentation, where an editor's stands otherwise."""

    settings: Any


def as_editor(augmentation: Plugin) -> Plugin:
    """An augmentation, in the place of an editor.

    Raises InputError for those that mix images.
    """
    if augmentation.name in MIXING:
        others = [name for name in plugins.names("augmentations") if name not in MIXING]
        raise InputError(
            f"{augmentation.name} mixes images with their labels while a network is trained; "
            f"{nearest('', others)}"
        )
    return Plugin(
        name=augmentation.name,
        version=augmentation.version,
        config=Augmented(settings=augmentation.config),
    )


@dataclass(kw_only=True)
class Augmenting:
    """An `Editor`; it works on the CPU, on one image after the other."""

    chosen: Plugin
    batch_size: int = 8
    stamp: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import torch

        self._place = plugins.module("augmentations", self.chosen.name).PLACE
        self._built: dict[tuple[int, int], Augmentation] = {}
        self.stamp["torch"] = str(torch.__version__)

    def edit(self, edits: Sequence[Edit]) -> Iterator[Edited]:
        """Raises InputError where its settings do not suit the images."""
        for edit in edits:
            began = time.monotonic()
            height, width, channels = edit.image.shape
            sides = (max(height, width),) * 2
            square = fit(edit.image, None, Takes(multiple=1, size=sides, channels=channels), "pad")
            changed = square.restore(self._augmented(square.image, edit.seed))
            yield Edited(id=edit.id, image=changed, seconds=time.monotonic() - began)

    def _augmented(self, image: Pixels, seed: int) -> Pixels:
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        on_floats = self._place == "device"
        batch = Batch(
            images=pixels.float() / 255 if on_floats else pixels, targets=torch.ones(1, 1)
        )
        rng = torch.Generator().manual_seed(seed)
        images = self._augmentation(*image.shape[1:])(batch, rng).images
        if on_floats:
            images = (images.clamp(0, 1) * 255).round().to(torch.uint8)
        found: Pixels = np.ascontiguousarray(images[0].permute(1, 2, 0).numpy())
        return found

    def _augmentation(self, side: int, channels: int) -> Augmentation:
        if (side, channels) not in self._built:
            info = AugmentationInfo(
                side=side,
                channels=channels,
                num_classes=1,
                mean=(MEAN,) * channels,
                std=(STD,) * channels,
            )
            name, settings = self.chosen.name, self.chosen.config.settings
            made = plugins.module("augmentations", name).build(settings, info)
            self._built[side, channels] = made
        return self._built[side, channels]
