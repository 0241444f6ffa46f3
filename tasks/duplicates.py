"""The step that finds test images which also stand, exactly or nearly, in the train split.

About 3.3 % of CIFAR-10's test images have a near-duplicate among the training images (B. Barz &
J. Denzler, "Do we train on test data? Purging CIFAR of near-duplicates", J. Imaging 6(6), 2020,
arXiv:1902.00423). They find candidates with a trained network and judge them by eye. Here no
network is needed: the nearest train image by an 8 × 8 thumbnail is compared in detail, and what
counts as near is measured against images that are alike by honest chance.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.packs import Indices, Pack
from tasks.results import write_result
from tasks.specs import DuplicatesSpec, Progress, Work

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
ZOOMS = (0.94, 0.88)
"""Share of either image's side that the other may be a crop of."""

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
"""Train images among which it is seen what is typical, so that small groups of copies, as of the
one car that CIFAR-10 holds dozens of times, do not pass for it."""
TYPICAL_SHARE = 1024
"""The typical image is the nearest one in so many of the sample, and not the first four."""
NUM_TYPICAL = 3
CHUNK, BATCH = 4096, 512
"""Train images read at once; queries compared at once."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A test image and the train image that it copies."""

    test: int
    """Row of the test pack."""
    train: int
    """Row of the train pack."""
    test_source: str
    train_source: str
    kind: Kind
    distance: float
    """0 for exact copies, else 1 - the correlation of details, 0..1."""


def duplicates(spec: DuplicatesSpec, train: Path, test: Path, out: Path) -> Work:
    """Write `duplicates.parquet`: for each test image that has copies in `train`, the closest.

    Exact is: equal files or equal pixels. Near is: the same picture, perhaps encoded again,
    mirrored, brightened, moved or cropped a little. Memory grows with the test split alone.
    """
    started = time.perf_counter()
    old, new = Pack(train), Pack(test)
    total = len(old) + len(new)
    search = _Search(old, new)
    exact: dict[int, int] = {}
    seen = _Exact(new)
    for start in range(0, len(old), CHUNK):
        rows = range(start, min(start + CHUNK, len(old)))
        for row in rows:
            for match in seen.matches(old, row):
                exact.setdefault(match, row)
        search.look_at(rows)
        yield Progress(done=rows.stop, total=total)
    near = {t: pair for t, pair in search.confirmed().items() if t not in exact}
    found = sorted(
        [_pair(old, new, t, row, "exact", 0.0) for t, row in exact.items()]
        + [_pair(old, new, t, row, "near", distance) for t, (row, distance) in near.items()],
        key=lambda pair: pair.test,
    )
    _write(out, found)
    result = {
        "num_exact": len(exact),
        "num_near": len(near),
        "num_test": len(new),
        "num_train": len(old),
        "seconds": time.perf_counter() - started,
    }
    write_result(out, result)
    yield Progress(done=total, total=total)


def _pair(old: Pack, new: Pack, test: int, train: int, kind: Kind, distance: float) -> Pair:
    return Pair(
        test=test,
        train=train,
        test_source=new.sources[test],
        train_source=old.sources[train],
        kind=kind,
        distance=distance,
    )


def _write(out: Path, found: list[Pair]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("test", pa.int64()),
            ("train", pa.int64()),
            ("test_source", pa.string()),
            ("train_source", pa.string()),
            ("kind", pa.string()),
            ("distance", pa.float64()),
        ]
    )
    rows = [{name: getattr(pair, name) for name in schema.names} for pair in found]
    pq.write_table(pa.Table.from_pylist(rows, schema), out / "duplicates.parquet")


def pairs(folder: Path) -> tuple[Pair, ...]:
    """What a finished step found, in the order of the test images."""
    import pyarrow.parquet as pq

    return tuple(Pair(**row) for row in pq.read_table(folder / "duplicates.parquet").to_pylist())


def excluded(folder: Path) -> Indices:
    """Rows of the test pack to leave out, ascending."""
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "duplicates.parquet", columns=["test"])["test"].to_numpy()
    return np.unique(rows).astype(np.int64)


class _Exact:
    """Finds rows of the test pack by the bytes of a file or the pixels."""

    def __init__(self, pack: Pack) -> None:
        self._rows: dict[str | bytes, list[int]] = {}
        for row, sha in enumerate(pack.hashes):
            self._rows.setdefault(sha, []).append(row)
            self._rows.setdefault(_pixel_digest(pack, row), []).append(row)

    def matches(self, pack: Pack, row: int) -> Iterator[int]:
        yield from self._rows.get(pack.hashes[row], ())
        yield from self._rows.get(_pixel_digest(pack, row), ())


def _pixel_digest(pack: Pack, row: int) -> bytes:
    image = pack.image(row)
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest()


class _Search:
    """The nearest train images of each test image, and of each mirrored one."""

    def __init__(self, old: Pack, new: Pack) -> None:
        self._old, self._new = old, new
        upright = _thumbnails(new, range(len(new)), COARSE_SIDE)
        self._queries = _unit(np.concatenate([upright, upright[:, :, ::-1]]))
        self._rows = np.zeros(len(self._queries), np.int64)
        self._likeness = np.full(len(self._queries), -1, np.float32)

    def look_at(self, rows: range) -> None:
        """Keep for each query the nearest of `rows`, where it is nearer than those before."""
        vectors = _unit(_thumbnails(self._old, rows, COARSE_SIDE))
        for start in range(0, len(self._queries), BATCH):
            mine = slice(start, start + BATCH)
            likeness = self._queries[mine] @ vectors.T
            best = likeness.argmax(1)
            values = likeness[np.arange(len(best)), best]
            nearer = values > self._likeness[mine]
            self._rows[mine][nearer] = best[nearer] + rows.start
            self._likeness[mine][nearer] = values[nearer]

    def confirmed(self) -> dict[int, tuple[int, float]]:
        """Test row -> train row and distance of its near-duplicate, where it has one."""
        if not len(self._old) or not len(self._new):
            return {}
        typical, likeness = self._typical()
        queries = np.flatnonzero(_distance(self._likeness) < MAX_RATIO * _distance(likeness))
        side = min(FINE_SIDE, self._old.side, self._new.side)
        distance = 1 - self._details(queries, self._rows[queries], side)
        hopeful = distance < STRICTNESS
        queries, distance = queries[hopeful], distance[hopeful]
        usual = np.median([1 - self._details(queries, t[queries], side) for t in typical], 0)
        if side >= TINY_SIDE:
            near = distance < np.maximum(STRICTNESS * usual**POWER, EQUAL)
        else:
            near = distance < STRICTNESS_TINY * usual**POWER
        found: dict[int, tuple[int, float]] = {}
        for query, value in zip(queries[near].tolist(), distance[near].tolist(), strict=True):
            test = query % len(self._new)
            if test not in found or value < found[test][1]:
                found[test] = (int(self._rows[query]), max(0.0, value))
        return found

    def _typical(self) -> tuple[list[Indices], Floats]:
        """Train rows that are alike by honest chance, and the likeness of the first of them."""
        size = min(SAMPLE, len(self._old))
        sample = np.linspace(0, len(self._old) - 1, size).astype(np.int64)
        vectors = _unit(_thumbnails(self._old, sample.tolist(), COARSE_SIDE))
        first = min(max(4, size // TYPICAL_SHARE), size - 1)
        last = min(first + NUM_TYPICAL, size)
        rows = np.empty((len(self._queries), last - first), np.int64)
        likeness = np.empty(len(self._queries), np.float32)
        for start in range(0, len(self._queries), BATCH):
            mine = slice(start, start + BATCH)
            far = -(self._queries[mine] @ vectors.T)
            order = np.argpartition(far, range(first, last), axis=1)[:, first:last]
            rows[mine] = sample[order]
            likeness[mine] = -np.take_along_axis(far, order[:, :1], 1)[:, 0]
        return list(rows.T), likeness

    def _details(self, queries: Indices, rows: Indices, side: int) -> Floats:
        """Correlation of the details of pairs at their best alignment, -1..1."""
        out = np.empty(len(queries), np.float32)
        for start in range(0, len(queries), BATCH):
            mine = slice(start, start + BATCH)
            out[mine] = self._aligned(queries[mine], rows[mine].tolist(), side)
        return out

    def _aligned(self, queries: Indices, rows: list[int], side: int) -> Floats:
        tests = (queries % len(self._new)).tolist()
        mirrored = (queries >= len(self._new))[:, None, None]

        def test(zoom: float) -> Floats:
            upright = _thumbnails(self._new, tests, side, zoom)
            return np.where(mirrored, upright[:, :, ::-1], upright)

        best = _correlation(test(1), _thumbnails(self._old, rows, side))
        for zoom in ZOOMS:
            best = np.maximum(best, _correlation(test(zoom), _thumbnails(self._old, rows, side)))
            cut = _thumbnails(self._old, rows, side, zoom)
            best = np.maximum(best, _correlation(test(1), cut))
        return best


def _thumbnails(pack: Pack, rows: "range | list[int]", side: int, zoom: float = 1) -> Floats:
    """Grey means over areas of the central `zoom` of images: N × side × side, 0..255."""
    from PIL import Image

    out = np.empty((len(rows), side, side), np.float32)
    for place, row in enumerate(rows):
        pixels = pack.image(row)
        image = Image.fromarray(pixels[..., 0] if pack.channels == 1 else pixels).convert("L")
        width, height = image.size
        left, top = width * (1 - zoom) / 2, height * (1 - zoom) / 2
        box = (left, top, width - left, height - top)
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


def _correlation(one: Floats, other: Floats) -> Floats:
    """Of the details of images, N × S × S, at the best shift; -1..1."""
    from scipy.ndimage import uniform_filter

    one, other = (x - uniform_filter(x, (0, BLUR, BLUR), mode="nearest") for x in (one, other))
    side = one.shape[1]
    most = min(SHIFT, side // 8)
    centre = _unit(one[:, most : side - most, most : side - most])
    best = np.full(len(one), -1, np.float32)
    for down in range(2 * most + 1):
        for right in range(2 * most + 1):
            height = side - 2 * most
            window = _unit(other[:, down : down + height, right : right + height])
            best = np.maximum(best, np.einsum("nd,nd->n", centre, window))
    return best
