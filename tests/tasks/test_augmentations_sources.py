"""Augmentations against the papers' formulas worked out by hand, and against the reference code."""

import math
import random
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from tasks import plugins
from tasks.augmentation import Augmentation, AugmentationInfo, Batch, chosen
from tasks.augmentations import _saliency, color_jitter
from tasks.augmentations._boxes import Boxes, centred
from tasks.augmentations._mixing import paste
from tasks.augmentations.random_erasing import RandomErasing
from tasks.errors import InputError

CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}


def built(name: str, settings: dict[str, Any], side: int = 32, channels: int = 3) -> Augmentation:
    info = AugmentationInfo(
        side=side,
        channels=channels,
        num_classes=10,
        mean=CIFAR["mean"][:channels],
        std=CIFAR["std"][:channels],
    )
    module = plugins.module("augmentations", name)
    augmentation: Augmentation = module.build(module.Config(**settings), info)
    return augmentation


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(num_images: int, side: int = 32, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(
        256, (num_images, channels, side, side), generator=seeded(seed), dtype=torch.uint8
    )


def batch(images: Tensor) -> Batch:
    return Batch(images=images, targets=torch.eye(len(images)))


# Boxes, CutMix and SaliencyMix


def box(top: int, bottom: int, left: int, right: int) -> Boxes:
    return Boxes(
        top=torch.tensor([top]),
        bottom=torch.tensor([bottom]),
        left=torch.tensor([left]),
        right=torch.tensor([right]),
    )


@pytest.mark.parametrize(
    ("row", "column", "kept", "expected"),
    [
        # int(32 * sqrt(1 - 3/4)) = 16 around the middle, and cut off at the right.
        (16, 16, 0.75, (8, 24, 8, 24)),
        (10, 30, 0.75, (2, 18, 22, 32)),
        # int(32 * sqrt(.1)) = 10; int(32 * sqrt(.05)) = 7, of which 3 on each side.
        (0, 31, 0.9, (0, 5, 26, 32)),
        (16, 16, 0.95, (13, 19, 13, 19)),
        (5, 5, 1.0, (5, 5, 5, 5)),
    ],
)
def test_a_box_holds_what_is_not_kept_and_is_clipped(
    row: int, column: int, kept: float, expected: tuple[int, int, int, int]
) -> None:
    length = torch.tensor([int(32 * math.sqrt(1 - kept))])
    found = centred(torch.tensor([row]), torch.tensor([column]), length, 32)
    assert (*map(int, (found.top, found.bottom, found.left, found.right)),) == expected
    top, bottom, left, right = expected
    assert found.area().tolist() == [(bottom - top) * (right - left)]
    held = torch.zeros(32, 32, dtype=torch.bool)
    held[top:bottom, left:right] = True
    assert torch.equal(found.pixels(32)[0, 0], held)


def test_pasting_mixes_targets_by_what_is_left_of_the_box() -> None:
    images = pixels(2, side=4) / 255
    done = paste(batch(images), torch.tensor([1, 0]), box(0, 2, 1, 4))
    assert done.targets.tolist() == [[0.625, 0.375], [0.375, 0.625]]
    assert torch.equal(done.images[0, :, :2, 1:], images[1, :, :2, 1:])
    assert torch.equal(done.images[0, :, 2:], images[0, :, 2:])
    assert torch.equal(done.images[0, :, :2, 0], images[0, :, :2, 0])


def kept_and_partner(targets: Tensor) -> list[tuple[float, int]]:
    """What each image kept and whom it met, as one-hot targets show them."""
    found = []
    for index, row in enumerate(targets):
        others = row.clone()
        others[index] = 0
        found.append((float(row[index]), int(others.argmax())))
    return found


@pytest.mark.parametrize("per_image", [False, True])
def test_mixup_is_the_weighted_mean(per_image: bool) -> None:
    images = pixels(8) / 255
    done = built("mixup", {"per_image": per_image})(batch(images), seeded(2))
    pairs = kept_and_partner(done.targets)
    for index, (kept, partner) in enumerate(pairs):
        if kept < 1:
            expected = kept * images[index] + (1 - kept) * images[partner]
            assert torch.allclose(done.images[index], expected, atol=1e-6)
    shares = {round(kept, 5) for kept, _ in pairs if kept < 1}
    assert len(shares) > 4 if per_image else len(shares) == 1


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize("strength", [0.2, 1.0, 4.0])
def test_lambda_follows_beta(name: str, strength: float) -> None:
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)); a clipped box leaves more than lambda."""
    field = "alpha" if name == "mixup" else "beta"
    mixing = built(name, {field: strength, "per_image": True}, side=8)
    images = torch.zeros(4000, 1, 8, 8)
    kept = mixing(
        Batch(images=images, targets=torch.eye(2).repeat(2000, 1)), seeded()
    ).targets.amax(1)
    # Half of the partners have the same target; of the others the larger share is seen.
    mixed = kept[kept < 1]
    if name == "mixup":
        spread = (mixed - 0.5).square().mean()
        assert spread == pytest.approx(1 / (4 * (2 * strength + 1)), rel=0.1)
    assert ((mixed * 64).round() - mixed * 64).abs().max() < 1e-4 or name == "mixup"


def dots(row: int, column: int, level: float) -> Tensor:
    """A bright and a dark pixel on grey, equally salient: the first one counts."""
    image = torch.full((3, 32, 32), level)
    image[:, row, column], image[:, row + 4, column] = 1.0, 0.0
    return image


@pytest.mark.parametrize("per_image", [False, True])
def test_saliencymix_centres_its_box_on_the_maximum_of_the_map(per_image: bool) -> None:
    places = [(4, 20), (16, 3), (20, 26), (9, 9)]
    images = torch.stack([dots(*place, 0.4 + 0.1 * i) for i, place in enumerate(places)])
    settings = {"per_image": per_image, "probability": 1.0}
    seen = set()
    for seed in range(20):
        done = built("saliencymix", settings)(batch(images), seeded(seed))
        pairs = kept_and_partner(done.targets)
        # The first of the permutation is whom the first image meets.
        first = pairs[0][1] if pairs[0][0] < 1 else 0
        for index, (kept, partner) in enumerate(pairs):
            if kept == 1:
                continue
            row, column = places[partner if per_image else first]
            half = next(
                h
                for h in range(1, 17)
                if (min(row + h, 32) - max(row - h, 0)) * (min(column + h, 32) - max(column - h, 0))
                == round((1 - kept) * 1024)
            )
            rows = slice(max(row - half, 0), row + half)
            columns = slice(max(column - half, 0), column + half)
            expected = images[index].clone()
            expected[:, rows, columns] = images[partner][:, rows, columns]
            assert torch.equal(done.images[index], expected)
            seen.add(half)
    assert len(seen) > 5


def slow_saliency(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The published algorithm, pixel by pixel."""
    levels = image.astype(int)
    grey = (levels @ [9798, 19235, 3735] + 2**14) >> 15 if image.shape[2] == 3 else levels[..., 0]
    for _ in range(2):
        wide = np.pad(grey, 1, mode="reflect")
        rows = wide[:-2] + 2 * wide[1:-1] + wide[2:]
        grey = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:] + 8) >> 4
    sums = np.zeros((2, *grey.shape))
    for reach in (12, 24, 48, 28, 56, 112):
        for y, x in np.ndindex(*grey.shape):
            around = grey[
                max(0, y - reach + 1) : y + reach + 1, max(0, x - reach + 1) : x + reach + 1
            ]
            mean = np.float32(around.sum() - grey[y, x]) / np.float32(around.size - 1)
            difference = np.float32(grey[y, x]) - mean
            sums[int(difference < 0), y, x] += int(abs(difference))
    shares = (sums / np.maximum(sums.max((1, 2), keepdims=True), 1)).astype(np.float32)
    scaled: npt.NDArray[np.float64] = np.floor(255 * shares.astype(np.float64)).sum(0)
    return scaled


@pytest.mark.parametrize(("side", "channels"), [(2, 3), (8, 1), (32, 3), (40, 1)])
def test_saliency_is_that_of_the_published_algorithm(side: int, channels: int) -> None:
    images = pixels(3, side, channels)
    # Smooth ones too, as photographs are.
    images[1] = torch.linspace(0, 255, side).round().to(torch.uint8)
    images[2] = 77
    found = _saliency.saliency(images / 255)
    for image, each in zip(images, found, strict=True):
        assert np.array_equal(each.numpy(), slow_saliency(image.permute(1, 2, 0).numpy()))
    assert found[2].max() == 0


def test_grey_levels_and_blur_are_those_of_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    image = pixels(1)[0]
    grey = cv2.cvtColor(image.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
    found = _saliency._grey(image[None] / 255)
    assert np.array_equal(found[0].numpy(), grey)
    assert np.array_equal(_saliency._smooth(found)[0].numpy(), cv2.GaussianBlur(grey, (3, 3), 0))


# Random Erasing


def erasing(settings: dict[str, Any], side: int = 32, channels: int = 3) -> RandomErasing:
    found = built("random_erasing", settings, side, channels)
    assert isinstance(found, RandomErasing)
    return found


LAWS = {
    "official": ((0.02, 0.4), (0.3, 1 / 0.3), False),
    "torchvision": ((0.02, 0.33), (0.3, 3.3), True),
    "timm": ((0.02, 1 / 3), (0.3, 1 / 0.3), True),
}


@pytest.mark.parametrize("convention", LAWS)
def test_area_and_aspect_follow_the_law_of_the_convention(convention: str) -> None:
    """Uniform area and (log-)uniform aspect, given that the box is smaller than the image."""
    side, (area_ends, ends, logarithmic) = 5000, LAWS[convention]
    law = erasing({"convention": convention}, side).law
    height, width = law.draw(20_000, side, seeded()).double().numpy()
    middles = (np.arange(1000) + 0.5) / 1000
    area = area_ends[0] + middles * (area_ends[1] - area_ends[0])
    if logarithmic:
        aspect = np.exp(np.log(ends[0]) + middles * np.log(ends[1] / ends[0]))
    else:
        aspect = ends[0] + middles * (ends[1] - ends[0])
    fits = (area[:, None] * aspect < 1) & (area[:, None] / aspect < 1)
    for drawn, values, weights in (
        (height * width / side**2, area, fits.sum(1)),
        (height / width, aspect, fits.sum(0)),
    ):
        expected = np.cumsum(weights) / weights.sum()
        found = np.searchsorted(np.sort(drawn), values, side="right") / len(drawn)
        assert np.abs(found - expected).max() < 0.015  # Kolmogorov-Smirnov, p about 1e-4


def test_boxes_are_as_large_as_those_of_torchvision_and_timm() -> None:
    from timm.data.random_erasing import RandomErasing as Timm

    image, torch_sizes, timm_sizes = torch.zeros(3, 32, 32), [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        source = v2.RandomErasing(p=1)
        for _ in range(1500):
            drawn = source.make_params([image])
            torch_sizes.append((drawn["h"], drawn["w"]))
    random.seed(0)
    timm = Timm(probability=1, device="cpu")
    for _ in range(1500):
        erased = timm(torch.ones(1, 1, 32, 32))[0, 0] == 0
        timm_sizes.append((int(erased.any(1).sum()), int(erased.any(0).sum())))
    for convention, sizes in (("torchvision", torch_sizes), ("timm", timm_sizes)):
        ours = erasing({"convention": convention}).law.draw(20_000, 32, seeded()).numpy()
        for mine, theirs in zip(ours, np.array(sizes).T, strict=True):
            levels = np.arange(33)
            gap = np.abs(
                (mine[:, None] <= levels).mean(0) - (theirs[:, None] <= levels).mean(0)
            ).max()
            assert gap < 0.05


@pytest.mark.parametrize(
    ("settings", "channels", "behind"),
    [
        ({}, 3, (0.4914, 0.4822, 0.4465)),
        ({}, 1, (0.4914,)),
        ({"convention": "torchvision"}, 3, (0.0, 0.0, 0.0)),
        ({"convention": "timm", "fill": -1.0}, 3, (-1.0, -1.0, -1.0)),
        ({"fill": (0.1, 0.2, 0.3)}, 3, (0.1, 0.2, 0.3)),
    ],
)
def test_the_network_sees_the_fill_as_it_is_written(
    settings: dict[str, Any], channels: int, behind: tuple[float, ...]
) -> None:
    images = torch.full((64, channels, 32, 32), 2.0)  # no fill looks like it
    done = erasing({"probability": 1.0, **settings}, channels=channels)(
        Batch(images=images, targets=torch.zeros(64, 1)), seeded()
    ).images
    mean, std = (torch.tensor(CIFAR[key][:channels]) for key in ("mean", "std"))
    for image in done:
        held = (image != 2.0).all(0)
        rows, columns = held.any(1).sum(), held.any(0).sum()
        assert held.sum() == rows * columns > 0
        assert max(rows, columns) < 32
        seen = (image[:, held] - mean[:, None]) / std[:, None]
        assert torch.allclose(seen, torch.tensor(behind)[:, None].expand_as(seen), atol=1e-5)


def test_a_colour_is_one_for_a_box_and_noise_is_one_for_a_pixel() -> None:
    images = torch.full((400, 3, 32, 32), 100.0)
    for fill, num_values in (("colour", 1), ("noise", None)):
        done = erasing({"probability": 1.0, "fill": fill, "area": (0.1, 0.2)})(
            Batch(images=images, targets=torch.zeros(400, 1)), seeded()
        ).images
        values = [each[0][each[0] != 100.0].unique() for each in done]
        assert all(len(each) == (num_values or len(each)) for each in values)
        behind = (torch.cat(values) - CIFAR["mean"][0]) / CIFAR["std"][0]
        assert float(behind.mean()) == pytest.approx(0, abs=0.2)
        assert float(behind.std()) == pytest.approx(1, abs=0.15)


def test_where_no_box_fits_nothing_is_erased() -> None:
    images = pixels(16) / 255
    never = erasing({"probability": 1.0, "area": (1.0, 1.0), "aspect": (1.0, 1.0)})
    assert torch.equal(never(batch(images), seeded()).images, images)


# Crops and flips


@pytest.mark.parametrize(("border", "mode"), [("zero", "constant"), ("reflect", "reflect")])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_each_padded_window_is_as_likely(border: str, mode: str, dtype: torch.dtype) -> None:
    image = torch.arange(1, 109, dtype=torch.uint8).view(1, 3, 6, 6).to(dtype)
    wide = torch.from_numpy(
        np.pad(image.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode=mode)  # type: ignore[call-overload]
    )
    windows = {}
    for top in range(5):
        for left in range(5):
            window = wide[0, :, top : top + 6, left : left + 6]
            windows[window.numpy().tobytes()] = (top, left, False)
            windows[window.flip(2).contiguous().numpy().tobytes()] = (top, left, True)
    crop = built("base", {"padding": 2, "border": border}, side=6)
    images = image.expand(10_000, -1, -1, -1)
    done = crop(Batch(images=images, targets=torch.zeros(10_000, 1)), seeded()).images
    found = [windows[each.numpy().tobytes()] for each in done.contiguous()]
    counts = [found.count(each) for each in set(windows.values())]
    assert len(counts) == 50
    assert min(counts) > 200 - 5 * 14
    assert max(counts) < 200 + 5 * 14


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_without_a_crop_images_are_flipped(flip: float) -> None:
    images = pixels(20)
    done = built("base", {"crop": "none", "flip": flip})(batch(images), seeded()).images
    assert torch.equal(done, images.flip(3) if flip else images)


def test_a_resized_part_is_as_torchvision_enlarges_it() -> None:
    """The part is read off two ramps, which bilinear sampling keeps as ramps."""
    images = pixels(200).float() / 255
    ramp = torch.arange(32.0)
    images[:, 0], images[:, 1] = ramp[:, None], ramp
    done = built("base", {"crop": "resized", "flip": 0.5})(batch(images), seeded()).images
    boxes, flips = [], 0
    for before, after in zip(images, done, strict=True):
        rows, columns = after[0, :, 0], after[1, 0]
        flipped = bool(columns[0] > columns[-1])
        image = after.flip(2) if flipped else after
        columns = image[1, 0]
        # The middle of the image is the middle of the part.
        sizes = [round(32 * float(each[16] - each[15])) for each in (rows, columns)]
        starts = [
            round(float(each[15] + each[16]) / 2 + 0.5 - size / 2)
            for each, size in zip((rows, columns), sizes, strict=True)
        ]
        expected = reference.resized_crop(before, *starts, *sizes, size=[32, 32], antialias=True)
        assert torch.allclose(image, expected, atol=1e-4)
        boxes.append((*starts, *sizes))
        flips += flipped
    assert 70 < flips < 130
    height, width = np.array(boxes)[:, 2], np.array(boxes)[:, 3]
    assert min(height * width) >= 0.07 * 1024
    assert max(width / height) < 1.5
    assert np.mean(height * width) / 1024 == pytest.approx(0.5, abs=0.08)


def test_a_resized_part_of_bytes_is_that_of_floats_rounded() -> None:
    images = pixels(50)
    crop = built("base", {"crop": "resized"})
    done = crop(batch(images), seeded()).images
    expected = crop(batch(images / 255), seeded()).images * 255
    assert (done - expected).abs().max() <= 0.501


# Colours, light and rotation


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.4])
def test_brightness_contrast_and_saturation_are_those_of_torchvision(
    channels: int, factor: float
) -> None:
    images = pixels(4, channels=channels) / 255
    sources = (
        reference.adjust_brightness,
        reference.adjust_contrast,
        reference.adjust_saturation,
    )
    for operation, source in enumerate(sources):
        operations, factors = torch.full((4,), operation), torch.full((4,), factor)
        done = color_jitter._blended(images, operations, factors)
        assert torch.allclose(done, source(images, factor), atol=2e-6) or (
            channels == 1 and operation == color_jitter.SATURATION
        )
    mixed = color_jitter._blended(images, torch.tensor([0, 1, 2, 0]), torch.full((4,), factor))
    for index, source in enumerate(sources[: 2 if channels == 1 else 3]):
        one = images[index : index + 1]
        assert torch.allclose(mixed[index : index + 1], source(one, factor), atol=2e-6)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.25])
def test_hue_is_that_of_torchvision(turn: float) -> None:
    images = pixels(4) / 255
    images[0, 1:] = images[0, :1]  # grey
    done = color_jitter._turned(images, torch.full((4,), turn))
    assert torch.allclose(done, reference.adjust_hue(images, turn), atol=1e-5)


def test_each_image_has_a_factor_of_its_own_within_bounds() -> None:
    images = torch.full((500, 3, 8, 8), 0.5)
    settings = {"brightness": 0.4, "contrast": 0.0, "saturation": 0.0}
    done = built("color_jitter", settings, side=8)(batch(images), seeded()).images
    factors = done[:, 0, 0, 0] / 0.5
    assert torch.allclose(done, images * factors.view(-1, 1, 1, 1))
    assert 0.6 <= float(factors.min()) < 0.62
    assert 1.38 < float(factors.max()) <= 1.4
    assert float(factors.mean()) == pytest.approx(1, abs=0.05)


def test_operations_come_in_every_order() -> None:
    """A white pixel in a dark image ends differently where contrast comes before brightness."""
    images = torch.zeros(400, 1, 4, 4)
    images[:, :, 0, 0] = 1.0
    settings = {"brightness": 0.4, "contrast": 0.4}
    found = built("color_jitter", settings, side=4, channels=1)(batch(images), seeded()).images
    generator = seeded()
    brightness, contrast = (torch.rand(400, generator=generator) * 0.8 + 0.6 for _ in range(2))
    results = []
    for first in (0, 1):
        steps = [
            (torch.full((400,), first), (brightness, contrast)[first]),
            (torch.full((400,), 1 - first), (brightness, contrast)[1 - first]),
        ]
        done = images
        for operation, factor in steps:
            done = color_jitter._blended(done, operation, factor)
        results.append((found - done).abs().flatten(1).amax(1) < 1e-5)
    assert bool((results[0] | results[1]).all())
    assert min(int((a & ~b).sum()) for a, b in (results, results[::-1])) > 50


def test_lighting_adds_the_components_by_their_weights() -> None:
    images = pixels(3000, side=2) / 255
    noise = built("lighting", {}, side=2)(batch(images), seeded()).images - images
    assert torch.allclose(noise, noise[:, :, :1, :1].expand_as(noise), atol=1e-6)
    vectors = torch.tensor(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    # The vectors are orthonormal to 3 digits, so that the weights can be read off.
    weights = noise[:, :, 0, 0] @ vectors
    expected = 0.1 * torch.tensor([0.2175, 0.0188, 0.0045])
    assert torch.allclose(weights.std(0), expected, rtol=0.05)
    assert (weights.mean(0).abs() < 4 * expected / 3000**0.5).all()


def test_grey_lighting_is_the_luma_of_the_noise() -> None:
    images = torch.zeros(20, 3, 2, 2)
    colour = built("lighting", {}, side=2)(batch(images), seeded()).images
    grey = built("lighting", {}, side=2, channels=1)(batch(images[:, :1]), seeded()).images
    expected = (colour * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(grey, expected, atol=1e-7)


def test_rotation_is_that_of_torchvision() -> None:
    images = pixels(6) / 255
    done = built("rotation", {"degrees": 30.0})(batch(images), seeded()).images
    angles = (2 * torch.rand(6, generator=seeded()) - 1) * 30
    for image, each, angle in zip(images, done, angles.tolist(), strict=True):
        expected = reference.rotate(image, angle, v2.InterpolationMode.BILINEAR)
        assert torch.allclose(each, expected, atol=1e-4)


def test_the_corners_of_a_rotation_show_the_fill() -> None:
    images = torch.full((30, 3, 16, 16), 0.25)
    same = built("rotation", {"degrees": 90.0, "fill": 0.25}, side=16)(batch(images), seeded())
    assert torch.allclose(same.images, images)
    done = built("rotation", {"degrees": 90.0, "fill": 1.0}, side=16)(batch(images), seeded())
    assert done.images[:, :, 0, 0].amax() == 1.0
    assert torch.allclose(done.images[:, :, 7:9, 7:9], torch.tensor(0.25))


# Policies that work image by image


POLICIES: dict[str, tuple[dict[str, Any], Any]] = {
    "autoaugment": ({"policy": "svhn"}, v2.AutoAugment(v2.AutoAugmentPolicy.SVHN)),
    "randaugment": ({"num_ops": 3, "magnitude": 5}, v2.RandAugment(num_ops=3, magnitude=5)),
    "trivialaugment": ({}, v2.TrivialAugmentWide()),
    "augmix": ({"severity": 5, "width": 2}, v2.AugMix(severity=5, mixture_width=2)),
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_policy_is_that_of_torchvision_with_the_image_seed(name: str, channels: int) -> None:
    settings, source = POLICIES[name]
    images = pixels(20, channels=channels)
    done = built(name, settings, channels=channels)(batch(images), seeded(5)).images
    generator = seeded(5)
    chosen(20, 1.0, generator)
    seeds = torch.randint(2**32, (20,), generator=generator).tolist()
    with torch.random.fork_rng(devices=[]):
        for image, each, seed in zip(images, done, seeds, strict=True):
            torch.manual_seed(seed)
            assert torch.equal(each, source(image))


def test_defaults_of_policies_are_those_of_torchvision() -> None:
    for name, source in (
        ("autoaugment", v2.AutoAugment()),
        ("randaugment", v2.RandAugment()),
        ("trivialaugment", v2.TrivialAugmentWide()),
        ("augmix", v2.AugMix()),
    ):
        ours = built(name, {}).transform.policy  # type: ignore[attr-defined]
        # A mode may be written by name.
        written = ours.extra_repr().replace("InterpolationMode.", "").lower()
        assert written == source.extra_repr().replace("InterpolationMode.", "").lower()


# albumentations


def transforms(*given: dict[str, Any]) -> dict[str, Any]:
    return {"transforms": given}


def test_albumentations_is_compose_with_the_image_seed() -> None:
    albumentations = pytest.importorskip("albumentations")
    given = transforms({"name": "Affine", "scale": [0.8, 1.2]}, {"name": "GaussNoise", "p": 1.0})
    images = pixels(5)
    done = built("albumentations", given)(batch(images), seeded()).images
    generator = seeded()
    chosen(5, 1.0, generator)
    seeds = torch.randint(2**32, (5,), generator=generator).tolist()
    for image, each, seed in zip(images, done, seeds, strict=True):
        compose = albumentations.Compose(
            [albumentations.Affine(scale=(0.8, 1.2)), albumentations.GaussNoise(p=1.0)]
        )
        compose.set_random_seed(seed)
        pixel_rows = compose(image=image.permute(1, 2, 0).contiguous().numpy())["image"]
        assert np.array_equal(each.permute(1, 2, 0).numpy(), pixel_rows)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "HorizontalFlipp"}, r"transforms\[1\].*did you mean 'HorizontalFlip'"),
        ({"name": "BasicTransform"}, "has no 'BasicTransform'"),
        ({"name": "Compose"}, "has no 'Compose'"),
        ({"name": "check_version"}, "has no 'check_version'"),
        ({"name": "Rotate", "limi": 10}, "Rotate cannot be used.*limi"),
        ({"name": "Rotate", "limit": "x"}, "Rotate cannot be used"),
        ({"name": "Resize", "height": 16, "width": 16}, "size and type of images must stay"),
        ({"name": "ToFloat"}, "size and type of images must stay"),
    ],
)
def test_transforms_that_cannot_be_used_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built("albumentations", transforms({"name": "VerticalFlip"}, given))


def test_grey_images_refuse_a_transform_of_colours() -> None:
    with pytest.raises(InputError, match="HueSaturationValue cannot be used"):
        built("albumentations", transforms({"name": "HueSaturationValue"}), channels=1)


def test_advice_is_no_refusal() -> None:
    """It warns that this one is a special case of Affine; many recipes name it."""
    images = pixels(3)
    given = transforms({"name": "ShiftScaleRotate", "p": 1.0})
    done = built("albumentations", given)(batch(images), seeded()).images
    assert not torch.equal(done, images)


def test_without_albumentations_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(InputError, match=r"pip install 'augury\[albumentations\]'"):
        built("albumentations", transforms({"name": "VerticalFlip"}))
