"""Training images of one or several packs, in place where the training runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.packs import Indices, Pack, Pixels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IN_PLACE_BYTES = 2 * 1024**3
"""Resized images are kept in memory up to this; above it they are resized as they are drawn."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some images of one pack."""

    pack: Pack
    indices: Indices
    labels: npt.NDArray[np.int64]
    """In the label order of the study, which may differ from the pack's."""


def part(pack: Pack, indices: Indices, classes: Sequence[str]) -> Part:
    """Take `indices` of a pack, with labels by class name in the order of `classes`."""
    order = np.array([classes.index(name) for name in pack.classes], np.int64)
    return Part(pack=pack, indices=indices, labels=order[pack.labels[indices]])


class Images:
    """Several parts as one list of images, served as normalised batches.

    Images that already have the right side are read from the mapped pack, which all workers of a
    node share; on an accelerator they are copied there once, as uint8.
    """

    def __init__(
        self, parts: Sequence[Part], side: int, channels: int, device: "torch.device"
    ) -> None:
        import torch

        self.side, self.channels, self.device = side, channels, device
        self.labels = torch.from_numpy(np.concatenate([p.labels for p in parts])).to(device)
        self._parts = [p for p in parts if len(p.indices)]
        self._starts = np.cumsum([0, *(len(p.indices) for p in self._parts)])
        num_bytes = len(self) * channels * side * side
        mapped = all(p.pack.shape is not None and p.pack.shape[1:] == (side, side) for p in parts)
        self._in_place: Tensor | None = None
        if num_bytes <= IN_PLACE_BYTES and (device.type != "cpu" or not mapped):
            everything = np.arange(len(self), dtype=np.int64)
            self._in_place = self._gather(everything).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: "Tensor") -> "Tensor":
        """The images at `rows` (int64, on the CPU): uint8, N × channels × side × side."""
        if self._in_place is not None:
            return self._in_place[rows.to(self.device)]
        return self._gather(rows.numpy()).to(self.device, non_blocking=True)

    def _gather(self, rows: Indices) -> "Tensor":
        import torch

        out = np.empty((len(rows), self.channels, self.side, self.side), np.uint8)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for index, each in enumerate(self._parts):
            mine = np.flatnonzero(owner == index)
            if len(mine):
                chosen = each.indices[rows[mine] - self._starts[index]]
                pixels = each.pack.array(chosen, self.side)
                if self.channels == 1 and pixels.shape[3] == 3:
                    pixels = _grey(pixels)
                # One channel spreads over three by broadcasting.
                out[mine] = pixels.transpose(0, 3, 1, 2)
        return torch.from_numpy(out)


def _grey(pixels: Pixels) -> Pixels:
    """Luma of colour images beside grey ones: ITU-R 601 weights, as PIL's mode L has them."""
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    grey: Pixels = np.rint(luma).astype(np.uint8)[..., None]
    return grey


class Normalise:
    """uint8 0..255 -> float, (x / 255 - mean) / std for each channel, on the device."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: "torch.device") -> None:
        import torch

        self._scale = torch.tensor([1 / (255 * s) for s in std], device=device).view(1, -1, 1, 1)
        self._shift = torch.tensor(
            [-m / s for m, s in zip(mean, std, strict=True)], device=device
        ).view(1, -1, 1, 1)

    def __call__(self, images: "Tensor") -> "Tensor":
        import torch

        return torch.addcmul(self._shift, images.float(), self._scale)
