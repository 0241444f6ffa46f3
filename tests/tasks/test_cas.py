"""From digits to figures: CAS, and the extractor whose features tell good sets from bad ones."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks import plugins
from tasks.cas import cas
from tasks.extractor import fit_extractor
from tasks.features import extract
from tasks.fidelity import fidelity
from tasks.packs import Example, Pack, read_all
from tasks.reference import reference_model, reference_recipe, sized
from tasks.results import read_result
from tasks.specs import (
    CasSpec,
    CellSpec,
    ExtractorSpec,
    FeaturesSpec,
    FidelitySpec,
    ImagesSpec,
    RealReference,
    SyntheticImages,
)
from tests.tasks.trials import CLASSES, RECIPE, Memory, write

pytestmark = pytest.mark.usefixtures("one_thread")

PER_CLASS, VALIDATION = 40, 5


def digits(split: str, start: int, stop: int) -> list[Example]:
    """Images `start` to `stop` of each class."""
    reader = plugins.build("datasets", plugins.plugin("datasets", "digits"))
    by_class: dict[int, list[Example]] = {}
    for example in reader.read(split):
        by_class.setdefault(example.label, []).append(example)
    return [each for label in range(10) for each in by_class[label][start:stop]]


def relabelled(examples: Sequence[Example]) -> list[Example]:
    """With labels at random, as many of each as before."""
    labels = np.random.default_rng(0).permutation([example.label for example in examples])
    return [
        replace(example, label=int(label)) for example, label in zip(examples, labels, strict=True)
    ]


def averaged(examples: Sequence[Example]) -> list[Example]:
    """Every image with half of another of its class: each looks real, and they vary less."""
    neighbours = [*examples[1:], examples[0]]
    return [
        _with(one, (one.pixels.astype(np.uint16) + other.pixels) // 2)
        for one, other in zip(examples, neighbours, strict=True)
    ]


def noisy(examples: Sequence[Example]) -> list[Example]:
    """As various as before, and none looks real."""
    rng = np.random.default_rng(0)
    return [_with(e, (e.pixels + rng.normal(0, 60, e.pixels.shape)).clip(0, 255)) for e in examples]


def _with(example: Example, pixels: NDArray[Any]) -> Example:
    made = pixels.astype(np.uint8)
    return replace(example, pixels=made, sha256=hashlib.sha256(made.tobytes()).hexdigest())


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real digits; other real digits as a set, and three worse ones; the test digits."""
    folder = tmp_path_factory.mktemp("digits")
    # No more than 100 of a class are there to train on.
    real, others = digits("train", 0, 50), digits("train", 50, 90)
    made = {
        "p": real,
        "good": others,
        "averaged": averaged(others),
        "noisy": noisy(others),
        "shuffled": relabelled(others),
        "t": digits("test", 0, 40),
    }
    return {name: write(folder / name, examples) for name, examples in made.items()}


def images(training: int) -> ImagesSpec:
    return ImagesSpec(
        pack="p", split_seed=0, validation=(VALIDATION,) * 10, training=(training,) * 10
    )


def scored(name: str, packs: dict[str, Path], out: Path) -> dict[str, Any]:
    cell = CellSpec(
        images=images(0),
        sets=(SyntheticImages(pack=name, counts=(PER_CLASS,) * 10),),
        model=reference_model(),
        recipe=reference_recipe(10 * PER_CLASS),
        num_classes=10,
    )
    out.mkdir()
    work = cas(CasSpec(cell=cell, seed=0, test="t", classes=CLASSES), packs, out, Memory())
    done = [each.done / each.total for each in work]
    assert done == sorted(done)
    assert done[-1] == 1
    return read_result(out)


def test_cas_is_high_for_real_digits_and_chance_for_shuffled_labels(
    packs: dict[str, Path], tmp_path: Path
) -> None:
    good = scored("good", packs, tmp_path / "good")
    assert good["cas"] > 0.9
    assert (good["images"], good["steps"]) == (400, 300)
    # Weights of many sets would fill a disk, and nobody asks for them.
    assert not list((tmp_path / "good").glob("*.safetensors"))
    shuffled = scored("shuffled", packs, tmp_path / "shuffled")
    assert 0.02 < shuffled["cas"] < 0.2


@pytest.mark.parametrize(("side", "seen"), [(8, 8), (64, 64), (100, 64)])
def test_the_reference_sees_images_as_they_are_up_to_64_pixels(
    side: int, seen: int, tmp_path: Path
) -> None:
    pixels = np.zeros((side, side + 4, 1), np.uint8)
    pack = write(tmp_path / "pack", [Example(pixels=pixels, label=0, source="0", sha256="0")])
    cell = CellSpec(
        images=images(0), sets=(), model=reference_model(), recipe=RECIPE, num_classes=10
    )
    assert sized(cell, Pack(pack)).recipe == replace(RECIPE, input_size=seen)


@pytest.mark.parametrize(
    ("num_images", "steps", "batch_size"),
    [(1, 300, 2), (20, 300, 20), (1000, 320, 64), (50_000, 4000, 64)],
)
def test_the_reference_passes_twenty_times_over_the_images_within_bounds(
    num_images: int, steps: int, batch_size: int
) -> None:
    recipe = reference_recipe(num_images)
    assert (recipe.steps, recipe.batch_size) == (steps, batch_size)
    assert -(-recipe.steps // recipe.eval_every) == 10


@pytest.fixture(scope="module")
def fitted(packs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    cell = CellSpec(
        images=images(PER_CLASS),
        sets=(),
        model=reference_model(),
        recipe=reference_recipe(10 * PER_CLASS),
        num_classes=10,
    )
    out = tmp_path_factory.mktemp("extractor")
    read_all(fit_extractor(ExtractorSpec(cell=cell, seed=0), packs, out, Memory()))
    return out


def test_an_extractor_is_a_classifier_of_the_real_images(
    packs: dict[str, Path], fitted: Path, tmp_path: Path
) -> None:
    read_all(extract(features_spec("t"), packs["t"], fitted, tmp_path, "cpu"))
    said = np.load(tmp_path / "probabilities.npy")
    labels = np.repeat(np.arange(10), len(said) // 10)
    assert (said.argmax(1) == labels).mean() > 0.9
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-5)


def features_spec(pack: str) -> FeaturesSpec:
    chosen = plugins.plugin("extractors", "classifier")
    return FeaturesSpec(extractor=chosen, fitted="f", pack=pack)


def test_measures_tell_what_a_set_lacks(
    packs: dict[str, Path], fitted: Path, tmp_path: Path
) -> None:
    inputs = dict(packs)
    for name in ("p", "t", "good", "averaged", "noisy"):
        inputs[f"{name} features"] = tmp_path / name
        (tmp_path / name).mkdir()
        read_all(extract(features_spec(name), packs[name], fitted, tmp_path / name, "cpu"))
    good = measured("good", inputs, tmp_path)
    averaged, noisy = (measured(name, inputs, tmp_path) for name in ("averaged", "noisy"))
    for worse in (averaged, noisy):
        assert good["fid"] < worse["fid"]
        assert good["kid"] < worse["kid"]
    assert averaged["recall"] < good["recall"] - 0.1
    assert averaged["precision"] >= good["precision"]
    assert noisy["precision"] < good["precision"] - 0.1
    assert noisy["density"] < good["density"]
    assert noisy["coverage"] < good["coverage"]


def measured(name: str, inputs: dict[str, Path], folder: Path) -> dict[str, float]:
    spec = FidelitySpec(
        pack=name,
        features=f"{name} features",
        real=RealReference(
            train=images(PER_CLASS),
            train_features="p features",
            test="t",
            test_features="t features",
        ),
        measures=("fid", "kid", "precision", "recall", "density", "coverage"),
    )
    out = folder / f"fidelity of {name}"
    out.mkdir()
    read_all(fidelity(spec, inputs, out))
    measures: dict[str, float] = read_result(out)["measures"]
    return measures
