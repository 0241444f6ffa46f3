"""Fits the small classifier whose features measures, audits and filters compare images by."""

from collections.abc import Mapping
from pathlib import Path

from tasks.packs import Pack
from tasks.reference import sized
from tasks.specs import Checkpoints, ExtractorSpec, Key, TrialSpec, Work
from tasks.train import train


def fit_extractor(
    spec: ExtractorSpec,
    packs: Mapping[Key, Path],
    out: Path,
    checkpoints: Checkpoints,
    device: str = "cpu",
) -> Work:
    """Train on the real images of its cell, and write weights and figures as a trial does."""
    cell = sized(spec.cell, Pack(packs[spec.cell.images.pack]))
    yield from train(TrialSpec(cell=cell, seed=spec.seed), packs, out, checkpoints, device)
