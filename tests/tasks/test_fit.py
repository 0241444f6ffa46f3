"""A fit sees every image equally often, stops where it diverges, and draws its classes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks import plugins
from tasks.errors import InputError
from tasks.fit import FitDiverged, batch_positions, fit
from tasks.generation import Generator, ImageInfo, image_info
from tasks.generators import vae
from tasks.packs import Example, Pack, read_all, select, write_pack
from tasks.results import read_result
from tasks.specs import FitSpec, Plugin
from tests.tasks.synthesis import IMAGES, fitted
from tests.tasks.trials import Memory, write

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = vae.Config(channels=(8, 16), latent_size=4, steps=6, batch_size=16)


def the_vae(**settings: Any) -> Plugin:
    return plugins.plugin("generators", "vae", replace(TINY, **settings))


def history_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "losses.json").read_text())
    return rows


def test_a_fit_that_diverges_says_so_and_leaves_its_history(real: Path, tmp_path: Path) -> None:
    with pytest.raises(FitDiverged, match="lower its lr") as failure:
        fitted(the_vae(lr=1e30), real, tmp_path)
    assert "\n" not in str(failure.value)
    assert None in history_of(tmp_path)[-1].values()
    assert not (tmp_path / "result.json").exists()


class Wrapped:
    """A fitted generator with something wrong, which no setting brings about for sure."""

    def __init__(self, inner: Generator) -> None:
        self.inner = inner
        self.num_steps, self.batch_size = inner.num_steps, inner.batch_size
        self.num_parameters = inner.num_parameters
        self.num_done = 0

    def to(self, device: str) -> None:
        self.inner.to(device)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state)

    def sampler_state(self) -> dict[str, torch.Tensor]:
        return self.inner.sampler_state()

    def illustrate(
        self, labels: torch.Tensor, rngs: Sequence[torch.Generator], real: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return self.inner.illustrate(labels, rngs, real)

    def step(
        self, images: torch.Tensor, labels: torch.Tensor, rng: torch.Generator
    ) -> dict[str, torch.Tensor]:
        self.num_done += 1
        return self.changed(self.inner.step(images, labels, rng))

    def changed(self, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return losses


def wrap(kind: type[Wrapped], monkeypatch: pytest.MonkeyPatch) -> None:
    build = vae.build
    monkeypatch.setattr(vae, "build", lambda config, info: kind(build(config, info)))


def test_a_gradient_without_a_length_is_divergence(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Steep(Wrapped):
        def changed(self, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            infinite = torch.tensor(torch.inf)
            return losses | ({"gradient_norm": infinite} if self.num_done == 3 else {})

    wrap(Steep, monkeypatch)
    with pytest.raises(FitDiverged, match=r"by step 3 .*gradient_norm=inf"):
        fitted(the_vae(), real, tmp_path)
    assert [row["gradient_norm"] is None for row in history_of(tmp_path)] == [False, False, True]


def test_weights_that_the_last_step_broke_are_divergence(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Wrapped):
        def sampler_state(self) -> dict[str, torch.Tensor]:
            state = self.inner.sampler_state()
            last = next(reversed(state))
            return state | {last: torch.full_like(state[last], torch.nan)}

    wrap(Broken, monkeypatch)
    with pytest.raises(FitDiverged, match=r"by step 6 \(its weights are not finite"):
        fitted(the_vae(), real, tmp_path)
    assert len(history_of(tmp_path)) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["losses.json"]


def test_losses_are_means_over_the_steps_that_measure_them(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InTwoParts(Wrapped):
        def changed(self, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            name = "early" if self.num_done <= 250 else "late"
            return {name: torch.tensor(float(self.num_done))}

    wrap(InTwoParts, monkeypatch)
    fitted(the_vae(steps=400, channels=(8,), latent_size=1, batch_size=1), real, tmp_path)
    rows = {row["step"]: row for row in history_of(tmp_path)}
    assert rows[248] == {"step": 248, "early": 246.5, "late": None}
    assert rows[252] == {"step": 252, "early": 249.5, "late": 251.5}
    assert rows[400] == {"step": 400, "early": None, "late": 398.5}
    assert read_result(tmp_path)["losses"] == {"early": 249.5, "late": 398.5}


def test_batches_see_every_image_equally_often() -> None:
    seen = torch.cat([batch_positions(10, 4, step, 0) for step in range(5)])
    assert torch.bincount(seen).tolist() == [2] * 10
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert not torch.equal(seen[:10], seen[10:])
    small = batch_positions(3, 8, 0, 0)
    assert torch.bincount(small).tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_the_time_before_an_interruption_counts(real: Path, tmp_path: Path) -> None:
    checkpoints = Memory(saves=True)
    spec = FitSpec(generator=the_vae(), images=IMAGES, seed=0)
    next(fit(spec, real, tmp_path, checkpoints, "cpu"))
    saved = checkpoints.load()
    assert saved is not None
    assert 0 < saved["seconds"] < 100
    checkpoints.save_if_due(lambda: saved | {"seconds": 1000.0})
    read_all(fit(spec, real, tmp_path, checkpoints, "cpu"))
    assert 1000 < read_result(tmp_path)["seconds"] < 1100


def test_noise_and_dropout_hang_on_the_seed_and_the_step_alone(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, float]] = []

    class Noting(Wrapped):
        def step(
            self, images: torch.Tensor, labels: torch.Tensor, rng: torch.Generator
        ) -> dict[str, torch.Tensor]:
            drawn.append((float(torch.rand(1, generator=rng)), float(torch.rand(1))))
            return super().step(images, labels, rng)

    wrap(Noting, monkeypatch)
    for place, seed in (("one", 0), ("again", 0), ("other", 1)):
        fitted(the_vae(), real, tmp_path / place, seed=seed)
    assert drawn[:6] == drawn[6:12]
    noise, dropout = zip(*drawn[:6], *drawn[12:], strict=True)
    assert len({*noise, *dropout}) == 24


def test_pictures_hold_a_row_for_each_class_with_training_images(
    real: Path, tmp_path: Path
) -> None:
    images = replace(IMAGES, training=(0, 3, 1, 0, 0, 0, 0, 0, 2, 0))
    spec = FitSpec(generator=the_vae(), images=images, seed=0)
    read_all(fit(spec, real, tmp_path, Memory(), "cpu"))
    pictures = dict(np.load(tmp_path / "visuals.npz"))

    pack = Pack(real)
    rows = select(pack, images)[1]
    firsts = [next(row for row in rows if pack.labels[row] == label) for label in (1, 2, 8)]
    assert pictures["interpolation"].shape == (3, 8, 8, 8, 1)
    assert np.array_equal(pictures["reconstruction"][:, 0], pack.array(np.array(firsts)))


def test_a_fit_without_images_is_refused(real: Path, tmp_path: Path) -> None:
    spec = FitSpec(generator=the_vae(), images=replace(IMAGES, training=(0,) * 10), seed=0)
    with pytest.raises(InputError, match="no training images"):
        read_all(fit(spec, real, tmp_path, Memory(), "cpu"))


def test_a_pack_without_images_is_refused_in_the_same_line(tmp_path: Path) -> None:
    pack = write(tmp_path / "pack", [])
    none = replace(IMAGES, validation=(0,) * 10, training=(0,) * 10)
    spec = FitSpec(generator=the_vae(), images=none, seed=0)
    with pytest.raises(InputError, match="no training images"):
        read_all(fit(spec, pack, tmp_path, Memory(), "cpu"))


def test_images_that_are_read_batch_by_batch_make_the_same_fit(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = fitted(the_vae(), real, tmp_path / "held")
    monkeypatch.setattr("tasks.fit.PRELOAD_BYTES", 0)
    read = fitted(the_vae(), real, tmp_path / "read")
    for name in ("weights.safetensors", "losses.json"):
        assert (held / name).read_bytes() == (read / name).read_bytes()


def test_ragged_packs_are_read_as_the_largest_square(tmp_path: Path) -> None:
    tmp_path.joinpath("pack").mkdir()
    examples = [
        Example(pixels=np.zeros(shape, np.uint8), label=0, source=str(shape), sha256=str(shape))
        for shape in ((40, 22, 3), (23, 30, 3))
    ]
    read_all(write_pack(tmp_path / "pack", lambda: examples, ["a"], 22, 2))
    info, side = image_info(Pack(tmp_path / "pack"))
    assert side == 20
    expected = ImageInfo(channels=3, height=20, width=20, num_classes=1, classes=("a",))
    assert info == expected
