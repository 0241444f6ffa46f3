"""Fashion-MNIST: 60,000 + 10,000 grey images of 28 × 28 in ten classes of clothing.

Source: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747, 2017; MIT licence. Read from the four
published IDX files, gzipped or not.
"""

import functools
import gzip
import hashlib
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic.dataclasses import dataclass

from tasks.caches import cache_dir
from tasks.errors import InputError
from tasks.packs import Example, split_digest
from tasks.reading import DataMissing, FileFacts
from tasks.specs import STRICT, DatasetInfo, Locator, SplitInfo

VERSION = 1
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PREFIXES = {"train": "train", "test": "t10k"}
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
"""As published by the authors."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where the IDX files are, and where they are published."""

    root: Locator[str | None] = None
    """Folder of the four files; None is this machine's cache, filled by download."""
    mirror: Locator[str] = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"


class FashionMNIST:
    """Reads the IDX files."""

    def __init__(self, config: Config) -> None:
        self.mirror = config.mirror
        self.root = Path(config.root) if config.root else cache_dir() / "fashion_mnist"

    def identify(self, facts: FileFacts) -> DatasetInfo:
        splits = {}
        for split in PREFIXES:
            images, labels = self._file(split, "images-idx3"), self._file(split, "labels-idx1")
            # The labels' own digest takes part, so that a changed label file is noticed.
            stamp = facts(labels, "sha256", lambda path: hashlib.sha256(_bytes(path)).hexdigest())
            text = facts(images, f"labels {stamp}", functools.partial(self._summary, split))
            found = json.loads(text)
            splits[split] = SplitInfo(digest=found["digest"], counts=tuple(found["counts"]))
        return DatasetInfo(classes=CLASSES, splits=splits, image_bytes=28 * 28)

    def read(self, split: str) -> Iterator[Example]:
        images = _idx(self._file(split, "images-idx3"), 3)
        labels = _idx(self._file(split, "labels-idx1"), 1)
        if len(images) != len(labels):
            raise InputError(
                f"fashion_mnist: {len(images)} {split} images but {len(labels)} labels in "
                f"{str(self.root)!r}"
            )
        if labels.size and labels.max() >= len(CLASSES):
            row = int(labels.argmax())
            raise InputError(
                f"fashion_mnist: {split} label {row} is {labels[row]}; 0 to 9 would do"
            )
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            sha = hashlib.sha256(image.tobytes()).hexdigest()
            yield Example(
                pixels=image[..., None], label=int(label), source=f"{index:05d}", sha256=sha
            )

    def fetch(self) -> None:
        """Download what is missing into `root`; each file is checked before it gets its name."""
        for name, md5 in MD5.items():
            if not any((self.root / n).exists() for n in (name, name.removesuffix(".gz"))):
                _download(f"{self.mirror}/{name}", self.root / name, md5)

    def _summary(self, split: str, _: Path) -> str:
        counts: Counter[int] = Counter()
        lines = []
        for example in self.read(split):
            counts[example.label] += 1
            lines.append((CLASSES[example.label], example.source, example.sha256))
        per_class = [counts[label] for label in range(len(CLASSES))]
        return json.dumps({"digest": split_digest(lines), "counts": per_class})

    def _file(self, split: str, part: str) -> Path:
        name = f"{PREFIXES[split]}-{part}-ubyte"
        for candidate in (self.root / f"{name}.gz", self.root / name):
            if candidate.is_file():
                return candidate
        raise DataMissing(
            f"fashion_mnist: {name}.gz is not in {str(self.root)!r}; expected the four IDX files "
            f"published at github.com/zalandoresearch/fashion-mnist"
        )


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"fashion_mnist: {str(path)!r} is damaged ({error}): fetch it again"
        ) from error


def _idx(path: Path, dims: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes (format: Y. LeCun's MNIST page)."""
    data = _bytes(path)
    header = 4 + 4 * dims
    if len(data) < header or data[:4] != bytes((0, 0, 8, dims)):
        raise InputError(f"fashion_mnist: {str(path)!r} is no IDX file of {dims}-d unsigned bytes")
    shape = struct.unpack(f">{dims}I", data[4:header])
    if len(data) - header != int(np.prod(shape)):
        raise InputError(
            f"fashion_mnist: {str(path)!r} holds {len(data) - header} bytes, its header says "
            f"{int(np.prod(shape))}: fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _download(url: str, path: Path, md5: str) -> None:
    import httpx

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=30) as response:
            response.raise_for_status()
            with part.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    digest.update(chunk)
        if digest.hexdigest() != md5:
            raise InputError(
                f"fashion_mnist: {url} gave md5 {digest.hexdigest()}, published is {md5}: try "
                f"again, or put the file into {str(path.parent)!r} yourself"
            )
        part.replace(path)
    except httpx.HTTPError as error:
        raise DataMissing(
            f"fashion_mnist: {path.name} is not in {str(path.parent)!r} and {url} cannot be "
            f"fetched ({error}): put the file there yourself"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def build(config: Config) -> FashionMNIST:
    """Return the reader."""
    return FashionMNIST(config)
