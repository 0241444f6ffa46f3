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

import torch
import yaml

from tasks import plugins
from tasks.cas import cas
from tasks.fit import fit
from tasks.generate import sample
from tasks.pack import gather
from tasks.packs import Pack, Pixels, read_all, select_first, write_pack
from tasks.reference import reference_model, reference_recipe
from tasks.results import read_result
from tasks.sheets import SheetRow, draw_sheet, fitted, write_sheet
from tasks.specs import (
    CasSpec,
    CellSpec,
    Counts,
    FitSpec,
    GatherSpec,
    ImagesSpec,
    Plugin,
    SampleSpec,
    SetSpec,
    SyntheticImages,
)

SHEET_IMAGES = 10


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
    chosen: Plugin, sampling: Any, train: Path, test: Path, num_real: int, per_class: int, seed: int
) -> tuple[dict[str, Any], Pack]:
    """Fit, sample and score one generator; the pack of its samples too."""
    work = Path(tempfile.mkdtemp(dir=train.parent))
    real = Pack(train)
    counts: Counts = tuple(min(num_real // 10, int(n)) for n in _per_class(real))
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
    found = {
        "cas": read_result(folders["cas"])["cas"],
        "fit_s": fit_s,
        "images_per_s": 10 * per_class / sample_s,
        "num_parameters": result["num_parameters"],
        "losses": result["losses"],
    }
    return found, Pack(folders["gather"])


def _per_class(pack: Pack) -> list[int]:
    return [int((pack.labels == label).sum()) for label in range(len(pack.classes))]


def sheet(name: str, pack: Pack, path: Path) -> None:
    """Draw ten samples of each class."""
    chosen = select_first(pack, tuple(min(SHEET_IMAGES, n) for n in _per_class(pack)))
    rows = []
    for label, each in enumerate(pack.classes):
        images: tuple[Pixels, ...] = tuple(
            fitted(pack.image(int(row))) for row in chosen if pack.labels[row] == label
        )
        rows.append(SheetRow(label=each, note="", images=images))
    write_sheet(path, draw_sheet(name, rows))


def settings(given: Sequence[str], name: str) -> tuple[Any, Any]:
    """The Config and the Sampling of a generator, with what `--set` says of them."""
    values: dict[str, dict[str, Any]] = {"Config": {}, "Sampling": {}}
    for text in given:
        path, _, value = text.partition("=")
        owner, _, key = path.partition(".")
        if owner == name:
            part = "Sampling" if key.startswith("sampling.") else "Config"
            values[part][key.removeprefix("sampling.")] = yaml.safe_load(value)
    return tuple(  # type: ignore[return-value]
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
        for name in asked.only:
            config, sampling = settings(asked.given, name)
            chosen = plugins.plugin("generators", name, config)
            for seed in asked.seeds:
                figures, pack = measured(
                    chosen, sampling, train, test, asked.num_real, asked.per_class, seed
                )
                found.setdefault(name, []).append(figures)
                shown = ", ".join(f"{key} {value:.4g}" for key, value in figures["losses"].items())
                print(
                    f"{name:12s} seed {seed}: CAS {figures['cas']:.3f}, fit {figures['fit_s']:.0f} "
                    f"s, {figures['images_per_s']:.0f} images/s ({shown})",
                    flush=True,
                )
                if asked.sheets:
                    asked.sheets.mkdir(parents=True, exist_ok=True)
                    sheet(name, pack, asked.sheets / f"{name}.png")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"generators": found, "peak_memory_bytes": peak}))


if __name__ == "__main__":
    main()
