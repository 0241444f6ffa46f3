"""Companions against scikit-learn, in memory and from their files."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from tasks import companion, plugins
from tasks.classification import ClassifierInfo
from tasks.companions import cart
from tasks.errors import InputError
from tasks.images import Normalise


def drawn(
    seed: int = 0, num_images: int = 200, width: int = 6
) -> tuple[companion.Features, NDArray[np.int64]]:
    """Features in steps, so that many values lie exactly on a threshold, and noisy labels."""
    rng = np.random.default_rng(seed)
    features = (rng.integers(0, 12, (num_images, width)) / 8).astype(np.float32)
    labels = (features[:, 0] + features[:, 1] > 1.3).astype(np.int64)
    labels[rng.random(num_images) < 0.2] = 2
    return features, labels


def grown(config: cart.Config, num_classes: int = 3, seed: int = 0) -> Any:
    built: companion.Companion = plugins.build(
        "companions", plugins.plugin("companions", "cart", config)
    )
    return built.fit(*drawn(), num_classes, seed)


@pytest.mark.parametrize(
    "config",
    [
        cart.Config(),
        cart.Config(max_depth=3),
        cart.Config(min_samples_leaf=9, criterion="entropy"),
        cart.Config(max_depth=1, min_samples_leaf=150),
    ],
    ids=["pure", "shallow", "entropy", "one leaf"],
)
def test_a_tree_says_what_that_of_scikit_learn_says(config: cart.Config) -> None:
    features, labels = drawn()
    oracle = DecisionTreeClassifier(
        criterion=config.criterion,
        max_depth=config.max_depth,
        min_samples_leaf=config.min_samples_leaf,
        random_state=5,
    ).fit(features, labels)
    unseen, _ = drawn(seed=1)
    expected = oracle.predict_proba(unseen).astype(np.float32)
    assert np.array_equal(grown(config, seed=5).predict(unseen), expected)


def test_a_class_that_was_never_seen_is_never_probable() -> None:
    found = grown(cart.Config(max_depth=2), num_classes=5).predict(drawn(seed=1)[0])
    assert found.shape == (200, 5)
    assert not found[:, 3:].any()
    assert found.sum(1) == pytest.approx(1)


def test_a_file_holds_the_tree_and_its_bytes_do_not_change(tmp_path: Path) -> None:
    tree = grown(cart.Config())
    first, second = tmp_path / "companion.npz", tmp_path / "again.npz"
    tree.save(first)
    loaded = cart.build(cart.Config()).load(first)
    loaded.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "companion.npz"]
    unseen, _ = drawn(seed=1)
    assert np.array_equal(loaded.predict(unseen), tree.predict(unseen))


def changed(path: Path, **arrays: Any) -> Path:
    with np.load(path) as stored:
        np.savez(path, **({name: stored[name] for name in stored} | arrays))
    return path


@pytest.mark.parametrize(
    "arrays",
    [
        {"left": np.zeros(3, np.int64)},
        {"left": np.array([0, -1, -1]), "right": np.array([0, -1, -1])},
        {"right": np.array([7, -1, -1])},
        {"feature": np.array([99, -2, -2])},
        {"values": np.zeros((2, 3), np.float32)},
        {"values": np.array([{}], dtype=object)},
        {"width": np.zeros(3)},
    ],
    ids=str,
)
def test_a_tree_that_cannot_be_walked_down_is_refused(
    arrays: dict[str, Any], tmp_path: Path
) -> None:
    grown(cart.Config(max_depth=1)).save(tmp_path / "tree.npz")
    assert len(cart.build(cart.Config()).load(tmp_path / "tree.npz").predict(drawn()[0])) == 200
    path = changed(tmp_path / "tree.npz", **arrays)
    with pytest.raises(InputError, match=r"^tree\.npz: no readable tree"):
        cart.build(cart.Config()).load(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.npz"
    grown(cart.Config()).save(path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"^tree\.npz: no readable tree"):
            cart.build(cart.Config()).load(path)


def test_agreement_by_hand() -> None:
    network = np.array([[0.6, 0.4], [0.9, 0.1], [0.3, 0.7], [0.5, 0.5]], np.float32)
    tree = np.array([[0.0, 1.0], [0.6, 0.4], [0.4, 0.6], [0.2, 0.8]], np.float32)
    found = companion.compare(network, tree, np.array([1, 0, 0, 0]))
    assert found == companion.Agreement(agreement=0.5, companion_top1=0.5, combined_top1=0.5)
    assert companion.compare(network[:0], tree[:0], np.zeros(0, np.int64)) is None
    with pytest.raises(ValueError, match="shapes"):
        companion.compare(network, tree[:2], np.array([1, 0, 0, 0]))


class Handed:
    """Images as training has them, without packs behind them."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: NDArray[np.int64]) -> torch.Tensor:
        return self.pixels[rows]


def test_features_are_those_of_each_image_in_order() -> None:
    pixels = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8)
    info = ClassifierInfo(num_classes=3, channels=1, side=8, input_size=None)
    classifier = plugins.build("classifiers", plugins.plugin("classifiers", "small_cnn"), info)
    normalise = Normalise(classifier.mean, classifier.std, torch.device("cpu"))
    images: Any = Handed(pixels)
    seen = companion.features_of("pixels", classifier, images, normalise)
    assert np.array_equal(seen, (pixels / 255).flatten(1).numpy())
    embedded = companion.features_of("embedding", classifier, images, normalise)
    assert embedded.dtype == np.float32
    with torch.no_grad():
        expected = classifier.features(normalise(pixels[-20:])).numpy()
        logits = classifier.network(normalise(pixels[:5]))
        head = classifier.network.head[-1](torch.from_numpy(embedded[:5]))
    assert np.allclose(embedded[-20:], expected, atol=1e-6)
    assert torch.allclose(head, logits, atol=1e-5)
    nothing: Any = Handed(pixels[:0])
    assert len(companion.features_of("pixels", classifier, nothing, normalise)) == 0


def test_features_that_no_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion, "FEATURES_BYTES", 1000)
    images: Any = Handed(torch.zeros((10, 3, 8, 8), dtype=torch.uint8))
    unused: Any = SimpleNamespace()
    with pytest.raises(InputError, match="10 images of 192 values need"):
        companion.features_of("pixels", unused, images, unused)
