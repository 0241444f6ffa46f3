"""SDEdit by the study's own ddpm: noises as far as asked, denoises towards the class."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file

from tasks import plugins
from tasks.editing import Edit, Editor, Given, Mask
from tasks.editors import sdedit
from tasks.edits.sizing import How
from tasks.errors import InputError
from tasks.generation import ImageInfo
from tasks.generators import ddpm
from tasks.generators._diffusion import noising, signal_and_noise, steps_of, way_from_image
from tasks.packs import Pixels

pytestmark = pytest.mark.usefixtures("one_thread")

INFO = ImageInfo(channels=1, height=8, width=8, num_classes=3, classes=("cat", "dog", "bird"))
TINY = ddpm.Config(channels=(8, 16), timesteps=20, steps=6, batch_size=16)
QUICK = sdedit.Config(ddpm=TINY, steps=10)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit of a few steps, as `fit` leaves it."""
    folder = tmp_path_factory.mktemp("fit")
    state = {n: t.contiguous() for n, t in generator().sampler_state().items()}
    save_file(state, folder / "weights.safetensors")
    return folder


def generator(info: ImageInfo = INFO) -> ddpm.Ddpm:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        made = ddpm.Ddpm(TINY, info)
        rng = torch.Generator().manual_seed(0)
        shape = (16, info.channels, info.height, info.width)
        for _ in range(3):
            images = torch.randint(256, shape, dtype=torch.uint8, generator=rng)
            made.step(images, torch.arange(16) % info.num_classes, rng)
        # The first weights out of a U-Net are nought, and the average follows slowly.
        for weight in made._average.parameters():
            weight.add_(torch.randn(weight.shape, generator=rng), alpha=0.05)
    return made


def opened(fitted: Path, config: sdedit.Config = QUICK, info: ImageInfo = INFO) -> Editor:
    return sdedit.build(config, Given(fitted=fitted, info=info))


def image(shape: tuple[int, int, int] = (8, 8, 1), seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def edit_of(seed: int, **said: Any) -> Edit:
    given: dict[str, Any] = {"image": image(), "prompt": "", "label": 1, **said}
    return Edit(id=str(seed), seed=seed, **given)


def pixels(editor: Editor, edits: list[Edit]) -> list[Pixels]:
    made = {each.id: each.image for each in editor.edit(edits)}
    return [cast(Pixels, made[edit.id]) for edit in edits]


def box(shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape[:2], np.bool_)
    mask[2:5, 1:-2] = True
    return mask


# The walk


def walked(**changes: Any) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """What a walk makes with a network that sees no noise, and all that the network was shown."""
    clean = torch.linspace(-1, 1, 64).view(1, 1, 8, 8).repeat(2, 1, 1, 1)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def predict(noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        seen.append((noisy.clone(), times.clone()))
        return torch.zeros_like(noisy)

    settings: dict[str, Any] = {
        "strength": 0.5,
        "steps": 10,
        "eta": 0.0,
        "schedule": "linear",
        "timesteps": 1000,
        **changes,
    }
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    rngs = [torch.Generator().manual_seed(seed) for seed in range(2)]
    return way_from_image(predict, clean, noise, rngs, **settings), seen


@pytest.mark.parametrize(
    ("strength", "first", "num"), [(0.01, 99, 1), (0.3, 299, 3), (0.5, 499, 5), (1.0, 999, 10)]
)
def test_a_walk_starts_as_noisy_as_its_strength(strength: float, first: int, num: int) -> None:
    _, seen = walked(strength=strength)
    assert [float(times[0]) for _, times in seen] == [first - 100 * step for step in range(num)]
    clean = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    noise = torch.randn((2, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    kept = noising("linear", 1000).alphas_cumprod[first]
    share = 0.0 if strength == 1 else kept.sqrt()
    rest = 1.0 if strength == 1 else (1 - kept).sqrt()
    assert torch.allclose(seen[0][0], share * clean + rest * noise, atol=1e-5)


def test_steps_follow_strength() -> None:
    assert [steps_of(s, 50) for s in (0.001, 0.25, 0.5, 0.75, 0.99, 1.0)] == [1, 12, 25, 38, 50, 50]


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("strength", [0.2, 0.6, 1.0])
def test_a_network_that_knows_the_image_gives_it_back(strength: float, eta: float) -> None:
    clean = torch.linspace(-0.9, 0.9, 64).view(1, 1, 8, 8)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))

    def predict(noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        signal, rest = signal_and_noise(times, "cosine", 1000)
        return (noisy - signal * clean) / rest

    rngs = [torch.Generator().manual_seed(0)]
    made = way_from_image(
        *(predict, clean, noise, rngs),
        strength=strength,
        steps=10,
        eta=eta,
        schedule="cosine",
        timesteps=1000,
    )
    assert torch.allclose(made, clean, atol=1e-3)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_outside_of_a_mask_the_network_sees_the_source_as_noisy_as_it_expects(
    strength: float,
) -> None:
    repaint = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    repaint[..., :4] = True
    made, seen = walked(repaint=repaint, strength=strength)
    free, seen_free = walked(strength=strength)
    clean = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    noise = torch.randn((2, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    for noisy, times in seen[1:]:
        signal, rest = signal_and_noise(times, "linear", 1000)
        assert torch.allclose(noisy[..., 4:], (signal * clean + rest * noise)[..., 4:], atol=1e-5)
    assert torch.equal(made[..., 4:], clean[..., 4:].expand(2, -1, -1, -1))
    # This network looks at no neighbours, so what is repainted is as without a mask.
    assert torch.equal(made[..., :4], free[..., :4])
    assert not torch.equal(made[..., 4:], free[..., 4:])
    assert len(seen) == len(seen_free)


# The editor


@pytest.mark.parametrize(("eta", "guidance"), [(0.0, 1.0), (0.7, 3.0)])
def test_full_strength_is_a_sample(eta: float, guidance: float, fitted: Path) -> None:
    config = replace(QUICK, strength=1.0, eta=eta, guidance=guidance)
    edits = [edit_of(seed, label=seed % 3) for seed in range(4)]
    made = pixels(opened(fitted, config), edits)
    sampling = ddpm.Sampling(steps=10, eta=eta, guidance=guidance)
    rngs = [torch.Generator().manual_seed(seed) for seed in range(4)]
    samples = generator().sample(torch.tensor([0, 1, 2, 0]), rngs, sampling)
    assert (np.stack(made) == samples.permute(0, 2, 3, 1).numpy()).all()


def test_an_image_keeps_less_of_itself_as_strength_rises(fitted: Path) -> None:
    far = []
    for strength in (0.1, 0.4, 0.7, 1.0):
        editor = opened(fitted, replace(QUICK, strength=strength))
        made = pixels(editor, [edit_of(seed) for seed in range(20)])
        far.append(float(np.abs(np.stack(made).astype(int) - image()).mean()))
    assert far == sorted(far)
    assert far[0] < 0.5 * far[-1]


@pytest.mark.parametrize("fit", ["resize", "pad"])
def test_sizes_channels_and_masks(fit: How, fitted: Path) -> None:
    editor = opened(fitted, replace(QUICK, fit=fit))
    shapes = [(8, 8, 1), (13, 9, 1), (28, 28, 3), (8, 8, 3)]
    edits = [
        edit_of(number, image=image(shape), mask=box(shape) if number % 2 else None)
        for number, shape in enumerate(shapes)
    ]
    for edit, made in zip(edits, pixels(editor, edits), strict=True):
        assert made.shape == edit.image.shape
        assert made.dtype == np.uint8
        if edit.mask is not None:
            assert (made[~edit.mask] == edit.image[~edit.mask]).all()
            assert (made[edit.mask] != edit.image[edit.mask]).any()


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_an_image_depends_on_its_seed_and_label_and_not_on_its_batch(
    eta: float, fitted: Path
) -> None:
    editor = opened(fitted, replace(QUICK, eta=eta, strength=0.8))
    edits = [
        edit_of(seed, label=seed % 3, mask=box((8, 8)) if seed % 2 else None) for seed in range(5)
    ]
    together = pixels(editor, edits)
    alone = [pixels(editor, [edit])[0] for edit in edits]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    assert (pixels(editor, edits[:1])[0] == alone[0]).all()
    for said in ({"seed": 9}, {"label": 2}, {"image": image(seed=3)}):
        assert (pixels(editor, [replace(edits[0], **said)])[0] != alone[0]).any(), said


def test_guidance_counts(fitted: Path) -> None:
    plain, guided = (opened(fitted, replace(QUICK, guidance=weight)) for weight in (1.0, 4.0))
    assert (pixels(plain, [edit_of(0)])[0] != pixels(guided, [edit_of(0)])[0]).any()


def test_it_says_what_it_needs() -> None:
    assert sdedit.ABOUT.fits == "ddpm"
    assert not sdedit.ABOUT.prompt
    assert sdedit.ABOUT.mask == "optional"
    assert not sdedit.ABOUT.service


def test_batches_and_stamps(fitted: Path) -> None:
    assert opened(fitted).batch_size == 250
    assert opened(fitted, replace(QUICK, batch_size=7)).batch_size == 7
    assert opened(fitted, replace(QUICK, strict=True)).batch_size == 1
    stamp = opened(fitted).stamp
    assert stamp["weights"].startswith("sha256:")
    assert stamp["dtype"] == "float32"


def test_a_class_is_needed(fitted: Path) -> None:
    for label in (None, 3, -1):
        with pytest.raises(InputError, match=f"a class of the 3 .* comes with {label}"):
            list(opened(fitted).edit([edit_of(0, label=label)]))


def test_a_fit_is_needed_that_fits(fitted: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fitted on the study's own images first"):
        sdedit.build(QUICK, Given(info=INFO))
    with pytest.raises(InputError, match=r"weights\.safetensors of the fit cannot be loaded"):
        opened(tmp_path)
    with pytest.raises(InputError, match="cannot be loaded as this ddpm"):
        opened(fitted, info=replace(INFO, channels=3))
    with pytest.raises(InputError, match="images of 8 x 8 pixels"):
        opened(fitted, replace(QUICK, ddpm=replace(TINY, channels=(8, 8, 8, 8, 8))))


def test_settings_are_checked() -> None:
    adapter: TypeAdapter[Any] = plugins.adapter("editors", "sdedit")
    assert adapter.validate_json('{"ddpm": {"channels": [8]}}').ddpm.channels == (8,)
    for wrong, message in (
        ({"steps": 30}, "does not divide"),
        ({"guidance": 2.0, "ddpm": {"label_dropout": 0.0}}, "needs label_dropout"),
        ({"strength": 0.0}, "greater than 0"),
        ({"strength": 1.5}, "less than or equal to 1"),
        ({"steps": 2.0}, "valid integer"),
        ({"sampler": "ddpm"}, "Unexpected|unexpected"),
        ({"ddpm": {"depth": 3}}, "Unexpected|unexpected"),
        ({"strict": True, "batch_size": 2}, "strict is batch_size: 1"),
    ):
        with pytest.raises(ValidationError, match=message):
            adapter.validate_json(json.dumps(wrong))
