"""Images decoded once into one memory-mapped file, which all workers of a node share."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.counting import held_in_fold
from tasks.specs import Counts, ImagesSpec, Progress, Work

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]
"""H × W × C, C is 1 or 3."""

SHORT_SIDE = 256
"""Of images that differ in shape and for which no size was asked."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image as a reader gives it."""

    pixels: Pixels
    label: int
    source: str
    """Its name inside the split, unique: `class/relative path`, or an index."""
    sha256: str
    """Of the file's bytes, or of the pixels where there is no file."""
    origins: tuple[str, ...] = ()
    """Hashes of what it was made from, as `tasks.origins` reads them."""


def split_digest(lines: Iterable[tuple[str, str, str]]) -> str:
    """Name what a split contains: sha256 over its sorted lines `class/source, sha256`.

    Args:
        lines: class name, source and sha256 of each image.
    """
    text = "".join(sorted(f"{name}/{source}, {sha}\n" for name, source, sha in lines))
    return hashlib.sha256(text.encode()).hexdigest()


def luma(pixels: Pixels) -> Pixels:
    """Colour to grey, any shape × 3 -> × 1: ITU-R 601 weights, as PIL's mode L has them."""
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    rounded: Pixels = np.rint(grey).astype(np.uint8)[..., None]
    return rounded


def resized(pixels: Pixels, short_side: int) -> Pixels:
    """Scale so that the short side has `short_side` pixels; the aspect is kept (PIL bicubic)."""
    height, width = pixels.shape[:2]
    if min(height, width) == short_side:
        return pixels
    scale = short_side / min(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    return _pil_resize(pixels, shape)


def squared(pixels: Pixels, side: int) -> Pixels:
    """Scale the short side to `side` and cut the centre square."""
    pixels = resized(pixels, side)
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def _pil_resize(pixels: Pixels, shape: tuple[int, int]) -> Pixels:
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    out = np.asarray(image.resize(shape, Image.Resampling.BICUBIC))
    return out[..., None] if out.ndim == 2 else out


class _Uneven(Exception):
    """The images differ in shape or channels, which only reading them shows."""


def write_pack(
    out: Path,
    examples: Callable[[], Iterable[Example]],
    classes: Sequence[str],
    size: int | None,
    total: int,
    grayscale: bool = False,
) -> Work:
    """Write `pixels.bin`, `manifest.parquet` and `pack.json` into `out`.

    Images keep their shape if all have the same; else, or if `size` is given, the short side is
    scaled. Grey images become colour where the others are in colour, unless all become grey.
    Yields a Progress now and then and returns through `Pack(out)`.

    Args:
        examples: called again where the first reading shows that images must be scaled.
        total: expected number of images, for progress alone.
    """
    channels = 1 if grayscale else None
    for _ in range(3):
        try:
            yield from _write(out, examples(), classes, size, channels, total)
            return
        except _Uneven as uneven:
            if uneven.args[0] == "channels":
                channels = 3
            else:
                size = SHORT_SIDE
    raise AssertionError("a pack settles within three readings")


def _write(
    out: Path,
    examples: Iterable[Example],
    classes: Sequence[str],
    size: int | None,
    channels: int | None,
    total: int,
) -> Work:
    rows: list[tuple[str, str, int, int, int, int, str]] = []
    shapes: set[tuple[int, ...]] = set()
    offset = 0
    with (out / "pixels.bin").open("wb") as file:
        for example in examples:
            pixels = example.pixels
            if channels == 3 and pixels.shape[2] == 1:
                pixels = np.repeat(pixels, 3, axis=2)
            if channels == 1 and pixels.shape[2] == 3:
                pixels = luma(pixels)
            if size is not None:
                pixels = resized(pixels, size)
            shapes.add(pixels.shape)
            if len({shape[2] for shape in shapes}) > 1:
                raise _Uneven("channels")
            if size is None and len(shapes) > 1:
                raise _Uneven("shape")
            file.write(np.ascontiguousarray(pixels).tobytes())
            height, width = pixels.shape[:2]
            place = (example.label, height, width, offset)
            rows.append((example.sha256, example.source, *place, " ".join(example.origins)))
            offset += pixels.size
            if len(rows) % 1000 == 0:
                yield Progress(done=min(len(rows), total), total=total)
    _write_manifest(out, rows)
    shape = next(iter(shapes)) if len(shapes) == 1 else None
    description = {
        "classes": list(classes),
        "num_images": len(rows),
        "channels": next(iter(shapes))[2] if shapes else channels or 1,
        "shape": None if shape is None else [shape[2], shape[0], shape[1]],
    }
    (out / "pack.json").write_text(json.dumps(description))
    yield Progress(done=total, total=total)


def _write_manifest(out: Path, rows: list[tuple[str, str, int, int, int, int, str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "sha256": pa.string(),
        "source": pa.string(),
        "label": pa.int64(),
        "height": pa.int32(),
        "width": pa.int32(),
        "offset": pa.int64(),
        "origins": pa.string(),
    }
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types.values(), strict=True)]
    pq.write_table(pa.table(arrays, names=list(types)), out / "manifest.parquet")


class Pack:
    """A split on disk, opened: pixels stay mapped and are read as they are asked for."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        description: dict[str, Any] = json.loads((path / "pack.json").read_text())
        manifest = pq.read_table(path / "manifest.parquet")
        self.path = path
        self.classes: tuple[str, ...] = tuple(description["classes"])
        self.channels: int = description["channels"]
        self.shape: tuple[int, int, int] | None = (
            tuple(description["shape"]) if description["shape"] else None
        )
        """C, H, W where all images have the same shape, else None."""
        self.labels: npt.NDArray[np.int64] = manifest["label"].to_numpy()
        self.hashes: list[str] = manifest["sha256"].to_pylist()
        self.sources: list[str] = manifest["source"].to_pylist()
        self._origins = manifest["origins"] if "origins" in manifest.column_names else None
        self._heights = manifest["height"].to_numpy()
        self._widths = manifest["width"].to_numpy()
        self._offsets = manifest["offset"].to_numpy()
        empty = np.zeros(0, np.uint8)
        # Copy-on-write: torch wants writable memory, and nothing may reach the file.
        self._flat = np.memmap(path / "pixels.bin", np.uint8, "c") if len(self.labels) else empty

    def __reduce__(self) -> tuple[type["Pack"], tuple[Path]]:
        # Another process maps the file again instead of being sent a copy of it.
        return Pack, (self.path,)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def side(self) -> int:
        """Pixels of the shortest side of any image."""
        return int(min(self._heights.min(), self._widths.min()))

    def image(self, index: int) -> Pixels:
        """One image, H × W × C, without a copy."""
        height, width = int(self._heights[index]), int(self._widths[index])
        start = int(self._offsets[index])
        stop = start + height * width * self.channels
        return self._flat[start:stop].reshape(height, width, self.channels)

    @property
    def origins(self) -> list[tuple[str, ...]]:
        """Hashes of what each image was made from; none where it is no edit."""
        if self._origins is None:  # a pack of before there were edits
            return [()] * len(self)
        return [tuple(text.split()) for text in self._origins.to_pylist()]

    @property
    def whole(self) -> Pixels:
        """All images, N × H × W × C, mapped. Only where they have one shape."""
        assert self.shape is not None
        channels, height, width = self.shape
        return self._flat.reshape(-1, height, width, channels)

    def array(self, indices: npt.NDArray[np.int64], side: int | None = None) -> Pixels:
        """The images of `indices`, N × H × W × C; `side` cuts and scales them to squares.

        Raises ValueError where images differ in shape and no `side` is given.
        """
        if self.shape is not None and (side is None or self.shape[1:] == (side, side)):
            return self.whole[indices]
        if side is None:
            raise ValueError(f"the images of {self.path.name} differ in shape: give a side")
        if not len(indices):
            return np.zeros((0, side, side, self.channels), np.uint8)
        return np.stack([squared(self.image(int(index)), side) for index in indices])

    def batch(self, indices: npt.NDArray[np.int64], side: int | None = None) -> "torch.Tensor":
        """The images of `indices` as uint8, N × C × H × W."""
        import torch

        array = self.array(indices, side).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(array))


Indices = npt.NDArray[np.int64]


def select(pack: Pack, images: ImagesSpec) -> tuple[Indices, Indices]:
    """Find the validation and training images of a subset, as indices in class-major order.

    Each class is ordered by sha256(split_seed, image hash), so every subset of one `split_seed`
    is a prefix of every larger one, and validation never changes with the subset. A held-out fold
    is left out first; where validation images come from a pack of their own, there are none here.

    Raises ValueError where the pack holds fewer images of a class than are asked for.
    """
    chosen: tuple[list[int], list[int]] = ([], [])
    for label, rows in enumerate(ordered(pack, images.split_seed)):
        held = held_in_fold(len(rows), images.fold)
        left = rows[: held.start] + rows[held.stop :]
        validation = images.validation[label] if images.validation_pack is None else 0
        training = images.training[label]
        if validation + training > len(left):
            raise ValueError(
                f"class {pack.classes[label]!r} holds {len(left)} images, "
                f"{validation} + {training} were asked for"
            )
        chosen[0].extend(left[:validation])
        chosen[1].extend(left[validation : validation + training])
    return np.array(chosen[0], np.int64), np.array(chosen[1], np.int64)


def training_sources(pack: Pack, images: ImagesSpec) -> frozenset[str]:
    """Names of the training images of a subset."""
    return frozenset(pack.sources[row] for row in select(pack, images)[1].tolist())


def held_out(pack: Pack, images: ImagesSpec) -> Indices:
    """The images of the fold that `images` leaves for testing, in class-major order."""
    found = [
        rows[held_in_fold(len(rows), images.fold)] for rows in ordered(pack, images.split_seed)
    ]
    return np.array(list(itertools.chain.from_iterable(found)), np.int64)


def select_first(pack: Pack, counts: Counts, split_seed: int = 0) -> Indices:
    """The first `counts` images of each class, ordered by sha256(split_seed, image hash)."""
    picked = [rows[:n] for rows, n in zip(ordered(pack, split_seed), counts, strict=True)]
    return np.array(list(itertools.chain.from_iterable(picked)), np.int64)


def ordered(pack: Pack, split_seed: int) -> list[list[int]]:
    """Indices of each class in the order of sha256(split_seed, image hash), ties by source."""
    rows: list[list[tuple[str, str, int]]] = [[] for _ in pack.classes]
    for index, (label, sha) in enumerate(zip(pack.labels.tolist(), pack.hashes, strict=True)):
        rank = hashlib.sha256(f"{split_seed}, {sha}".encode()).hexdigest()
        rows[label].append((rank, pack.sources[index], index))
    return [[index for _, _, index in sorted(row)] for row in rows]


def read_all(work: Iterator[Progress]) -> None:
    """Run a task to its end where nobody watches its progress."""
    for _ in work:
        pass
