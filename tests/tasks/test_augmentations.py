"""What every augmentation must do, whichever it is."""

import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tasks import plugins
from tasks.augmentation import Augmentation, AugmentationInfo, Batch
from tasks.errors import InputError

NAMES = plugins.names("augmentations")
TRANSFORMS = ({"name": "Rotate", "p": 1.0}, {"name": "CoarseDropout", "p": 1.0})
NEEDED: dict[str, dict[str, Any]] = {"albumentations": {"transforms": TRANSFORMS}}
"""Settings that have no default."""
MIXING = ("cutmix", "mixup", "saliencymix")
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    ("base", {"border": "reflect"}),
    ("base", {"crop": "none"}),
    ("base", {"crop": "resized"}),
    ("base", {"probability": 0.5, "crop": "resized"}),
    ("random_erasing", {"convention": "torchvision"}),
    ("random_erasing", {"convention": "timm", "fill": "noise"}),
    ("random_erasing", {"convention": "timm", "fill": "colour"}),
    ("color_jitter", {"hue": 0.5}),
    ("rotation", {"degrees": 180.0, "fill": 0.5}),
    ("autoaugment", {"policy": "cifar10"}),
    ("autoaugment", {"policy": "svhn", "interpolation": "bilinear"}),
    ("augmix", {"all_ops": False, "depth": 2}),
    *((name, {"per_image": True}) for name in MIXING),
]
cases = pytest.mark.parametrize(
    ("name", "settings"), OPTIONS, ids=[f"{name} {settings}" for name, settings in OPTIONS]
)
sizes = pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 8), (1, 32), (3, 32)])
NUM_IMAGES, NUM_CLASSES = 12, 5


def info(channels: int = 3, side: int = 32) -> AugmentationInfo:
    mean, std = (0.5, 0.4, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels]
    return AugmentationInfo(
        side=side, channels=channels, num_classes=NUM_CLASSES, mean=mean, std=std
    )


def built(name: str, channels: int = 3, side: int = 32, **settings: Any) -> Augmentation:
    config = plugins.module("augmentations", name).Config(**NEEDED.get(name, {}), **settings)
    augmentation: Augmentation = plugins.build(
        "augmentations", plugins.plugin("augmentations", name, config), info(channels, side)
    )
    return augmentation


def dtypes(name: str) -> tuple[torch.dtype, ...]:
    place = plugins.module("augmentations", name).PLACE
    return {
        "worker": (torch.uint8,),
        "device": (torch.float32,),
        "either": (torch.uint8, torch.float32),
    }[place]


def some_batch(
    dtype: torch.dtype, channels: int = 3, side: int = 32, num_images: int = NUM_IMAGES
) -> Batch:
    """Random images, channels last in memory as a pack holds them, and soft targets."""
    generator = torch.Generator().manual_seed(side + channels)
    shape = (num_images, side, side, channels)
    pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8).permute(0, 3, 1, 2)
    targets = torch.rand((num_images, NUM_CLASSES), generator=generator).softmax(1)
    return Batch(images=pixels if dtype == torch.uint8 else pixels / 255, targets=targets)


def run(augmentation: Augmentation, batch: Batch, seed: int = 0) -> Batch:
    return augmentation(batch, torch.Generator().manual_seed(seed))


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.targets, other.targets)


@cases
@sizes
def test_a_batch_keeps_its_form_and_its_label_mass(
    name: str, settings: dict[str, Any], channels: int, side: int
) -> None:
    augmentation = built(name, channels, side, **settings)
    for dtype in dtypes(name):
        batch = some_batch(dtype, channels, side)
        images, targets = batch.images.clone(), batch.targets.clone()
        for seed in range(4):
            done = run(augmentation, batch, seed)
            assert done.images.shape == images.shape
            assert done.images.dtype == dtype
            assert done.images.device == images.device
            assert done.images.isfinite().all()
            assert done.targets.shape == targets.shape
            assert done.targets.dtype == torch.float32
            if name in MIXING:
                assert torch.allclose(done.targets.sum(1), targets.sum(1))
            else:
                assert torch.equal(done.targets, targets)
        assert torch.equal(batch.images, images)
        assert torch.equal(batch.targets, targets)


@cases
def test_it_is_a_function_of_the_generator_and_leaves_global_state_alone(
    name: str, settings: dict[str, Any]
) -> None:
    augmentation = built(name, **settings)
    for dtype in dtypes(name):
        batch = some_batch(dtype)
        before, python = torch.get_rng_state(), random.getstate()
        first = run(augmentation, batch)
        assert torch.equal(torch.get_rng_state(), before)
        assert random.getstate() == python
        torch.rand(3)
        random.random()
        np.random.rand(3)
        assert same(first, run(augmentation, batch))
        assert same(first, run(pickle.loads(pickle.dumps(augmentation)), batch))
        assert not all(same(first, run(augmentation, batch, seed)) for seed in range(1, 6))


@cases
def test_without_probability_nothing_changes(name: str, settings: dict[str, Any]) -> None:
    augmentation = built(name, **{**settings, "probability": 0.0})
    for dtype in dtypes(name):
        batch = some_batch(dtype)
        assert all(same(run(augmentation, batch, seed), batch) for seed in range(3))


@cases
@pytest.mark.parametrize("channels", [1, 3])
def test_one_image_is_a_batch(name: str, settings: dict[str, Any], channels: int) -> None:
    augmentation = built(name, channels, **settings)
    for dtype in dtypes(name):
        batch = some_batch(dtype, channels, num_images=1)
        done = run(augmentation, batch)
        assert done.images.shape == batch.images.shape
        if name in MIXING:  # with itself
            assert torch.allclose(done.images, batch.images)


@pytest.mark.parametrize("name", NAMES)
def test_images_that_share_memory_will_do(name: str) -> None:
    augmentation = built(name)
    for dtype in dtypes(name):
        grey = some_batch(dtype, channels=1)
        spread = Batch(images=grey.images.expand(-1, 3, -1, -1), targets=grey.targets)
        whole = Batch(images=spread.images.contiguous(), targets=grey.targets)
        assert same(run(augmentation, spread), run(augmentation, whole))


@pytest.mark.parametrize("name", NAMES)
def test_equal_images_come_back_unequal(name: str) -> None:
    settings: dict[str, Any] = {"per_image": True, "probability": 1.0} if name in MIXING else {}
    augmentation = built(name, **settings)
    for dtype in dtypes(name):
        one = some_batch(dtype, num_images=1).images.expand(NUM_IMAGES, -1, -1, -1)
        done = run(augmentation, Batch(images=one, targets=torch.eye(NUM_IMAGES)))
        # Equal images cannot be seen to be mixed, but each keeps its own share of its target.
        results = done.targets.diagonal()[:, None] if name in MIXING else done.images.flatten(1)
        assert len(results.unique(dim=0)) > 1


@pytest.mark.parametrize("name", sorted({*NAMES} - {*MIXING}))
def test_probability_is_the_share_of_images_that_change(name: str) -> None:
    augmentation = built(name, probability=0.3)
    certain = built(name, probability=1.0)
    for dtype in dtypes(name):
        batch = some_batch(dtype, side=8, num_images=150)
        changed, changes = (
            int((run(each, batch).images != batch.images).flatten(1).any(1).sum())
            for each in (augmentation, certain)
        )
        # Some draws are the identity even with certainty; 5 standard deviations of 150 draws.
        assert abs(changed - 0.3 * changes) < 5 * (150 * 0.3 * 0.7) ** 0.5


@pytest.mark.parametrize("name", MIXING)
def test_probability_is_the_share_of_batches_that_change(name: str) -> None:
    augmentation = built(name, probability=0.3)
    batch = some_batch(torch.float32, side=8)
    changed = sum(
        not torch.equal(run(augmentation, batch, seed).targets, batch.targets)
        for seed in range(100)
    )
    # 4 standard deviations of 100 draws.
    assert 0.12 < changed / 100 < 0.48


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        *((name, {"probability": 1.1}, "less than or equal to 1") for name in NAMES),
        *((name, {"nothing": 1}, "nothing") for name in NAMES),
        ("augmix", {"depth": 0}, "depth=0"),
        ("augmix", {"severity": 11}, "severity"),
        ("albumentations", {"transforms": ()}, "at least 1"),
        ("albumentations", {"transforms": ({"p": 1.0},)}, r"transforms\[0\] has no name"),
        ("autoaugment", {"policy": "mnist"}, "imagenet"),
        ("base", {"scale": (0.5, 0.2)}, "smaller end first"),
        ("base", {"padding": 0}, "padding"),
        ("color_jitter", {"hue": 0.6}, "hue"),
        ("cutmix", {"beta": 0.0}, "beta"),
        ("mixup", {"alpha": -1.0}, "alpha"),
        ("randaugment", {"magnitude": 31}, "at most 30 would do"),
        ("random_erasing", {"aspect": (3.0, 0.3)}, "smaller end first"),
        ("random_erasing", {"convention": "zhong"}, "official"),
        ("rotation", {"degrees": 200.0}, "degrees"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    name: str, settings: dict[str, Any], message: str
) -> None:
    given = {**NEEDED.get(name, {}), **settings}
    with pytest.raises(ValidationError, match=message):
        plugins.module("augmentations", name).Config(**given)


@pytest.mark.parametrize(
    ("name", "side", "settings", "message"),
    [
        ("base", 8, {"padding": 8}, "at most 7 would do"),
        ("random_erasing", 8, {"fill": (0.1, 0.2)}, "give 1 or 3 numbers"),
        ("saliencymix", 1, {}, "2 × 2 would do"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    name: str, side: int, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        built(name, 3, side, **settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@cases
def test_on_a_gpu_a_batch_stays_there(name: str, settings: dict[str, Any]) -> None:
    if plugins.module("augmentations", name).PLACE == "worker":
        pytest.skip("works on the CPU")
    augmentation = built(name, **settings)
    for dtype in dtypes(name):
        batch = some_batch(dtype)
        there = Batch(images=batch.images.cuda(), targets=batch.targets.cuda())
        first, again = (
            augmentation(there, torch.Generator("cuda").manual_seed(1)) for _ in range(2)
        )
        assert first.images.device == there.images.device
        assert first.images.dtype == dtype
        assert same(first, again)
