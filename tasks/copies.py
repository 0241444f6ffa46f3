"""Finds images that copy others, exactly or nearly, and tells them from what is only alike.

No network is needed: the nearest of the others by an 8 × 8 thumbnail is compared in detail, and
what counts as near is measured against images that are alike by honest chance. Copies may have been
encoded again, mirrored, brightened, moved or cropped a little.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from tasks.packs import Indices, Pixels

Floats = npt.NDArray[np.float32]
Kind = Literal["exact", "near"]

COARSE_SIDE = 8
"""Of the thumbnails by which candidates are found: 64 numbers survive JPEG and small crops, and
all pairs of 50,000 × 10,000 are compared in about a second."""
FINE_SIDE = 32
"""Of the thumbnails by which candidates are confirmed."""
BLUR = 5
"""Side of the mean that is taken off: what is left is detail, not the light of the scene."""
SHIFT = 2
"""Fine pixels that a copy may have moved, in each direction."""
ZOOMS, FINE_ZOOMS = (0.94, 0.88), (0.97, 0.94, 0.91, 0.88)
"""Shares of either image's side that the other may be a crop of; a thorough search tries more."""

MAX_RATIO = 0.6
"""Of a candidate's coarse distance to the typical one; above it little was true on CIFAR-10."""
STRICTNESS = 0.75
POWER = 5
"""A pair is near whose distance is below STRICTNESS × typical distance ** POWER. Tuned on sheets of
the found pairs: CIFAR-10's images differ (typically by 0.83), and nearly all pairs up to 0.3 are
true; garments of Fashion-MNIST are alike (0.2 to 0.6), and only much closer pairs are copies."""
EQUAL = 0.003
"""Below it pictures are equal but for rounding, however alike the images of the data are."""
STRICTNESS_TINY = 0.1
TINY_SIDE = 16
"""Below it images hold too little detail to tell a copy from the same digit by the same hand."""

SAMPLE = 8192
"""Images among which it is seen what is typical, so that small groups of copies, as of the one car
that CIFAR-10 holds dozens of times, do not pass for it."""
TYPICAL_SHARE = 1024
"""The typical image is the nearest one in so many of the sample, and not the first four."""
NUM_TYPICAL = 3
ALIKE = 0.25
"""A pair is near, too, that is nearer than this share of what is typical, by details and by pixels
with their light, as vectors: the ratio test of D. Lowe (IJCV 60(2), 2004), with a typical image
where he has the second nearest. The least of 6,376 honest pairs of digits was 0.32."""
MOVE = 1 / 24
"""Of the side, by which a thorough search moves images in each direction to find candidates."""

Move = tuple[float, float, float]
"""Across and down, as shares of the side, and the share of the side that is seen."""
MOVES: tuple[Move, ...] = (
    (0, 0, 1),
    *((x, y, 1) for x in (-MOVE, 0, MOVE) for y in (-MOVE, 0, MOVE) if x or y),
    (0, 0, 0.94),
    (0, 0, 1.06),
    (0, 0, 1.12),
)
"""How images are seen to find what they copy: a cropped copy is found by what lay around it."""

CHUNK, BATCH = 4096, 512
"""Images read at once; queries compared at once."""


class Pictures(Protocol):
    """What is searched: a pack, or images in memory."""

    @property
    def channels(self) -> int:
        """1 or 3."""
        ...

    @property
    def hashes(self) -> Sequence[str]:
        """Of the files, or of the pixels where there are none."""
        ...

    @property
    def side(self) -> int:
        """Pixels of the shortest side of any image."""
        ...

    def image(self, index: int) -> Pixels:
        """One image, H × W × C."""
        ...

    def __len__(self) -> int: ...


class InMemory:
    """Images of one shape, N × H × W × C, that are in no pack."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self.channels, self.side = pixels.shape[3], min(pixels.shape[1:3])
        self.hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]

    def __len__(self) -> int:
        return len(self._pixels)

    def image(self, index: int) -> Pixels:
        """One image, H × W × C."""
        image: Pixels = self._pixels[index]
        return image


@dataclass(frozen=True, kw_only=True)
class Selected:
    """Some of the images of a pack."""

    pack: Pictures
    rows: Indices

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """What an image is a copy of."""

    of: int
    """Row of the pack that was searched."""
    kind: Kind
    distance: float
    """0 for exact copies, else 1 - the correlation of details, 0..1."""


def everything(pack: Pictures) -> Selected:
    """All of them."""
    return Selected(pack=pack, rows=np.arange(len(pack), dtype=np.int64))


class CopySearch:
    """Looks for each of some images whether it copies one of others.

    Memory grows with the number of `queries` alone: 128 numbers for each, 1,536 if thorough.
    """

    def __init__(
        self,
        queries: Selected,
        originals: Selected,
        usual: Selected,
        *,
        thorough: bool = False,
        earlier: bool = False,
    ) -> None:
        """Prepare the search.

        Args:
            usual: images of the same kind as `originals`, or these themselves, by which is judged
                how alike two pictures are by honest chance.
            thorough: find more of those that were moved, cropped or encoded again, above all where
                images are small or all alike, in about five times the time.
            earlier: `queries` stand among `originals`, and only those before them count.
        """
        self._queries, self._originals, self._usual = queries, originals, usual
        self._thorough, self._earlier = thorough, earlier
        self._exact: dict[int, int] = {}
        self._nearest = _Nearest(queries, MOVES if thorough else MOVES[:1])

    def look(self) -> Iterator[int]:
        """Do it, and say now and then how many of the originals were looked at."""
        seen = _Digests(self._queries)
        pack = self._originals.pack
        for start in range(0, len(self._originals), CHUNK):
            rows = self._originals.rows[start : start + CHUNK]
            for row in rows.tolist():
                for query in seen.matches(pack, row):
                    if query > row or not self._earlier:
                        self._exact.setdefault(query, row)
            self._nearest.look_at(pack, rows, self._earlier)
            yield start + len(rows)

    def found(self) -> dict[int, Copy]:
        """Row of a query -> the closest image that it copies, where it copies one."""
        copies = {q: Copy(of=row, kind="exact", distance=0.0) for q, row in self._exact.items()}
        for query, near in self._confirmed().items():
            copies.setdefault(query, near)
        return copies

    def _confirmed(self) -> dict[int, Copy]:
        if not len(self._originals) or not len(self._queries):
            return {}
        pack, nearest = self._originals.pack, self._nearest
        typical, likeness = nearest.typical(self._usual)
        views = np.flatnonzero(_distance(nearest.likeness) < MAX_RATIO * _distance(likeness))
        side = min(FINE_SIDE, pack.side, self._queries.pack.side)
        distance, light = nearest.compared(views, pack, nearest.rows[views], side, self._thorough)
        if not self._thorough:
            hopeful = distance < STRICTNESS
            views, distance, light = views[hopeful], distance[hopeful], light[hopeful]
        usual = [
            nearest.compared(views, self._usual.pack, rows[views], side, self._thorough)
            for rows in typical
        ]
        usual_distance, usual_light = (np.median(of, 0) for of in zip(*usual, strict=True))
        near = distance < _threshold(usual_distance, side)
        if self._thorough:
            near |= _alike(distance, usual_distance) & _alike(light, usual_light)
        return self._closest(views[near], distance[near])

    def _closest(self, views: Indices, distance: Floats) -> dict[int, Copy]:
        found: dict[int, Copy] = {}
        for view, value in zip(views.tolist(), distance.tolist(), strict=True):
            query = int(self._queries.rows[view % len(self._queries)])
            if query not in found or value < found[query].distance:
                of = int(self._nearest.rows[view])
                found[query] = Copy(of=of, kind="near", distance=max(0.0, value))
        return found


def _threshold(usual: Floats, side: int) -> Floats:
    """The distance below which a pair is near where images are typically `usual` apart."""
    if side < TINY_SIDE:
        return STRICTNESS_TINY * usual**POWER
    near: Floats = np.maximum(STRICTNESS * usual**POWER, EQUAL)
    return near


def _alike(distance: Floats, usual: Floats) -> npt.NDArray[np.bool_]:
    """Whether a pair is much nearer than typical; 1 - correlation is half a squared distance."""
    return np.maximum(distance, 0) < ALIKE**2 * usual


class _Digests:
    """Finds images by the bytes of a file or the pixels."""

    def __init__(self, queries: Selected) -> None:
        self._rows: dict[str | bytes, list[int]] = {}
        for row in queries.rows.tolist():
            self._rows.setdefault(queries.pack.hashes[row], []).append(row)
            self._rows.setdefault(_pixel_digest(queries.pack, row), []).append(row)

    def matches(self, pack: Pictures, row: int) -> Iterator[int]:
        yield from self._rows.get(pack.hashes[row], ())
        yield from self._rows.get(_pixel_digest(pack, row), ())


def _pixel_digest(pack: Pictures, row: int) -> bytes:
    image = pack.image(row)
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest()


class _Nearest:
    """The nearest of other images for two views of each query: upright, behind them mirrored."""

    def __init__(self, queries: Selected, moves: Sequence[Move]) -> None:
        self._queries = queries
        self._vectors = []
        """Of each move of all views."""
        for move in moves:
            upright = _thumbnails(queries.pack, queries.rows.tolist(), COARSE_SIDE, move)
            self._vectors.append(_unit(np.concatenate([upright, upright[:, :, ::-1]])))
        self.rows = np.zeros(2 * len(queries), np.int64)
        """Of the pack that was looked at, one a view."""
        self.likeness = np.full(2 * len(queries), -1, np.float32)

    def look_at(self, pack: Pictures, rows: Indices, earlier: bool) -> None:
        """Keep for each view the nearest of `rows`, where it is nearer than those before.

        Args:
            earlier: only rows below that of the query count.
        """
        vectors = _unit(_thumbnails(pack, rows.tolist(), COARSE_SIDE))
        own = np.tile(self._queries.rows, 2)
        for moved in self._vectors:
            for start in range(0, len(moved), BATCH):
                mine = slice(start, start + BATCH)
                likeness = moved[mine] @ vectors.T
                if earlier:
                    likeness[rows >= own[mine, None]] = -1
                best = likeness.argmax(1)
                values = likeness[np.arange(len(best)), best]
                nearer = values > self.likeness[mine]
                self.rows[mine][nearer] = rows[best[nearer]]
                self.likeness[mine][nearer] = values[nearer]

    def typical(self, usual: Selected) -> tuple[list[Indices], Floats]:
        """Rows that are alike by honest chance, one a view, and the likeness of the first."""
        size = min(SAMPLE, len(usual))
        sample = usual.rows[np.linspace(0, len(usual) - 1, size).astype(np.int64)]
        vectors = _unit(_thumbnails(usual.pack, sample.tolist(), COARSE_SIDE))
        first = min(max(4, size // TYPICAL_SHARE), size - 1)
        last = min(first + NUM_TYPICAL, size)
        rows = np.empty((len(self.rows), last - first), np.int64)
        likeness = np.empty(len(self.rows), np.float32)
        for start in range(0, len(self.rows), BATCH):
            mine = slice(start, start + BATCH)
            far = -(self._vectors[0][mine] @ vectors.T)
            order = np.argpartition(far, range(first, last), axis=1)[:, first:last]
            rows[mine] = sample[order]
            typical = vectors[order[:, 0]]
            # Moved as candidates are, which would seem nearer than honest images ever come.
            moved = [np.einsum("nd,nd->n", view[mine], typical) for view in self._vectors]
            likeness[mine] = np.max(moved, axis=0)
        return list(rows.T), likeness

    def compared(
        self, views: Indices, pack: Pictures, rows: Indices, side: int, thorough: bool
    ) -> tuple[Floats, Floats]:
        """1 - the correlation of views and `rows` at their best alignment, 0..2.

        Returns that of details and, of a thorough search, that of pixels.
        """
        out = np.empty((2, len(views)), np.float32)
        for start in range(0, len(views), BATCH):
            mine = slice(start, start + BATCH)
            out[:, mine] = 1 - self._aligned(views[mine], pack, rows[mine].tolist(), side, thorough)
        return out[0], np.maximum(out[1], 0)

    def _aligned(
        self, views: Indices, pack: Pictures, rows: list[int], side: int, thorough: bool
    ) -> Floats:
        queries = self._queries.rows[views % len(self._queries)].tolist()
        mirrored = (views >= len(self._queries))[:, None, None]

        def query(zoom: float) -> Floats:
            upright = _thumbnails(self._queries.pack, queries, side, (0, 0, zoom))
            return np.where(mirrored, upright[:, :, ::-1], upright)

        whole, other = query(1), _thumbnails(pack, rows, side)
        best = _correlations(whole, other, thorough)
        for zoom in FINE_ZOOMS if thorough else ZOOMS:
            best = np.maximum(best, _correlations(query(zoom), other, thorough))
            cut = _thumbnails(pack, rows, side, (0, 0, zoom))
            best = np.maximum(best, _correlations(whole, cut, thorough))
        return best


def _thumbnails(pack: Pictures, rows: Sequence[int], side: int, move: Move = (0, 0, 1)) -> Floats:
    """Grey means over areas, N × side × side, 0..255; beyond its edge an image goes on."""
    from PIL import Image

    across, down, zoom = move
    out = np.empty((len(rows), side, side), np.float32)
    for place, row in enumerate(rows):
        pixels = pack.image(row)
        height, width = pixels.shape[:2]
        left, top = width * ((1 - zoom) / 2 + across), height * ((1 - zoom) / 2 + down)
        beyond = 0
        if move != (0, 0, 1) and (zoom > 1 or across or down):
            beyond = math.ceil(max(width, height) * (abs(across) + abs(down) + max(0, zoom - 1)))
            pixels = np.pad(pixels, ((beyond, beyond), (beyond, beyond), (0, 0)), "edge")
        image = Image.fromarray(pixels[..., 0] if pack.channels == 1 else pixels).convert("L")
        box = (
            left + beyond,
            top + beyond,
            left + beyond + width * zoom,
            top + beyond + height * zoom,
        )
        # BOX takes whole pixels, so that the mirror of a thumbnail would not be that of its image.
        out[place] = np.asarray(image.resize((side, side), Image.Resampling.HAMMING, box))
    return out


def _unit(images: Floats) -> Floats:
    """Flatten to mean 0 and length 1, so that light and contrast do not count; flat ones are 0."""
    flat = images.reshape(len(images), images.shape[1] * images.shape[2])
    flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > 1e-3, flat / np.maximum(length, 1e-3), 0).astype(np.float32)


def _distance(likeness: Floats) -> Floats:
    """Between vectors of length 1, from their product."""
    return np.sqrt(np.maximum(2 - 2 * likeness, 0))


def _correlations(one: Floats, other: Floats, light: bool) -> Floats:
    """Of the details of images, N × S × S, and of pixels if asked, at the best shift: 2 × N."""
    from scipy.ndimage import uniform_filter

    side = one.shape[1]
    details = [x - uniform_filter(x, (0, BLUR, BLUR), mode="nearest") for x in (one, other)]
    best = np.full((2, len(one)), -1, np.float32)
    best[0] = _best_shift(details[0], details[1], min(SHIFT, side // 8))
    if light:
        # A pixel of the smallest images is too much to be a move of the same picture.
        best[1] = _best_shift(one, other, min(SHIFT, side // 12))
    return best


def _best_shift(one: Floats, other: Floats, most: int) -> Floats:
    side = one.shape[1]
    centre = _unit(one[:, most : side - most, most : side - most])
    best = np.full(len(one), -1, np.float32)
    for down in range(2 * most + 1):
        for right in range(2 * most + 1):
            height = side - 2 * most
            window = _unit(other[:, down : down + height, right : right + height])
            best = np.maximum(best, np.einsum("nd,nd->n", centre, window))
    return best
