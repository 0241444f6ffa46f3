"""Corruptions of a denoising autoencoder do what their names say."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tasks.networks.corruptions import (
    APPLY,
    Corruption,
    blur,
    brightness,
    contrast,
    gaussian,
    rotation,
    salt_and_pepper,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(num: int = 4, channels: int = 3) -> torch.Tensor:
    return torch.rand(num, channels, 12, 8, generator=rng(9)) * 1.6 - 0.8


def test_gaussian_noise_has_the_asked_deviation() -> None:
    images = torch.zeros(50, 1, 16, 16)
    noise = gaussian(images, 0.1, rng())
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_salt_and_pepper_turn_a_share_of_pixels_white_or_black() -> None:
    images = torch.zeros(50, 3, 16, 16)
    out = salt_and_pepper(images, 0.2, rng())
    assert (out == 1).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (out == -1).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(out[:, 0], out[:, 2])


def test_rotation_turns_pixels_by_up_to_the_angle() -> None:
    square = torch.rand(20, 1, 9, 9, generator=rng(1))
    assert torch.allclose(rotation(square, 1e-4, rng()), square, atol=1e-3)
    # The first draw of this generator is its angle; scaled so that it is a quarter turn.
    share = 2 * torch.rand(1, generator=rng(3)).item() - 1
    turned = rotation(square[:1], 90 / share, rng(3))
    quarter = torch.rot90(square[:1], 1, (2, 3))
    assert torch.allclose(turned, quarter, atol=1e-4)


def test_rotation_does_not_shear_what_is_not_square() -> None:
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(40.0), indexing="ij")
    disc = ((rows - 11.5) ** 2 + (columns - 19.5) ** 2 < 64).float()[None, None]
    turned = rotation(disc.expand(8, 1, 24, 40), 180.0, rng())
    assert (turned - disc).abs().mean() < 0.02


def test_brightness_shifts_all_pixels_of_an_image_alike() -> None:
    shift = brightness(some(200), 0.1, rng()) - some(200)
    each = shift.flatten(1)
    assert each.std(1).max() < 1e-6
    assert 0.18 < each.mean(1).abs().max() <= 0.2
    assert each.mean(1).min() < 0 < each.mean(1).max()


def test_contrast_keeps_the_mean_and_scales_the_spread() -> None:
    images = some(200)
    out = contrast(images, 0.3, rng())
    assert torch.allclose(out.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=1e-6)
    factor = out.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.7 <= factor.min() < 0.75 < 1.25 < factor.max() <= 1.3


@pytest.mark.parametrize("sigma", [0.5, 1.3])
def test_blur_is_that_of_scipy(sigma: float) -> None:
    images = some()
    spread = (0, 0, sigma, sigma)
    radius = int(np.ceil(3 * sigma))
    expected = gaussian_filter(
        images.double().numpy(), spread, mode="nearest", radius=(0, 0, radius, radius)
    )
    assert np.allclose(blur(images, sigma, rng()).numpy(), expected, atol=1e-5)


def test_one_corruption_is_drawn_for_each_image() -> None:
    strengths = {"brightness": 0.3, "contrast": 0.9, "salt_and_pepper": 0.5}
    images = some(600)
    out = Corruption(strengths)(images, rng())
    assert out.abs().max() <= 1
    pepper = ((out.abs() == 1) & (images.abs() < 1)).flatten(1).float().mean(1) > 0.3
    assert 0.27 < pepper.float().mean() < 0.4
    assert torch.equal(out, Corruption(strengths)(images, rng()))
    assert not torch.equal(out, Corruption(strengths)(images, rng(1)))


@pytest.mark.parametrize("name", APPLY)
def test_each_changes_its_image_and_keeps_its_shape(name: str) -> None:
    images = some(channels=1)
    out = Corruption({name: 0.5 if name != "rotation" else 30.0})(images, rng())
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert (out != images).flatten(1).any(1).all()
