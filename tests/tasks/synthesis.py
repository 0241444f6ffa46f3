"""Small fits and synthetic sets of digits, for the tests of what generates."""

import io
import itertools
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image

from tasks.fit import fit
from tasks.generate import sample
from tasks.packs import read_all
from tasks.specs import FitSpec, ImagesSpec, Plugin, SampleSpec, SetSpec
from tests.tasks.trials import Memory

TRAINING = (6,) * 10
COUNTS = (3, 0, 5, 2, 1, 1, 1, 1, 1, 1)
IMAGES = ImagesSpec(pack="p", split_seed=0, validation=(1,) * 10, training=TRAINING)

Job = tuple[SampleSpec, Path, Path, Path]
"""A shard, weights, the real images, and where to write."""
ROOT = Path(__file__).parents[2]
ELSEWHERE = """
import pickle, sys, torch
from tasks.generate import sample
from tasks.packs import read_all
torch.set_num_threads(1)
for job in pickle.load(sys.stdin.buffer):
    read_all(sample(*job))
"""


def fitted(
    generator: Plugin, pack: Path, out: Path, checkpoints: Memory | None = None, seed: int = 0
) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    spec = FitSpec(generator=generator, images=IMAGES, seed=seed)
    read_all(fit(spec, pack, out, checkpoints or Memory(), "cpu"))
    return out


def a_set(generator: Plugin, sampling: Any, seed: int = 0) -> SetSpec:
    return SetSpec(
        fit="f", sampling=sampling, counts=COUNTS, seed=seed, generator=generator, images=IMAGES
    )


def make_shard(spec: SampleSpec, weights: Path, pack: Path, out: Path) -> Path:
    out.mkdir(parents=True)
    read_all(sample(spec, weights, pack, out, "cpu"))
    return out


def make_shards_elsewhere(jobs: Sequence[Job]) -> None:
    """In another process, as a worker would."""
    for *_, out in jobs:
        out.mkdir(parents=True)
    given = pickle.dumps([(*job, "cpu") for job in jobs])
    subprocess.run([sys.executable, "-c", ELSEWHERE], input=given, cwd=ROOT, check=True)


def rows_of(
    synthetic: SetSpec, cuts: Sequence[int], weights: Path, pack: Path, out: Path
) -> list[Any]:
    """The rows of a set made in shards from one of `cuts` to the next."""
    rows: list[Any] = []
    for start, stop in itertools.pairwise(cuts):
        spec = SampleSpec(synthetic=synthetic, start=start, stop=stop)
        rows += read_rows(make_shard(spec, weights, pack, out / f"{start}-{stop}"))
    return rows


def read_rows(shard: Path) -> list[Any]:
    rows: list[Any] = pq.read_table(shard / "shard.parquet").to_pylist()
    return rows


def pixels_of(rows: list[Any]) -> npt.NDArray[np.int64]:
    images = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]
    return np.stack(images).astype(np.int64)
