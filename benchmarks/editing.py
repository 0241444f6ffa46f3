"""How fast images are edited, beside a plain loop over a pipeline of diffusers; what SDEdit does.

    python benchmarks/editing.py [--images 8] [--rounds 3] [--side 128] [--steps 10] [--full]
        [--device cuda]
    python benchmarks/editing.py --strengths [--data digits|FOLDER] [--num-real 1000]
        [--fit-steps N] [--judge-real N] [--sheet FILE]

Images/s of `instruct_pix2pix` with random weights, through Augury and by a loop that calls the same
pipeline of diffusers once an image with its defaults. The network is a small one; `--full` makes
it as large as Stable Diffusion's, for a GPU. On a CPU both have one thread, and processor time
counts. Rounds alternate; the ratio is taken in each.

`--strengths` fits a `ddpm` on real images, edits test images by `sdedit` at strengths 0.25 to 1,
and says which share of the edits a classifier of real images (`--judge-real` of them, else those of
the fit) takes for their class, and how far they lie from their source and from each other (mean
absolute difference of pixels, 0..1; the latter over four edits of an image with other noise).
`--sheet` draws sources beside their edits.
Prints one JSON object on its last line.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.generators import NoCheckpoints, packed
from benchmarks.guidance import classifier
from tasks import plugins
from tasks.editing import Edit, Editor, Given
from tasks.editors import instruct_pix2pix, sdedit
from tasks.fit import fit
from tasks.generation import image_info
from tasks.packs import Pack, Pixels, read_all
from tasks.specs import FitSpec, ImagesSpec

CLASSES = 10
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
REPLICAS = 4
HELD_OUT = 5
"""Images of each class that validate the classifier."""
TOLD = 20
"""Images of each class that are edited."""
FULL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}
"""Of Stable Diffusion 1.5's U-Net."""
SMALL: dict[str, Any] = {"block_out_channels": (64, 128), "norm_num_groups": 16}
untyped: Any = diffusers


def main() -> None:
    """Measure editing, or what SDEdit does at each strength."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--strengths", action="store_true")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--num-real", type=int, default=1000)
    parser.add_argument("--fit-steps", type=int, default=sdedit.Config().ddpm.steps)
    parser.add_argument("--judge-real", type=int)
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = strengths(asked, Path(folder)) if asked.strengths else speed(asked, Path(folder))
    print(json.dumps(found))


# Speed


def speed(asked: Any, folder: Path) -> dict[str, Any]:
    """Images/s of both, and their ratio in each round."""
    checkpoint = random_checkpoint(folder / "pipeline", FULL if asked.full else SMALL)
    config = instruct_pix2pix.Config(checkpoint=str(checkpoint), steps=asked.steps, size=asked.side)
    editor: Editor = instruct_pix2pix.build(config, Given(device=asked.device))
    plain = untyped.StableDiffusionInstructPix2PixPipeline.from_pretrained(checkpoint)
    plain.to(asked.device).set_progress_bar_config(disable=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (asked.images, asked.side, asked.side, 3), np.uint8)
    clock = time.process_time if asked.device == "cpu" else time.perf_counter

    def ours() -> None:
        edits = [
            Edit(id=str(at), image=each, prompt="a cat", seed=at) for at, each in enumerate(pixels)
        ]
        for start in range(0, len(edits), editor.batch_size):
            assert all(
                each.image is not None
                for each in editor.edit(edits[start : start + editor.batch_size])
            )

    def theirs() -> None:
        for at, each in enumerate(pixels):
            plain(
                "a cat",
                image=Image.fromarray(each),
                num_inference_steps=asked.steps,
                generator=torch.Generator().manual_seed(at),
            )

    contestants: dict[str, Callable[[], None]] = {"augury": ours, "diffusers": theirs}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(asked.rounds + 1):
        for name in [*contestants][:: 1 if turn % 2 else -1]:
            begun = clock()
            contestants[name]()
            if turn:  # the first round warms up
                rates[name].append(asked.images / (clock() - begun))
    ratios = [a / b for a, b in zip(rates["augury"], rates["diffusers"], strict=True)]
    return {
        "images_per_s": {name: round(statistics.median(each), 3) for name, each in rates.items()},
        "ratio": {
            "median": round(statistics.median(ratios), 3),
            "low": round(min(ratios), 3),
            "high": round(max(ratios), 3),
        },
        "batch_size": editor.batch_size,
    }


def random_checkpoint(folder: Path, network: dict[str, Any]) -> Path:
    """Write a pipeline of random weights whose U-Net is as `network` says."""
    # Another package on the path may be called `tests` too.
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.tasks import tiny_pipelines

    checkpoint = tiny_pipelines.stable_diffusion(
        folder, "StableDiffusionInstructPix2PixPipeline", in_channels=8
    )
    kind = untyped.UNet2DConditionModel
    known = kind.load_config(checkpoint / "unet")
    torch.manual_seed(0)
    kind.from_config({**known, **network}).save_pretrained(checkpoint / "unet")
    return checkpoint


# Strengths


def strengths(asked: Any, folder: Path) -> dict[str, Any]:
    """Agreement, distance and diversity of edits by strength."""
    train, test = (packed(asked.data, split, folder / split) for split in ("train", "test"))
    images = _first(train, asked.num_real)
    look = classifier(_first(train, asked.judge_real or asked.num_real), train, folder, 0)
    config = sdedit.Config(ddpm=replace(sdedit.Config().ddpm, steps=asked.fit_steps))
    out = folder / "fit"
    out.mkdir()
    chosen = plugins.plugin("generators", "ddpm", config.ddpm)
    read_all(
        fit(FitSpec(generator=chosen, images=images, seed=0), train, out, NoCheckpoints(), "cpu")
    )
    given = Given(fitted=out, info=image_info(Pack(train))[0])
    unseen = Pack(test)
    rows = np.concatenate([np.flatnonzero(unseen.labels == c)[:TOLD] for c in range(CLASSES)])
    sources = [unseen.image(int(row)) for row in rows]
    labels = unseen.labels[rows]
    found, shown = {}, [sources]
    for strength in STRENGTHS:
        editor = sdedit.build(sdedit.Config(strength=strength), given)
        made = [_edited(editor, sources, labels, replica) for replica in range(REPLICAS)]
        shown.append(made[0])
        stacked = np.stack([np.stack(each) for each in made]).astype(np.float64) / 255
        real = np.stack(sources)[None] / 255
        pairs = [(a, b) for a in range(REPLICAS) for b in range(a)]
        found[str(strength)] = {
            "class_agreement": round(
                statistics.mean(_share(look, each, labels) for each in made), 3
            ),
            "distance_to_source": round(float(np.abs(stacked - real).mean()), 4),
            "diversity": round(
                float(np.mean([np.abs(stacked[a] - stacked[b]).mean() for a, b in pairs])), 4
            ),
        }
        print(f"strength {strength}: {json.dumps(found[str(strength)])}", flush=True)
    if asked.sheet:
        _sheet(shown, asked.sheet)
    return {"real": _share(look, sources, labels), "by_strength": found}


def _first(pack: Path, number: int) -> ImagesSpec:
    """So many training images, as many of each class."""
    held = np.bincount(Pack(pack).labels, minlength=CLASSES) - HELD_OUT
    return ImagesSpec(
        pack="p",
        split_seed=0,
        validation=(HELD_OUT,) * CLASSES,
        training=tuple(held.clip(max=number // CLASSES).tolist()),
    )


def _edited(
    editor: Editor, sources: list[Pixels], labels: npt.NDArray[np.int64], replica: int
) -> list[Pixels]:
    edits = [
        Edit(id=str(at), image=image, prompt="", seed=1000 * replica + at, label=int(label))
        for at, (image, label) in enumerate(zip(sources, labels, strict=True))
    ]
    made: dict[str, Pixels] = {}
    for start in range(0, len(edits), editor.batch_size):
        for each in editor.edit(edits[start : start + editor.batch_size]):
            assert each.image is not None
            made[each.id] = each.image
    return [made[each.id] for each in edits]


def _share(look: Any, images: list[Pixels], labels: npt.NDArray[np.int64]) -> float:
    """Of images that are taken for their class."""
    stacked = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
    probabilities = look(stacked).probabilities
    return float((probabilities.argmax(1) == labels).mean())


def _sheet(shown: list[list[Pixels]], path: Path) -> None:
    """Ten images a row, one of each class: the sources, then their edits by strength."""
    rows = [[each[TOLD * label] for label in range(CLASSES)] for each in shown]
    height, width, channels = rows[0][0].shape
    page = np.full((len(rows) * (height + 2), CLASSES * (width + 2), channels), 255, np.uint8)
    for down, row in enumerate(rows):
        for right, image in enumerate(row):
            top, left = down * (height + 2), right * (width + 2)
            page[top : top + height, left : left + width] = image
    drawn = Image.fromarray(page.squeeze())
    factor = max(1, round(640 / drawn.width))
    drawn.resize((drawn.width * factor, drawn.height * factor), Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    main()
