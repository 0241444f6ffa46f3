"""An audit finds planted leaks of each kind, and accuses no honest image."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tasks import plugins
from tasks.audit import LEVELS, Case, audit, worst_cases
from tasks.errors import InputError
from tasks.extractor import fit_extractor
from tasks.features import extract
from tasks.gate import gate
from tasks.packs import Example, Pack, read_all, select
from tasks.results import read_result, write_result
from tasks.specs import (
    AuditSpec,
    ExtractorSpec,
    FeaturesSpec,
    GateSpec,
    ImagesSpec,
    RealReference,
)
from tests.tasks.trials import RECIPE, TINY, Memory, trial, write

pytestmark = pytest.mark.usefixtures("one_thread")
Array = npt.NDArray[np.uint8]
IMAGES = ImagesSpec(pack="train", split_seed=0, validation=(5,) * 10, training=(40,) * 10)
PLANTED = 20


def examples(pixels: Array, labels: npt.NDArray[np.int64]) -> list[Example]:
    return [
        Example(
            pixels=image,
            label=int(label),
            source=str(index),
            sha256=hashlib.sha256(image.tobytes() + str(index).encode()).hexdigest(),
        )
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True))
    ]


@pytest.fixture(scope="module")
def digits() -> tuple[Array, npt.NDArray[np.int64]]:
    """8 x 8 pixels, which are alike by honest chance more than any others; shuffled."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    small = np.round(pixels * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    order = np.random.default_rng(0).permutation(len(small))
    return small[order][..., None], labels[order].astype(np.int64)


@pytest.fixture(scope="module")
def world(
    digits: tuple[Array, npt.NDArray[np.int64]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Packs of train and test images, an extractor fitted on the first, and their features."""
    root = tmp_path_factory.mktemp("world")
    pixels, labels = digits
    found = {
        "train": write(root / "train", examples(pixels[:900], labels[:900])),
        "test": write(root / "test", examples(pixels[900:1300], labels[900:1300])),
        "extractor": root / "extractor",
    }
    found["extractor"].mkdir()
    recipe = replace(RECIPE, steps=60, batch_size=64, eval_every=60, warmup_steps=0)
    cell = replace(trial(model=TINY).cell, images=IMAGES, recipe=recipe)
    spec = ExtractorSpec(cell=cell, seed=0)
    read_all(fit_extractor(spec, found, found["extractor"], Memory(), "cpu"))
    return found | {f"{name} features": described(found, name, root) for name in ("train", "test")}


def described(world: dict[str, Path], name: str, root: Path) -> Path:
    out = root / f"{name} features"
    out.mkdir()
    chosen = plugins.plugin("extractors", "classifier")
    spec = FeaturesSpec(extractor=chosen, fitted="extractor", pack=name)
    read_all(extract(spec, world[name], world["extractor"], out, "cpu"))
    return out


def audited(
    world: dict[str, Path],
    pixels: Array,
    labels: npt.NDArray[np.int64],
    root: Path,
    images: ImagesSpec = IMAGES,
) -> Path:
    mine = world | {"made": write(root / "made", examples(pixels, labels))}
    mine["made features"] = described(mine, "made", root)
    real = RealReference(
        train=images, train_features="train features", test="test", test_features="test features"
    )
    out = root / "audit"
    out.mkdir()
    read_all(audit(AuditSpec(pack="made", features="made features", real=real), mine, out))
    return out


def flipped(image: Array) -> Array:
    return image[:, ::-1]


def cropped(image: Array) -> Array:
    whole = Image.fromarray(image[..., 0])
    cut = whole.resize((8, 8), Image.Resampling.BICUBIC, (0.24, 0.24, 7.76, 7.76))
    return np.asarray(cut)[..., None]


def compressed(image: Array) -> Array:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))[..., None]


def test_honest_images_are_accused_of_nothing(
    world: dict[str, Path], digits: tuple[Array, npt.NDArray[np.int64]], tmp_path: Path
) -> None:
    out = audited(world, digits[0][1300:], digits[1][1300:], tmp_path)
    result = read_result(out)
    assert result["images"] == len(digits[0]) - 1300
    counts = [
        result[f"{split}_{kind}"] for split in ("test", "train") for kind in ("exact", "near")
    ]
    assert counts == [0, 0, 0, 0]
    assert result["memorised"] == result["memorisation_rate"] == 0
    assert result["nearer_to_test"] < 0.05
    assert worst_cases(out) == ()
    assert {len(values) for values in result["quantiles"].values()} == {len(LEVELS)}
    # Held-out images are as far from the training images as test images are.
    made, base = (result["quantiles"][n][3] for n in ("synthetic_to_train", "test_to_train"))
    assert made == pytest.approx(base, rel=0.25)


def test_few_training_images_make_nothing_suspicious(
    world: dict[str, Path], digits: tuple[Array, npt.NDArray[np.int64]], tmp_path: Path
) -> None:
    """Among 400 test images one is nearer than among 30 training images, whoever looks."""
    few = replace(IMAGES, training=(3,) * 10)
    result = read_result(audited(world, digits[0][1300:], digits[1][1300:], tmp_path, few))
    assert result["among"] == 30
    assert result["nearer_to_test"] < 0.05
    assert [result[n] for n in ("test_near", "train_near", "memorised")] == [0, 0, 0]
    to_train, to_test = (
        result["quantiles"][name][3] for name in ("synthetic_to_train", "synthetic_to_test")
    )
    assert to_train == pytest.approx(to_test, rel=0.25)


EDITS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "copy": (lambda image: image, 1.0),
    "flip": (flipped, 1.0),
    "crop": (cropped, 0.7),
    "jpeg": (compressed, 0.8),
}
"""What is done to a leaked image, and the share that must be found."""


@pytest.mark.parametrize("edit", EDITS)
def test_leaked_test_images_and_memorised_training_images_are_found(
    edit: str,
    world: dict[str, Path],
    digits: tuple[Array, npt.NDArray[np.int64]],
    tmp_path: Path,
) -> None:
    change, share = EDITS[edit]
    pixels, labels = digits[0][1300:].copy(), digits[1][1300:].copy()
    train = select(Pack(world["train"]), IMAGES)[1][:: 400 // PLANTED]
    for place, row in enumerate([*range(900, 900 + PLANTED), *train]):
        pixels[place], labels[place] = change(digits[0][row]), digits[1][row]
    out = audited(world, pixels, labels, tmp_path)
    result = read_result(out)
    kind = "exact" if edit == "copy" else "near"
    assert result[f"test_{kind}"] >= share * PLANTED
    assert result[f"train_{kind}"] >= share * PLANTED
    assert share * PLANTED <= result["memorised"] <= PLANTED
    assert result["memorisation_rate"] == result["memorised"] / result["images"]
    cases = worst_cases(out)
    assert cases[0].split == "test"
    # Nothing else is accused, and each is shown beside the image that it was made from.
    for case in cases:
        if case.split == "test":
            assert case.synthetic == case.real < PLANTED
        else:
            assert train[case.synthetic - PLANTED] == case.real
    assert {type(case) for case in cases} == {Case}


def test_features_tell_what_was_memorised_where_pixels_do_not(tmp_path: Path) -> None:
    """Real images lie 1 apart on a line, all but one; pixels are noise, where nothing is alike."""
    random = np.random.default_rng(0)

    def pack_of(name: str, places: list[float]) -> dict[str, Path]:
        pixels = random.integers(0, 256, (len(places), 16, 16, 1), np.uint8)
        features = tmp_path / f"{name} features"
        features.mkdir()
        np.save(features / "features.npy", np.array(places, np.float32)[:, None])
        write_result(features, {"stamp": {}})
        labels = np.arange(len(places)) % 10
        return {name: write(tmp_path / name, examples(pixels, labels)), features.name: features}

    # Test images, which are few, lie 0.4 from the next of all training images. The first of the set
    # is memorised; the second is not near enough, to the third two training images are equally
    # near, and to the fourth one is near enough, but another only twice as far.
    inputs = (
        pack_of("train", [*map(float, range(19)), 18.3])
        | pack_of("test", [1.4, 5.4, 9.4, 13.4, 17.4])
        | pack_of("made", [3.1, 7.24, 12.5, 18.1])
    )
    real = RealReference(
        train=replace(IMAGES, validation=(0,) * 10, training=(2,) * 10),
        train_features="train features",
        test="test",
        test_features="test features",
    )
    out = tmp_path / "audit"
    out.mkdir()
    read_all(audit(AuditSpec(pack="made", features="made features", real=real), inputs, out))
    assert read_result(out)["memorised"] == 1
    (case,) = worst_cases(out)
    assert (case.kind, case.split, case.synthetic, case.real) == ("feature", "train", 0, 3)
    assert case.distance == pytest.approx(0.1)


def found(folder: Path, **values: float) -> Path:
    told = {"images": 100, "test_exact": 2, "test_near": 1, "memorised": 4}
    write_result(folder, {**told, "memorisation_rate": 0.04, **values})
    return folder


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ({"max_test_duplicates": 2}, "audit of made: 3 of 100 synthetic images are copies of test"),
        ({"max_memorisation": 0.03}, r"4 of 100 synthetic images \(4.00%\) are copies of training"),
    ],
)
def test_a_gate_stops_what_a_study_forbids(
    allowed: dict[str, float], message: str, tmp_path: Path
) -> None:
    nothing = {"max_test_duplicates": None, "max_memorisation": None}
    spec = GateSpec(audit="a", name="made", **{**nothing, **allowed})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        read_all(gate(spec, found(tmp_path), tmp_path))


def test_a_gate_lets_through_what_is_allowed(tmp_path: Path) -> None:
    spec = GateSpec(audit="a", name="made", max_test_duplicates=3, max_memorisation=0.04)
    (tmp_path / "out").mkdir()
    read_all(gate(spec, found(tmp_path), tmp_path / "out"))
    assert read_result(tmp_path / "out")["test_duplicates"] == 3
