"""What each generator makes of 1,000 digits in a minute of one core, by how well it trains.

    python benchmarks/generators.py [--only NAME ...] [--data digits|FOLDER] [--per-class 100]
        [--seeds 0] [--sheets DIR] [--set NAME.KEY=VALUE ...]

For every file of `tasks/generators/`, with its defaults: processor time and memory of the fit,
images/s of the sampler, CAS (top-1 on real test images of `small_cnn` trained on its samples alone;
chance is 0.10) and, against the training images, FID and KID in the features of the same
`small_cnn` trained on them. Everything computes on one thread. `--sheets` writes a sheet of samples
for each. Prints one JSON object on its last line.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from tasks import plugins
from tasks.cas import cas
from tasks.extraction import Features, load_features
from tasks.extractor import fit_extractor
from tasks.features import extract
from tasks.fit import fit
from tasks.generate import sample
from tasks.measures.frechet import frechet_distance
from tasks.measures.kernel import kernel_distance
from tasks.pack import gather
from tasks.packs import Pack, read_all, select, select_first, write_pack
from tasks.reference import reference_model, reference_recipe
from tasks.results import read_result
from tasks.specs import (
    CasSpec,
    CellSpec,
    Counts,
    ExtractorSpec,
    FeaturesSpec,
    FitSpec,
    GatherSpec,
    ImagesSpec,
    Plugin,
    SampleSpec,
    SetSpec,
    SyntheticImages,
)

SHEET_IMAGES = 10
SHEET_SIDE = 320
"""Pixels of a sheet of samples, about."""
GAP = 1
"""White pixels between images."""


class NoCheckpoints:
    """A fit of a minute is not kept half-done."""

    def load(self) -> None:
        """There is never a state."""

    def save_if_due(self, state: Any) -> None:
        """Keeps nothing."""


def packed(data: str, split: str, out: Path) -> Path:
    """A split of digits, or of a folder that Fashion-MNIST's files lie in, as a pack."""
    if data == "digits":
        dataset = plugins.plugin("datasets", "digits")
    else:
        config = plugins.module("datasets", "fashion_mnist").Config(root=data)
        dataset = plugins.plugin("datasets", "fashion_mnist", config)
    reader = plugins.build("datasets", dataset)
    out.mkdir()
    classes = reader.classes if hasattr(reader, "classes") else tuple(map(str, range(10)))
    read_all(write_pack(out, lambda: reader.read(split), classes, None, 1))
    return out


def measured(
    chosen: Plugin,
    sampling: Any,
    train: Path,
    test: Path,
    extractor: Path,
    counts: Counts,
    per_class: int,
    seed: int,
) -> tuple[dict[str, Any], Pack]:
    """Fit, sample and score one generator; the pack of its samples too.

    Args:
        counts: real images of each class that it is fitted on.
    """
    work = Path(tempfile.mkdtemp(dir=train.parent))
    real = Pack(train)
    images = ImagesSpec(pack="train", split_seed=0, validation=(0,) * 10, training=counts)
    folders = {name: work / name for name in ("fit", "sample", "gather", "cas")}
    for folder in folders.values():
        folder.mkdir()
    begun = time.process_time()
    fit_spec = FitSpec(generator=chosen, images=images, seed=seed)
    read_all(fit(fit_spec, train, folders["fit"], NoCheckpoints(), "cpu"))
    fit_s = time.process_time() - begun
    synthetic = SetSpec(
        fit="fit",
        sampling=sampling,
        counts=(per_class,) * 10,
        seed=seed,
        generator=chosen,
        images=images,
    )
    begun = time.process_time()
    shard = SampleSpec(synthetic=synthetic, start=0, stop=10 * per_class)
    read_all(sample(shard, folders["fit"], train, folders["sample"], "cpu"))
    sample_s = time.process_time() - begun
    gathering = GatherSpec(synthetic="set", shards=("sample",), classes=real.classes, size=None)
    read_all(gather(gathering, [folders["sample"]], folders["gather"], 10 * per_class))
    cell = CellSpec(
        images=ImagesSpec(pack="train", split_seed=0, validation=(1,) * 10, training=(0,) * 10),
        sets=(SyntheticImages(pack="set", counts=(per_class,) * 10),),
        model=reference_model(),
        recipe=reference_recipe(10 * per_class),
        num_classes=10,
    )
    spec = CasSpec(cell=cell, seed=seed, test="test", classes=real.classes)
    packs = {"train": train, "test": test, "set": folders["gather"]}
    read_all(cas(spec, packs, folders["cas"], NoCheckpoints(), "cpu"))
    result = read_result(folders["fit"])
    features = {
        name: extracted(packs[name], extractor, work / f"{name} features") for name in packs
    }
    real_rows = select(real, images)[1]
    compared = (features["train"][real_rows], features["set"])
    found = {
        "cas": read_result(folders["cas"])["cas"],
        "fid": frechet_distance(*compared),
        "kid": kernel_distance(*compared).mean,
        "fit_s": fit_s,
        "images_per_s": 10 * per_class / sample_s,
        "num_parameters": result["num_parameters"],
        "losses": result["losses"],
    }
    return found, Pack(folders["gather"])


def fitted_extractor(train: Path, counts: Counts, out: Path) -> Path:
    """The small classifier whose features are compared, fitted on the real images."""
    out.mkdir()
    images = ImagesSpec(
        pack="train",
        split_seed=0,
        validation=(1,) * 10,
        training=tuple(number - 1 for number in counts),
    )
    cell = CellSpec(
        images=images,
        sets=(),
        model=reference_model(),
        recipe=reference_recipe(sum(counts)),
        num_classes=10,
    )
    spec = ExtractorSpec(cell=cell, seed=0)
    read_all(fit_extractor(spec, {"train": train}, out, NoCheckpoints(), "cpu"))
    return out


def extracted(pack: Path, extractor: Path, out: Path) -> Features:
    """The features of all images of a pack."""
    out.mkdir()
    chosen = plugins.plugin("extractors", "classifier")
    spec = FeaturesSpec(extractor=chosen, fitted="extractor", pack="pack")
    read_all(extract(spec, pack, extractor, out, "cpu"))
    return load_features(out).features


def _per_class(pack: Pack) -> list[int]:
    return [int((pack.labels == label).sum()) for label in range(len(pack.classes))]


def sheet(pack: Pack, path: Path) -> None:
    """Write ten samples of each class, a class a row, scaled so that pixels show."""
    chosen = select_first(pack, tuple(min(SHEET_IMAGES, n) for n in _per_class(pack)))
    images = pack.whole[chosen]
    height, width, channels = images.shape[1:]
    spaced = np.full((len(images), height + GAP, width + GAP, channels), 255, np.uint8)
    spaced[:, :height, :width] = images
    num_rows = len(pack.classes)
    grid = spaced.reshape(num_rows, -1, *spaced.shape[1:]).swapaxes(1, 2)
    drawn = Image.fromarray(grid.reshape(num_rows * spaced.shape[1], -1, channels).squeeze())
    factor = max(1, round(SHEET_SIDE / drawn.width))
    size = (drawn.width * factor, drawn.height * factor)
    drawn.resize(size, Image.Resampling.NEAREST).save(path, optimize=True)


def settings(given: Sequence[str], name: str) -> tuple[Any, Any]:
    """The Config and the Sampling of a generator, with what `--set` says of them."""
    values: dict[str, dict[str, Any]] = {"Config": {}, "Sampling": {}}
    for text in given:
        path, _, value = text.partition("=")
        owner, _, key = path.partition(".")
        if owner == name:
            part = "Sampling" if key.startswith("sampling.") else "Config"
            values[part][key.removeprefix("sampling.")] = yaml.safe_load(value)
    return tuple(
        plugins.adapter("generators", name, part).validate_json(json.dumps(found))
        for part, found in values.items()
    )


def main() -> None:
    """Fit, sample and score each generator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=plugins.names("generators"))
    parser.add_argument("--data", default="digits")
    parser.add_argument("--num-real", type=int, default=1000)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--set", nargs="*", default=[], dest="given")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        train, test = (packed(asked.data, each, Path(folder, each)) for each in ("train", "test"))
        counts = tuple(min(asked.num_real // 10, n) for n in _per_class(Pack(train)))
        extractor = fitted_extractor(train, counts, Path(folder, "extractor"))
        for name in asked.only:
            config, sampling = settings(asked.given, name)
            chosen = plugins.plugin("generators", name, config)
            for seed in asked.seeds:
                figures, pack = measured(
                    chosen, sampling, train, test, extractor, counts, asked.per_class, seed
                )
                found.setdefault(name, []).append(figures)
                print(
                    f"{name:12s} seed {seed}: CAS {figures['cas']:.3f}, FID {figures['fid']:.2f}, "
                    f"fit {figures['fit_s']:.0f} s, {figures['images_per_s']:.0f} images/s",
                    flush=True,
                )
                if asked.sheets:
                    asked.sheets.mkdir(parents=True, exist_ok=True)
                    sheet(pack, asked.sheets / f"{name}.png")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"generators": found, "peak_memory_bytes": peak}))


if __name__ == "__main__":
    main()
