"""How much faster two workers edit a folder than one, and whether they write the same bytes.

    python benchmarks/edit_folder.py [--input-dir FOLDER] [--images 1000] [--workers 1 2]
        [--rounds 1] [--side 16] [--steps 2]

`augury generate` on a folder of real images (scikit-learn's digits unless told otherwise) with two
prompts, `instruct_pix2pix` with a small network of random weights, and each number of workers.
`edits_per_s` is of whole commands, starts and ends included; `between_files` of the time from the
first image written to the last. Every worker has one thread. Prints one JSON object on its last
line.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.editing import SMALL, random_checkpoint

PROMPTS = ("in the snow", "at night")


def main() -> None:
    """Measure whole commands."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input-dir", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(asked, Path(folder))))


def measure(asked: Any, folder: Path) -> dict[str, Any]:
    """Seconds by number of workers; all rounds must have written the same images."""
    given = folder / "images"
    if asked.input_dir is None:
        _write_digits(given, asked.images)
    else:
        _copy(asked.input_dir, given, asked.images)
    (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    checkpoint = random_checkpoint(folder / "pipeline", SMALL)
    edits = asked.images * len(PROMPTS)
    whole: dict[int, list[float]] = {number: [] for number in asked.workers}
    between: dict[int, list[float]] = {number: [] for number in asked.workers}
    written = set()
    for turn in range(asked.rounds):
        for workers in asked.workers[:: -1 if turn % 2 else 1]:
            out = folder / "out"
            command = [
                *(sys.executable, "-m", "orchestrator", "generate"),
                *("--input-dir", given, "--prompts-file", folder / "prompts.txt"),
                *("--output-dir", out, "--editor", "instruct_pix2pix"),
                *("--checkpoint", checkpoint, "--num-workers", workers, "--device", "cpu"),
                *("--set", f"steps={asked.steps}", "--set", f"size={asked.side}"),
            ]
            begun = time.perf_counter()
            subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
            whole[workers].append(edits / (time.perf_counter() - begun))
            files = sorted(out.glob("[!.]*/**/*__*.png"))
            assert len(files) == edits, f"{len(files)} of {edits} edits"
            moments = [file.stat().st_mtime for file in files]
            between[workers].append(edits / (max(moments) - min(moments)))
            written.add(_digest(out, files))
            shutil.rmtree(out)
    first, *more = asked.workers
    return {
        "edits": edits,
        "cores": os.cpu_count(),
        "same_bytes": len(written) == 1,
        "digests": sorted(each[:16] for each in written),
        "edits_per_s": {number: round(statistics.median(whole[number]), 2) for number in whole},
        "between_files": {number: round(statistics.median(between[number]), 2) for number in whole},
        **{
            f"{number} / {first}": {
                "edits_per_s": _ratios(whole[number], whole[first]),
                "between_files": _ratios(between[number], between[first]),
            }
            for number in more
        },
    }


def _ratios(one: list[float], other: list[float]) -> list[float]:
    """In each round."""
    return [round(a / b, 3) for a, b in zip(one, other, strict=True)]


def _write_digits(folder: Path, number: int) -> None:
    digits = load_digits()
    for at, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if at == number:
            break
        path = folder / str(label) / f"{at:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype("uint8")).save(path)


def _copy(source: Path, folder: Path, number: int) -> None:
    found = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in (".png", ".jpg"))
    for path in itertools.islice(found, number):
        to = folder / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)


def _digest(out: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(out).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
