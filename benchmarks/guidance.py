"""How much guidance by CLIP raises the share of samples that show the class asked for.

    python benchmarks/guidance.py [--data digits|FOLDER] [--seeds 0 1 2]

Fits `clip_guided` on real images, and says which share of its samples a classifier of real images
assigns to the class asked for, by the scale of the guidance, all from the same noise. Computes on
one thread. Prints one JSON object on its last line.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.generators import NoCheckpoints, packed
from tasks import plugins
from tasks.extraction import Extractor
from tasks.extractor import fit_extractor
from tasks.fit import fit
from tasks.generation import Generator, image_info
from tasks.generators import clip_guided
from tasks.packs import Pack, read_all
from tasks.reference import reference_model, reference_recipe
from tasks.specs import CellSpec, ExtractorSpec, FitSpec, ImagesSpec

CLASSES = 10
SCALES = (0.0, 0.5, 1.0, 2.0, 4.0)


def main() -> None:
    """Measure guidance."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = [guidance(asked.data, seed, Path(folder)) for seed in asked.seeds]
    print(json.dumps({"guidance": found}))


def guidance(data: str, seed: int, folder: Path) -> dict[str, Any]:
    """Share of samples that are taken for the class asked for, by scale of the guidance.

    Generator and classifier (the small one of measures) are fitted on 1,000 real images. The
    denoiser is told no class, and the noise is the same at all scales.
    """
    work = folder / str(seed)
    work.mkdir()
    train, test = (packed(data, split, work / split) for split in ("train", "test"))
    real = Pack(train)
    held = [int((real.labels == label).sum()) for label in range(CLASSES)]
    images = ImagesSpec(
        pack="p",
        split_seed=0,
        validation=(5,) * CLASSES,
        training=tuple(min(100, number - 5) for number in held),
    )
    look = classifier(images, train, work, seed)
    generator, fit_s = _fitted(images, train, work, seed)
    labels = torch.arange(CLASSES).repeat(25)
    shares = {}
    for scale in SCALES:
        rngs = [torch.Generator().manual_seed(index) for index in range(len(labels))]
        made = generator.sample(labels, rngs, clip_guided.Sampling(clip_scale=scale))
        shares[str(scale)] = _share(look, made, labels)
    unseen = Pack(test)
    rows = np.arange(min(1000, len(unseen.labels)), dtype=np.int64)
    found = {
        "seed": seed,
        "share_by_scale": shares,
        "share_of_real": _share(look, unseen.batch(rows), torch.from_numpy(unseen.labels[rows])),
        "images": len(labels),
        "fit_s": round(fit_s, 1),
    }
    print(f"guidance: {json.dumps(found)}", flush=True)
    return found


def _share(look: Extractor, images: Tensor, labels: Tensor) -> float:
    """Of images that are taken for their class."""
    probabilities = look(images).probabilities
    assert probabilities is not None
    return round(float((torch.from_numpy(probabilities).argmax(1) == labels).double().mean()), 3)


def classifier(images: ImagesSpec, pack: Path, work: Path, seed: int) -> Extractor:
    out = work / "classifier"
    out.mkdir()
    cell = CellSpec(
        images=images,
        sets=(),
        model=reference_model(),
        recipe=reference_recipe(sum(images.training)),
        num_classes=CLASSES,
    )
    spec = ExtractorSpec(cell=cell, seed=seed)
    read_all(fit_extractor(spec, {"p": pack}, out, NoCheckpoints(), "cpu"))
    built: Extractor = plugins.build(
        "extractors", plugins.plugin("extractors", "classifier"), out, "cpu"
    )
    return built


def _fitted(images: ImagesSpec, pack: Path, work: Path, seed: int) -> tuple[Generator, float]:
    """`clip_guided` with its defaults, and the processor time of its fit."""
    out = work / "fit"
    out.mkdir()
    chosen = plugins.plugin("generators", "clip_guided")
    begun = time.process_time()
    spec = FitSpec(generator=chosen, images=images, seed=seed)
    read_all(fit(spec, pack, out, NoCheckpoints(), "cpu"))
    seconds = time.process_time() - begun
    generator: Generator = plugins.build("generators", chosen, image_info(Pack(pack))[0])
    generator.load_sampler_state(load_file(out / "weights.safetensors"))
    return generator, seconds


if __name__ == "__main__":
    main()
