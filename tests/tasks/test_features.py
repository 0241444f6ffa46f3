"""A features step writes a row for each image, in the order of the pack."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks import plugins
from tasks.classification import ClassifierInfo, save_weights
from tasks.errors import InputError
from tasks.extraction import Extracted, load_features
from tasks.extractors import classifier
from tasks.features import BATCH, described, extract
from tasks.packs import Example, Indices, Pack, read_all
from tasks.results import read_result
from tasks.specs import FeaturesSpec
from tests.tasks.trials import CLASSES, TINY, write

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = FeaturesSpec(
    extractor=plugins.plugin("extractors", "classifier"), fitted="f" * 64, pack="a" * 64
)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier as an extractor step leaves it, not trained."""
    folder = tmp_path_factory.mktemp("fitted")
    info = ClassifierInfo(num_classes=10, channels=1, side=8, input_size=None)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        built = plugins.build("classifiers", TINY, info)
    save_weights(folder / classifier.WEIGHTS, built, TINY, info, CLASSES)
    return folder


def run(pack: Path, fitted: Path, out: Path) -> Path:
    out.mkdir()
    read_all(extract(SPEC, pack, fitted, out, "cpu"))
    return out


def test_there_is_a_row_for_each_image_in_order(real: Path, fitted: Path, tmp_path: Path) -> None:
    pack = Pack(real)
    assert len(pack) > 2 * BATCH
    found = load_features(run(real, fitted, tmp_path / "out"))
    extractor = classifier.build(classifier.Config(), fitted, "cpu")
    for row in (0, BATCH - 1, BATCH, len(pack) - 1):
        alone = extractor(pack.batch(np.array([row])))
        np.testing.assert_allclose(found.features[row], alone.features[0], atol=1e-5)
        assert alone.probabilities is not None
        assert found.probabilities is not None
        np.testing.assert_allclose(found.probabilities[row], alone.probabilities[0], atol=1e-5)
    assert found.features.shape == (len(pack), 16)
    assert found.probabilities is not None
    assert found.features.dtype == found.probabilities.dtype == np.float32
    assert found.probabilities.shape == (len(pack), 10)
    assert found.stamp == extractor.stamp


def test_the_result_says_how_many_and_how_fast(real: Path, fitted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    seen = list(extract(SPEC, real, fitted, out, "cpu"))
    result = read_result(out)
    total = len(Pack(real))
    assert (seen[-1].done, seen[-1].total) == (total, total)
    assert (result["images"], result["size"]) == (total, 16)
    assert result["images_per_s"] == pytest.approx(total / result["seconds"])


def test_features_are_the_same_bits_again(real: Path, fitted: Path, tmp_path: Path) -> None:
    one, other = run(real, fitted, tmp_path / "one"), run(real, fitted, tmp_path / "other")
    for name in ("features.npy", "probabilities.npy"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_images_of_several_shapes_are_cut_to_squares(fitted: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = [(300, 400), (256, 256), (500, 280)]
    examples = [
        Example(
            pixels=rng.integers(0, 256, (*shape, 1), dtype=np.uint8),
            label=0,
            source=str(index),
            sha256=str(index),
        )
        for index, shape in enumerate(shapes)
    ]
    pack = write(tmp_path / "pack", examples)
    assert Pack(pack).shape is None
    assert load_features(run(pack, fitted, tmp_path / "out")).features.shape == (3, 16)


def test_an_empty_set_is_one_line(fitted: Path, tmp_path: Path) -> None:
    pack = write(tmp_path / "pack", [])
    with pytest.raises(InputError, match="no images to describe"):
        run(pack, fitted, tmp_path / "out")


def test_an_extractor_without_its_folder_is_one_line(real: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give its folder"):
        read_all(extract(replace(SPEC, fitted=None), real, None, tmp_path, "cpu"))


class Small:
    """A device on which so many images have room."""

    def __init__(self, room: int, error: RuntimeError) -> None:
        self.stamp: dict[str, str] = {}
        self._room, self._error = room, error

    def __call__(self, images: Tensor) -> Extracted:
        if len(images) > self._room:
            raise self._error
        return Extracted(features=images.flatten(1).numpy(), probabilities=None)


FULL = torch.OutOfMemoryError("CUDA out of memory")


def numbers(rows: Indices) -> Tensor:
    return torch.from_numpy(rows).float().view(-1, 1, 1, 1)


def test_batches_that_do_not_fit_are_halved() -> None:
    parts = list(described(Small(10, FULL), numbers, 100))
    assert max(len(rows) for rows, _ in parts) == 8
    found = np.concatenate([part.features[:, 0] for _, part in parts])
    assert found.tolist() == list(range(100))
    assert np.concatenate([rows for rows, _ in parts]).tolist() == list(range(100))


@pytest.mark.parametrize(
    "device", [Small(0, FULL), Small(10, RuntimeError("something else"))], ids=["full", "broken"]
)
def test_other_errors_are_not_hidden(device: Small) -> None:
    with pytest.raises(RuntimeError, match=r"out of memory|something else"):
        list(described(device, numbers, 100))
