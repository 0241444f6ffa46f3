"""Made-up synthetic sets: ten generators, several fits of some, and what goes wrong with sets."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.report.results import (
    AuditCase,
    AuditResult,
    CellResult,
    CostLine,
    FeatureMap,
    FilterResult,
    FitResult,
    SetResult,
    SetSample,
    StudyResult,
    TrialResult,
)
from tests.orchestrator.report.pieces import cell, png
from tests.orchestrator.report.samples import CLASSES, EVERY, digits

GENERATORS = (
    *("vanilla_gan", "lsgan", "wgan_gp", "cgan", "biggan"),
    *("vae", "dvae", "vqvae", "ddpm", "clip_guided"),
)
MEASURES = ("fid", "kid", "precision", "recall", "density", "coverage", "cas")
STAMP = {
    "extractor": "classifier",
    "weights": "small_cnn fitted on 1000 images",
    "resize": "bilinear, antialias",
    "images": "1000",
    "dtype": "float64",
}
BASE = (0.9285, 0.9184, 0.9322)
NEAR_DISTANCE = 3.0


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _noise(seed: int, side: int = 8) -> bytes:
    rng = np.random.default_rng(seed)
    return png(rng.integers(0, 256, (side, side), dtype=np.uint8))


@functools.cache
def _glyph(label: int, seed: int, side: int = 8) -> bytes:
    """A blot that differs by class: easier to look at than noise."""
    rng = np.random.default_rng(1000 * label + seed)
    y, x = np.mgrid[0:side, 0:side] / (side - 1) - 0.5
    turn = np.pi * label / 10
    wave = np.cos(9 * (x * np.cos(turn) + y * np.sin(turn)))
    pixels = 128 + 90 * wave + rng.normal(0, 25, (side, side))
    return png(pixels.clip(0, 255).astype(np.uint8))


def _losses(name: str, seed: int, *, diverges: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(len(name) + seed)
    steps = [20.0 * i for i in range(1, 101)]
    names: Sequence[str] = ("loss",)
    if "gan" in name:
        names = ("discriminator", "generator", "real", "fake", "penalty")
    elif "vae" in name:
        names = ("loss", "reconstruction", "divergence", "reconstruction_mse")
    found: dict[str, Any] = {}
    for place, loss in enumerate(names):
        fall = 10 ** (1.5 - 2 * place / 3) * np.exp(-np.arange(100) / 25) + 0.05
        values = fall * np.exp(rng.normal(0, 0.1, 100)) * (-1 if loss == "fake" else 1)
        if diverges:
            values, kept = values * np.exp(np.arange(100) / 8), 60
            found[loss] = tuple(zip(steps[:kept], values[:kept].tolist(), strict=True))
        else:
            found[loss] = tuple(zip(steps, values.tolist(), strict=True))
    return found


def _visuals(name: str) -> dict[str, Any]:
    kind = "denoising" if name in ("ddpm", "clip_guided") else "interpolation"
    rows = tuple(tuple(_glyph(c, 50 + i) for i in range(9)) for c in range(10))
    found = {kind: rows}
    if "vae" in name:
        found["reconstruction"] = tuple(tuple(_glyph(c, i) for i in range(3)) for c in range(10))
    return found


def feature_map(seed: int, num_points: int = 120) -> FeatureMap:
    """Ten clouds, in which synthetic points lie a little off."""
    rng = np.random.default_rng(seed)
    group = np.repeat([0, 1, 2], num_points)
    label = np.tile(np.arange(num_points) % 10, 3)
    centre = 8 * np.stack([np.cos(label), np.sin(2.2 * label)], 1)
    tsne = centre + rng.normal(0, 0.9, (len(group), 2)) + 0.8 * (group == 1)[:, None]
    pca = 0.3 * centre + rng.normal(0, 1.0, (len(group), 2))
    return FeatureMap(
        pca=tuple(map(tuple, pca.tolist())),
        tsne=tuple(map(tuple, tsne.tolist())),
        group=tuple(group.tolist()),
        label=tuple(label.tolist()),
    )


def audit(**changes: Any) -> AuditResult:
    """An honest set: nothing is found."""
    quantiles = {
        "synthetic_to_train": (0.31, 0.5, 1.2, 1.9, 2.8, 4.4, 6.0),
        "synthetic_to_test": (0.4, 0.61, 1.4, 2.2, 3.1, 4.9, 6.6),
        "test_to_train": (0.3, 0.52, 1.3, 2.0, 2.9, 4.5, 6.1),
    }
    found = AuditResult(
        num_images=1000,
        test_exact=0,
        test_near=0,
        train_exact=0,
        train_near=0,
        memorised=0,
        nearer_to_test=0.004,
        quantiles=quantiles,
    )
    return replace(found, **changes)


def leaking() -> AuditResult:
    """Copies of test images, memorised training images, and a gate that does not allow them."""
    cases = (
        *(_case("exact", "test", 0.0, i) for i in range(2)),
        *(_case("near", "test", NEAR_DISTANCE, 10 + i) for i in range(3)),
        *(_case("feature", "train", 0.0213, 20 + i) for i in range(4)),
    )
    return audit(
        test_exact=2,
        test_near=3,
        train_exact=1,
        train_near=4,
        memorised=12,
        nearer_to_test=0.061,
        cases=cases,
        gate="audit of dvae: 5 of 1000 synthetic images are copies of test images (2 exact, "
        "3 near), and max_test_duplicates allows 0",
    )


def _case(kind: Any, split: Any, distance: float, seed: int) -> AuditCase:
    return AuditCase(
        kind=kind,
        split=split,
        distance=distance,
        synthetic=_glyph(seed % 10, seed),
        real=_glyph(seed % 10, seed + 1),
    )


def filtered(seed: int) -> FilterResult:
    """Two filters; class 8 loses most."""
    rng = np.random.default_rng(seed)
    blank = rng.integers(0, 4, 10)
    confidence = rng.integers(5, 15, 10)
    confidence[8] = 71
    return FilterResult(
        drawn=tuple((100 + blank + confidence).tolist()),
        kept=(100,) * 10,
        dropped={"blank": tuple(blank.tolist()), "confidence": tuple(confidence.tolist())},
    )


def made_set(name: str, seed: int = 0, *, pictures: bool = True, **changes: Any) -> SetResult:
    """A set with everything that a set can have."""
    rng = np.random.default_rng(len(name) + 31 * seed + sum(map(ord, name)))
    fid = float(2 + 25 * rng.random())
    measures = {
        "fid": fid,
        "kid": fid / 4000,
        "precision": float(0.5 + 0.4 * rng.random()),
        "recall": float(0.2 + 0.6 * rng.random()),
        "density": float(0.4 + 0.8 * rng.random()),
        "coverage": float(0.4 + 0.5 * rng.random()),
        "cas": float(0.8 + 0.14 * rng.random()),
    }
    if "vae" in name:
        measures["reconstruction_mse"] = float(0.02 + 0.02 * rng.random())
    pairs = tuple((c, _glyph(c, 7), _glyph(c, 8)) for c in range(10) for _ in range(2))
    found = SetResult(
        key=_key(name, seed),
        name=name,
        group=_key(name),
        seed=seed,
        generator=name.split(" ")[0],
        per_class=(100,) * 10,
        measures=measures,
        held_out={"fid": 0.5, "precision": 0.71},
        stamp=STAMP,
        warnings=("fid of 1000 images: below 2,048 it is mostly bias",),
        images_per_s=float(20 + 400 * rng.random()),
        sampling_seconds=4.0,
        fit=FitResult(
            key=_key("fit", name, seed),
            seed=seed,
            seconds=float(20 + 60 * rng.random()),
            peak_memory_bytes=int(4e8 + 2e8 * rng.random()),
            num_parameters=int(1e5 + 2e6 * rng.random()),
            num_steps=2000,
            device="cpu",
        ),
        audit=audit(),
        losses=_losses(name, seed),
        visuals=_visuals(name) if pictures else {},
        neighbours=pairs if pictures else (),
        map=feature_map(seed + len(name)) if pictures else None,
    )
    return replace(found, **changes)


def diverged(name: str, seed: int) -> SetResult:
    """The fit failed, so there is no set."""
    whole = made_set(name, seed, pictures=False)
    assert whole.fit is not None
    error = f"{name} diverged by step 1200 (loss=nan): lower its lr; losses.json holds the history"
    fit = FitResult(key=whole.fit.key, seed=seed, error=error)
    return replace(
        whole,
        measures={},
        stamp={},
        warnings=(),
        images_per_s=None,
        sampling_seconds=0.0,
        fit=fit,
        audit=None,
        losses=_losses(name, seed, diverges=True),
    )


def set_sheet(name: str, num_classes: int = 10, num_images: int = 8, side: int = 8) -> SetSample:
    rows = tuple(
        tuple(_glyph(c % 10, len(name) + i, side) for i in range(num_images))
        for c in range(num_classes)
    )
    return SetSample(name=name, images=rows)


def sheets_for(
    sets: Sequence[SetResult], num_classes: int = 10, num_images: int = 8, side: int = 8
) -> list[SetSample]:
    """A sheet for each, which says whose it is."""
    return [
        replace(set_sheet(each.name, num_classes, num_images, side), key=each.key) for each in sets
    ]


def _cells(sets: Sequence[SetResult], axis: str = "sets") -> tuple[CellResult, ...]:
    """The baseline, then a mixed and a synthetic cell for each set, in three seeds."""
    found = [cell({axis: None, "variant": "real"}, BASE, None, label="real")]
    for place, each in enumerate(sets):
        fid = each.measures.get("fid", 10.0)
        failed = each.fit is not None and bool(each.fit.error)
        coordinates = {axis: [each.name], "variant": "mixed", "seed": each.seed}
        label = f"{each.name}, mixed" + (f", seed={each.seed}" if each.seed else "")
        gain = 0.02 - 0.0012 * fid
        for variant, shift in (("mixed", gain), ("synthetic", gain - 0.08)):
            scores = tuple(
                round(score + shift + 0.002 * ((seed + place) % 3 - 1), 4)
                for seed, score in enumerate(BASE)
            )
            one = cell(
                {**coordinates, "variant": variant},
                scores,
                0,
                label=label.replace("mixed", variant),
                num_real=0 if variant == "synthetic" else 900,
                num_synthetic=1000,
                sets=(each.key,),
            )
            if failed:
                cause = f"needs fit {each.generator}: {each.fit.error if each.fit else ''}"
                trials = tuple(
                    TrialResult(key=_key(label, variant, s), seed=s, status="failed", error=cause)
                    for s in range(3)
                )
                one = replace(one, trials=trials)
            found.append(one)
    return tuple(found)


def study_of(sets: Sequence[SetResult], **changes: Any) -> StudyResult:
    """A study that compares these sets."""
    labels: Mapping[str, None] = dict.fromkeys(each.name for each in sets if each.measures)
    result = replace(
        digits(),
        name="generators",
        question="Which generator makes digits that are worth training on?",
        axes=("sets", "variant"),
        cells=_cells(sets),
        sets=tuple(sets),
        measures=MEASURES,
        sheets=(set_sheet("real"), *sheets_for([s for s in sets if s.measures])),
        costs=(
            *(CostLine(what=f"fit {n}", steps=1, hours=0.02, device="cpu") for n in labels),
            CostLine(what="train", steps=3 + 6 * len(sets), hours=0.6, device="cpu"),
        ),
    )
    return replace(result, **changes)


def generators() -> StudyResult:
    """Ten generators, one fit each: one leaks and was stopped, one is filtered, one diverged."""
    sets = {name: made_set(name) for name in GENERATORS}
    sets["dvae"] = replace(sets["dvae"], audit=leaking())
    sets["cgan"] = replace(sets["cgan"], audit=audit(test_near=1))
    sets["ddpm"] = replace(sets["ddpm"], filtered=filtered(0))
    sets["biggan"] = replace(sets["biggan"], filtered=filtered(1))
    sets["lsgan"] = diverged("lsgan", 0)
    return study_of(list(sets.values()))


def several_fits() -> StudyResult:
    """Four generators in three fit seeds; one fit failed, one set is not measured yet."""
    sets = [made_set(name, seed) for name in GENERATORS[2:6] for seed in range(3)]
    sets[4] = diverged("cgan", 1)
    sets[8] = replace(sets[8], measures={}, audit=None, stamp={}, warnings=(), map=None)
    return study_of(sets, axes=("sets", "seed", "variant"))


def two_conventions() -> StudyResult:
    """Six sets, two of them measured on fewer images."""
    sets = [made_set(name) for name in GENERATORS[:6]]
    fewer = {**STAMP, "images": "500"}
    sets[1:3] = [replace(each, stamp=fewer) for each in sets[1:3]]
    return study_of(sets)


def three_sets() -> StudyResult:
    """Too few to rank."""
    return study_of([made_set(name) for name in GENERATORS[:3]])


def unmeasured_sets() -> StudyResult:
    """A quickstart: one generator, and nothing was asked about its images."""
    one = made_set("ddpm", measures={}, stamp={}, warnings=(), audit=None, map=None, neighbours=())
    return study_of([one], measures=())


def folder_set() -> StudyResult:
    """Images made elsewhere: no fit, no seed."""
    one = made_set("edited", pictures=False, generator="", fit=None, losses={})
    return study_of([replace(one, seed=None, images_per_s=None, sampling_seconds=0.0)])


def hostile_sets() -> StudyResult:
    """Texts that would break out of a table, a page or a file name."""
    nasty = "<script>alert(2)</script> | ../$x_1$ & 100 % \\ \"'"
    sets = [
        replace(
            made_set(f"{nasty} {index}"),
            stamp={nasty: nasty},
            warnings=(nasty,),
            losses={nasty: ((1.0, 2.0), (2.0, 1.0))},
            visuals={nasty: ((_noise(1),),)},
            filtered=FilterResult(drawn=(9,) * 10, kept=(0,) * 10, dropped={nasty: (9,) * 10}),
            audit=replace(leaking(), gate=nasty),
        )
        for index in range(3)
    ]
    classes = tuple(f"{nasty} {name}" for name in CLASSES)
    return study_of(sets, classes=classes)


def long_names() -> StudyResult:
    """Sets named by what tells them apart, of large images in twelve long classes."""
    sets = [
        made_set(f"stable_diffusion_xl_turbo (strength={s}, guidance_scale={g}, steps=30)")
        for s in (0.25, 0.5, 0.75)
        for g in (3.0, 7.5)
    ]
    sheets = (
        set_sheet("real", 12, 8, side=96),
        *sheets_for(sets, 12, 8, side=96),
    )
    classes = tuple(f"Anna's long-tailed hummingbird number {i}" for i in range(12))
    return study_of(sets, sheets=sheets, classes=classes)


SETS = {
    made.__name__: made
    for made in (
        *(generators, several_fits, two_conventions, three_sets, unmeasured_sets),
        *(folder_set, hostile_sets, long_names),
    )
}
ALL = {**EVERY, **SETS}
PAGES = {**EVERY, **{name: SETS[name] for name in ("generators", "hostile_sets", "folder_set")}}
"""Those of which pages are drawn, which takes seconds each."""
