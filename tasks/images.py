"""Training images of one or several packs, in place where the training runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.packs import Indices, Pack, Pixels
from tasks.views import view

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VIEW_BYTES = 8 * 1024**3
"""Packs are resized once for all workers up to this; larger ones are resized as they are drawn."""

COPIED_AT_ONCE = 4096

DEVICE_SHARE = 0.4
"""Of an accelerator's free memory that images may take; other trials may live on it too."""


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


class Source:
    """Several parts as one list of uint8 squares on the CPU, read from memory that is mapped.

    Packs of another shape are resized once for all workers of the machine, where that fits its
    cache. May be sent to another process, which maps the same memory.
    """

    def __init__(self, parts: Sequence[Part], side: int) -> None:
        self.side = side
        self.labels = np.concatenate([p.labels for p in parts])
        self._parts = [p for p in parts if len(p.indices)]
        self.channels = max((p.pack.channels for p in self._parts), default=1)
        self._starts = np.cumsum([0, *(len(p.indices) for p in self._parts)])
        self._pixels: list[Pixels | None] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_pixels": None}

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_bytes(self) -> int:
        """Of all images, decoded."""
        return len(self) * self.channels * self.side * self.side

    def batch(self, rows: Indices) -> "Tensor":
        """The images at `rows`: uint8, N × channels × side × side, channels last in memory."""
        import torch

        if self._pixels is None:
            self._pixels = [_mapped(p.pack, self.side) for p in self._parts]
        if len(self._parts) == 1:
            return torch.from_numpy(self._read(0, rows)).permute(0, 3, 1, 2)
        out = np.empty((len(rows), self.side, self.side, self.channels), np.uint8)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for index in range(len(self._parts)):
            mine = np.flatnonzero(owner == index)
            if len(mine):
                # One channel spreads over three by broadcasting.
                out[mine] = self._read(index, rows[mine] - self._starts[index])
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def _read(self, index: int, rows: Indices) -> Pixels:
        each = self._parts[index]
        assert self._pixels is not None
        pixels = self._pixels[index]
        chosen = each.indices[rows]
        return each.pack.array(chosen, self.side) if pixels is None else pixels[chosen]


def _mapped(pack: Pack, side: int) -> Pixels | None:
    """All of a pack's images as squares of `side`, if they are mapped, or fit the cache."""
    if pack.shape is not None and pack.shape[1:] == (side, side):
        return pack.whole
    fits = len(pack) * side * side * pack.channels <= VIEW_BYTES
    return view(pack, side) if fits else None


class Images:
    """A source's images as they reach a network: on its device, with its channels.

    They are copied to an accelerator once, as uint8, where they fit there.
    """

    def __init__(
        self, source: Source, channels: int, device: "torch.device", in_place: bool = True
    ) -> None:
        """`in_place` is false where batches come from elsewhere, and only take their shape here."""
        import torch

        self.source, self.channels, self.device = source, channels, device
        self.labels = torch.from_numpy(source.labels).to(device)
        self._in_place: Tensor | None = None
        if in_place and device.type != "cpu" and source.num_bytes <= _room(device):
            self._in_place = _copied(source, device)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def streams(self) -> bool:
        """Each batch has to be read and copied, so that doing it ahead pays."""
        return self.device.type != "cpu" and self._in_place is None

    def batch(self, rows: Indices) -> "Tensor":
        """The images at `rows`: uint8, N × channels × side × side, on the device."""
        import torch

        if self._in_place is not None:
            there = torch.from_numpy(rows).to(self.device, non_blocking=True)
            return self.shaped(self._in_place[there].permute(0, 3, 1, 2))
        return self.shaped(self.source.batch(rows))

    def shaped(self, images: "Tensor") -> "Tensor":
        """A batch of the source, on the device and with the network's channels."""
        there = images.to(self.device, non_blocking=True)
        if there.shape[1] == self.channels:
            return there
        return there.expand(-1, self.channels, -1, -1) if there.shape[1] == 1 else _luma(there)


def as_packed(parts: Sequence[Part], device: "torch.device") -> Images:
    """Images as squares of the side and with the channels that the first part's pack has."""
    pack = parts[0].pack
    return Images(Source(parts, pack.side), pack.channels, device)


def _luma(images: "Tensor") -> "Tensor":
    """Colour images beside grey ones, as `tasks.packs.luma` has them."""
    import torch

    red, green, blue = images.double().unbind(1)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    return grey.round().to(torch.uint8)[:, None]


def _copied(source: Source, device: "torch.device") -> "Tensor":
    """All images on the device, N × side × side × channels, with little host memory between."""
    import torch

    shape = (len(source), source.side, source.side, source.channels)
    there = torch.empty(shape, dtype=torch.uint8, device=device)
    for start in range(0, len(source), COPIED_AT_ONCE):
        rows = np.arange(start, min(start + COPIED_AT_ONCE, len(source)), dtype=np.int64)
        there[start : start + len(rows)] = source.batch(rows).permute(0, 2, 3, 1).to(device)
    return there


def _room(device: "torch.device") -> int:
    import torch

    return int(DEVICE_SHARE * torch.cuda.mem_get_info(device)[0])


class Normalise:
    """float 0..1 -> (x - mean) / std for each channel, on the device."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: "torch.device") -> None:
        import torch

        self._scale = torch.tensor([1 / s for s in std], device=device).view(1, -1, 1, 1)
        self._shift = torch.tensor(
            [-m / s for m, s in zip(mean, std, strict=True)], device=device
        ).view(1, -1, 1, 1)

    def __call__(self, images: "Tensor") -> "Tensor":
        """Of uint8 images 255 is 1."""
        import torch

        scale = self._scale / 255 if images.dtype == torch.uint8 else self._scale
        # One layout, whatever augmentation left behind: convolutions are fastest on it.
        there = images.float().contiguous(memory_format=torch.channels_last)
        return torch.addcmul(self._shift, there, scale)
