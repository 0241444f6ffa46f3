"""IDX, the format of MNIST's four files and of those made in its likeness, gzipped or not.

Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, yann.lecun.com/exdb/mnist.
"""

import functools
import gzip
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.datasets._arrays import Arrays, ArrayStore
from tasks.datasets._fetch import download
from tasks.errors import InputError
from tasks.reading import DataMissing

PREFIXES = {"train": "train", "test": "t10k"}
"""Of the file names of a split."""


def idx_store(name: str, root: Path, classes: tuple[str, ...], published: str) -> ArrayStore:
    """The four files below `root`.

    Args:
        published: where they can be had, for the message.

    Raises DataMissing where one is not there.
    """
    files, splits = [], {}
    for split, prefix in PREFIXES.items():
        images = _file(name, root, f"{prefix}-images-idx3-ubyte", published)
        labels = _file(name, root, f"{prefix}-labels-idx1-ubyte", published)
        files += [images, labels]
        splits[split] = functools.partial(_arrays, name, images, labels)
    return ArrayStore(name, classes, files, splits)


def fetch_idx(name: str, root: Path, mirror: str, md5: Mapping[str, str]) -> None:
    """Download the gzipped files that are missing; each is checked before it gets its name."""
    for file, known in md5.items():
        if not any((root / each).exists() for each in (file, file.removesuffix(".gz"))):
            download(name, f"{mirror}/{file}", root / file, known)


def _file(name: str, root: Path, file: str, published: str) -> Path:
    for candidate in (root / f"{file}.gz", root / file):
        if candidate.is_file():
            return candidate
    raise DataMissing(
        f"{name}: {file}.gz is not in {str(root)!r}; expected the four IDX files published at "
        f"{published}"
    )


def _arrays(name: str, images: Path, labels: Path) -> Arrays:
    stored = _idx(name, images, 3)
    numbers = _idx(name, labels, 1).astype(np.int64)
    return Arrays(stored=stored, pixels=stored[..., None], labels=numbers)


def _bytes(name: str, path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name}: {str(path)!r} is damaged ({error}): fetch it again") from error


def _idx(name: str, path: Path, dims: int) -> npt.NDArray[np.uint8]:
    data = _bytes(name, path)
    header = 4 + 4 * dims
    if len(data) < header or data[:4] != bytes((0, 0, 8, dims)):
        raise InputError(f"{name}: {str(path)!r} is no IDX file of {dims}-d unsigned bytes")
    shape = struct.unpack(f">{dims}I", data[4:header])
    if len(data) - header != int(np.prod(shape)):
        raise InputError(
            f"{name}: {str(path)!r} holds {len(data) - header} bytes, its header says "
            f"{int(np.prod(shape))}: fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
