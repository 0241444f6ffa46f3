"""How fast images come out of noise, beside a plain loop over a pipeline of diffusers.

    python benchmarks/sampling.py [--only ddim ddpm] [--images 500] [--rounds 5] [--side 8]
        [--batch 250] [--steps 50] [--workers 2] [--device cuda] [--compile]

Images/s of (a) Augury's `sample` step, which loads the weights and writes PNGs as Parquet; (b) its
sampler alone; (c) DDIMPipeline or DDPMPipeline at its usual batch of 16 with the same network and
steps, saving PNGs; (d) the same pipeline at Augury's batch size. All have the same fresh weights.
The pipelines know no labels: to theirs the network is told one label. On a CPU every contestant has
one thread, and its processor time counts. Rounds alternate; medians are of rounds, and ratios are
taken in each. `--workers` compares so many processes with one, by the clock on the wall, each with
one thread and whole shards. Prints one JSON object on its last line.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tasks import plugins
from tasks.generate import sample
from tasks.generation import ImageInfo, image_info
from tasks.generators import ddpm
from tasks.packs import Example, Pack, read_all, write_pack
from tasks.specs import (
    ImagesSpec,
    SampleSpec,
    SetSpec,
)

CLASSES = 10
USUAL_BATCH = 16
"""Of diffusers' own training example, where it draws samples."""
untyped: Any = diffusers


class Told(nn.Module):
    """The network as an unconditional one: it is always told the same label."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.config = network.config
        self.dtype = torch.float32

    @property
    def device(self) -> torch.device:
        """Where a pipeline makes its noise."""
        return next(self.parameters()).device

    def forward(self, noisy: Tensor, timestep: Tensor) -> Any:
        labels = torch.zeros(len(noisy), dtype=torch.int64, device=noisy.device)
        return self.network(noisy, timestep, class_labels=labels)


def main() -> None:
    """Measure sampling."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=["ddim", "ddpm"], choices=["ddim", "ddpm"])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        }
    }
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(asked, Path(folder))
        found["samplers"] = {name: bench.measure(name) for name in asked.only}
        if asked.workers:
            found["workers"] = bench.workers(asked.only[0], asked.workers)
    print(json.dumps(found))


# Sampling


class Bench:
    """What all contestants share."""

    def __init__(self, asked: Any, folder: Path) -> None:
        self.asked, self.folder = asked, folder
        self.pack = folder / "pack"
        _write_pack(self.pack, asked.side)
        self.info: ImageInfo = image_info(Pack(self.pack))[0]
        config = ddpm.Config(compile=asked.compile)
        self.chosen = plugins.plugin("generators", "ddpm", config)
        torch.manual_seed(0)
        self.generator: Any = plugins.build("generators", self.chosen, self.info)
        save_file(self.generator.sampler_state(), folder / "weights.safetensors")
        self.generator.to(asked.device)
        # As `sampler_state` has it, and neither compiled nor with channels last.
        plain: Any = plugins.build(
            "generators", replace(self.chosen, config=ddpm.Config()), self.info
        )
        plain.load_sampler_state(load_file(folder / "weights.safetensors"))
        self.told = Told(plain._average).to(asked.device)

    def measure(self, name: str) -> dict[str, Any]:
        """Rounds of all contestants, after one that warms up."""
        contestants: dict[str, Callable[[], float]] = {
            "a": lambda: self._step(name),
            "b": lambda: self._bare(name),
            "c": lambda: self._pipeline(name, USUAL_BATCH),
            "d": lambda: self._pipeline(name, self.asked.batch),
        }
        for contestant in contestants.values():
            contestant()
        rates: dict[str, list[float]] = {key: [] for key in contestants}
        for turn in range(self.asked.rounds):
            # Whoever comes first or last in a round is another each time.
            keys = [*contestants][turn % 4 :] + [*contestants][: turn % 4]
            for key in keys:
                rates[key].append(contestants[key]())
        shown = {
            "images_per_s": {key: round(statistics.median(each), 1) for key, each in rates.items()},
            **{f"{one}/{two}": _ratio(rates[one], rates[two]) for one in "ab" for two in "cd"},
        }
        print(f"{name}: {json.dumps(shown)}", flush=True)
        return shown

    def shard(self, name: str, start: int, stop: int) -> SampleSpec:
        sampler: Any = name
        counts = (self.asked.images // CLASSES,) * CLASSES
        settings = ddpm.Sampling(
            sampler=sampler, steps=self.asked.steps, batch_size=self.asked.batch
        )
        images = ImagesSpec(
            pack="p", split_seed=0, validation=(0,) * CLASSES, training=(1,) * CLASSES
        )
        synthetic = SetSpec(
            fit="f", sampling=settings, counts=counts, seed=0, generator=self.chosen, images=images
        )
        return SampleSpec(synthetic=synthetic, start=start, stop=stop)

    def _step(self, name: str) -> float:
        spec = self.shard(name, 0, self.asked.images)
        with tempfile.TemporaryDirectory(dir=self.folder) as out, self._timed() as seconds:
            read_all(sample(spec, self.folder, self.pack, Path(out), self.asked.device))
        return float(self.asked.images / seconds[0])

    def _bare(self, name: str) -> float:
        settings = self.shard(name, 0, 0).synthetic.sampling
        with self._timed() as seconds:
            for size in self._batches(self.asked.batch):
                rngs = [torch.Generator().manual_seed(seed) for seed in range(size)]
                self.generator.sample(torch.arange(size) % CLASSES, rngs, settings)
        return float(self.asked.images / seconds[0])

    def _pipeline(self, name: str, batch: int) -> float:
        kind = untyped.DDIMPipeline if name == "ddim" else untyped.DDPMPipeline
        scheduler = untyped.DDIMScheduler if name == "ddim" else untyped.DDPMScheduler
        pipeline = kind(unet=self.told, scheduler=scheduler(beta_schedule="squaredcos_cap_v2"))
        pipeline.set_progress_bar_config(disable=True)
        rng = torch.Generator(self.asked.device).manual_seed(0)
        with _as_torch_comes(), self._timed() as seconds:
            for size in self._batches(batch):
                made = pipeline(
                    batch_size=size, generator=rng, num_inference_steps=self.asked.steps
                )
                for image in made.images:
                    image.save(io.BytesIO(), "PNG")
        return float(self.asked.images / seconds[0])

    def _batches(self, size: int) -> Iterator[int]:
        for start in range(0, self.asked.images, size):
            yield min(size, self.asked.images - start)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[list[float]]:
        on_gpu = self.asked.device != "cpu"
        clock = time.perf_counter if on_gpu else time.process_time
        seconds: list[float] = []
        if on_gpu:
            torch.cuda.synchronize()
        begun = clock()
        yield seconds
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(clock() - begun)

    def workers(self, name: str, number: int) -> dict[str, Any]:
        """Seconds on the wall of one process with all shards, and of several with one each."""
        size = self.asked.batch
        if self.asked.images % (number * size):
            raise SystemExit(f"--images: a multiple of {number} × {size} is shared out evenly")
        each = self.asked.images // number
        parts = [(at * each, (at + 1) * each) for at in range(number)]
        ratios, one_s, many_s = [], [], []
        for _ in range(self.asked.rounds):
            one_s.append(self._processes(name, [(0, self.asked.images)]))
            many_s.append(self._processes(name, parts))
            ratios.append(one_s[-1] / many_s[-1])
        shown = {
            "number": number,
            "one_s": round(statistics.median(one_s), 2),
            "many_s": round(statistics.median(many_s), 2),
            "speedup": _ratio(one_s, many_s),
        }
        print(f"workers: {json.dumps(shown)}", flush=True)
        return shown

    def _processes(self, name: str, parts: Sequence[tuple[int, int]]) -> float:
        """Seconds from the word to start until the last is done; imports are over by then."""
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as folder,
            contextlib.ExitStack() as stack,
        ):
            running = []
            for number, (start, stop) in enumerate(parts):
                out = Path(folder, str(number))
                out.mkdir()
                given = Path(folder, f"{number}.pickle")
                torch.save((self.shard(name, start, stop), self.folder, self.pack, out), given)
                process = subprocess.Popen(
                    [sys.executable, "-c", CHILD, str(given)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    cwd=Path(__file__).parents[1],
                )
                stack.callback(process.wait)
                stack.callback(process.kill)
                running.append(process)
            for process in running:
                _said(process, "ready")
            begun = time.perf_counter()
            for process in running:
                assert process.stdin is not None
                process.stdin.write("start\n")
                process.stdin.flush()
            for process in running:
                _said(process, "done")
            return time.perf_counter() - begun


CHILD = """
import sys
import torch
import diffusers
diffusers.UNet2DModel, diffusers.DDIMScheduler, diffusers.DDPMScheduler
from tasks.generate import sample
from tasks.packs import read_all
torch.set_num_threads(1)
spec, weights, pack, out = torch.load(sys.argv[1], weights_only=False)
print("ready", flush=True)
sys.stdin.readline()
read_all(sample(spec, weights, pack, out, "cpu"))
print("done", flush=True)
"""


def _said(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    said = process.stdout.readline()
    if said != f"{word}\n":
        raise SystemExit(f"a worker said {said!r}, not {word!r}")


@contextlib.contextmanager
def _as_torch_comes() -> Iterator[None]:
    """Without what Augury gives up in speed on a GPU to repeat itself."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    kernels = torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    yield
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = kernels


def _ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Median of the rounds' ratios, and the smallest and largest of them."""
    found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "median": round(statistics.median(found), 3),
        "low": round(min(found), 3),
        "high": round(max(found), 3),
    }


def _write_pack(out: Path, side: int) -> None:
    """One grey image of each class: the sampler asks for their shape and classes alone."""
    examples = [
        Example(
            pixels=np.full((side, side, 1), 10 * label, np.uint8),
            label=label,
            source=str(label),
            sha256=f"{label:064d}",
        )
        for label in range(CLASSES)
    ]
    out.mkdir()
    read_all(write_pack(out, lambda: examples, list(map(str, range(CLASSES))), None, CLASSES))


if __name__ == "__main__":
    main()
