"""Classification accuracy score: what a classifier knows of real images that saw synthetic ones.

Ravuri & Vinyals, "Classification accuracy score for conditional generative models" (arXiv
1905.10887): train on the synthetic set alone, test on real images. The weights after the last step
are tested, so that no real image chooses among them.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from tasks.packs import Pack
from tasks.predict import predict
from tasks.predictions import load_predictions
from tasks.reference import sized
from tasks.results import write_result
from tasks.specs import CasSpec, Checkpoints, EvaluateSpec, Key, Progress, TrialSpec, Work
from tasks.train import train


def cas(
    spec: CasSpec,
    packs: Mapping[Key, Path],
    out: Path,
    checkpoints: Checkpoints,
    device: str = "cpu",
) -> Work:
    """Train and test; `result.json` holds `cas`, the top-1 accuracy on the test images.

    Args:
        packs: folders of the packs that the cell names, and of the test pack.
    """
    started = time.perf_counter()
    trial = "0" * 64
    trained = Progress(done=spec.cell.recipe.steps, total=spec.cell.recipe.steps)
    cell = sized(spec.cell, Pack(packs[spec.cell.images.pack]))
    yield from train(TrialSpec(cell=cell, seed=spec.seed), packs, out, checkpoints, device)
    # In cross-validation the test pack is the train pack, a fold of which is what is tested on.
    held_out = spec.cell.images if spec.cell.images.fold is not None else None
    evaluation = EvaluateSpec(trial=trial, test=spec.test, held_out=held_out, classes=spec.classes)
    for _ in predict(evaluation, {trial: out, spec.test: packs[spec.test]}, out, device):
        yield trained
    last = load_predictions(out / "predictions.npz").by("last", spec.classes)
    top1 = float((last.probabilities.argmax(1) == last.labels).mean())
    write_result(
        out,
        {
            "cas": top1,
            "images": sum(sum(each.counts) for each in spec.cell.sets),
            "steps": spec.cell.recipe.steps,
            "seconds": time.perf_counter() - started,
        },
    )
    for name in ("selected", "last"):
        (out / f"{name}.safetensors").unlink(missing_ok=True)
    yield trained
