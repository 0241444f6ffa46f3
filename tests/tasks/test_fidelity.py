"""Each measure equals its reference; a fidelity step says what its numbers rest on."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_fidelity import metric_fid, metric_kid, metric_prc  # type: ignore[import-untyped]
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from tasks.errors import InputError
from tasks.fidelity import fidelity
from tasks.measures.catalogue import CATALOGUE, HIGHER_IS_BETTER, IN_FEATURE_SPACE, MEASURES
from tasks.measures.frechet import frechet_distance
from tasks.measures.kernel import kernel_distance, squared_mmd
from tasks.measures.manifold import manifold_measures
from tasks.measures.projection import pca, tsne
from tasks.packs import Example, Pack, held_out, read_all, select
from tasks.results import read_result, write_result
from tasks.specs import Counts, FidelitySpec, ImagesSpec, Key, RealReference
from tests.tasks.trials import write

pytestmark = pytest.mark.usefixtures("one_thread")

Rows = NDArray[np.float32]


def drawn(num: int, dims: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Rows:
    """Features that are not independent, nor centred, nor of one scale."""
    rng = np.random.default_rng(seed)
    mixed = np.random.default_rng(99).standard_normal((dims, dims)) / np.sqrt(dims)
    rows: Rows = (np.abs(rng.standard_normal((num, dims)) @ mixed) * scale + shift).astype("f4")
    return rows


SHAPES = [(300, 250, 16), (60, 80, 200), (500, 40, 64), (40, 500, 1)]
"""Of real and synthetic images and features; more images than features, and fewer."""
PAIRS = [
    pytest.param(drawn(n, d, 1), drawn(m, d, 2, 0.8, 0.1), id=f"{n}-{m}-{d}") for n, m, d in SHAPES
]


class PassThrough(nn.Module):
    """Features that are given instead of computed."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


# Against references


@pytest.mark.parametrize(("real", "synthetic"), PAIRS)
def test_fid_is_torch_fidelitys(real: Rows, synthetic: Rows) -> None:
    moments = [
        metric_fid.fid_features_to_statistics(torch.from_numpy(rows).double())
        for rows in (synthetic, real)
    ]
    if real.shape[1] == 1:
        moments = [{**each, "sigma": each["sigma"].reshape(1, 1)} for each in moments]
    expected = metric_fid.fid_statistics_to_metric(*moments, verbose=False)
    found = frechet_distance(real, synthetic)
    assert found == pytest.approx(expected[metric_fid.KEY_METRIC_FID], rel=1e-4)


@pytest.mark.parametrize(("real", "synthetic"), PAIRS[:2])
def test_fid_is_torchmetrics(real: Rows, synthetic: Rows) -> None:
    metric = FrechetInceptionDistance(feature=PassThrough(real.shape[1]), normalize=True)
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(synthetic).double(), real=False)
    assert frechet_distance(real, synthetic) == pytest.approx(float(metric.compute()), rel=1e-4)


@pytest.mark.parametrize("size", [2, 30])
@pytest.mark.parametrize(("real", "synthetic"), PAIRS)
def test_kid_is_torch_fidelitys(real: Rows, synthetic: Rows, size: int) -> None:
    ours, theirs = (torch.from_numpy(rows).double() for rows in (synthetic, real))
    expected = metric_kid.kid_features_to_metric(ours, theirs, kid_subset_size=size, verbose=False)
    found = kernel_distance(real, synthetic, subset_size=size)
    assert found.mean == pytest.approx(expected[metric_kid.KEY_METRIC_KID_MEAN], rel=1e-4)
    assert found.std == pytest.approx(expected[metric_kid.KEY_METRIC_KID_STD], rel=1e-4)
    assert (found.subsets, found.subset_size) == (100, size)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_kid_of_all_images_is_torchmetrics() -> None:
    """Subsets that hold every image are the same ones in whatever way they are drawn."""
    real, synthetic = drawn(50, 8, 1), drawn(50, 8, 2, 0.8)
    metric = KernelInceptionDistance(feature=PassThrough(8), subsets=2, subset_size=50)
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(synthetic).double(), real=False)
    found = kernel_distance(real, synthetic)
    assert found.mean == pytest.approx(float(metric.compute()[0]), rel=1e-4)
    assert (found.std, found.subsets, found.subset_size) == (None, 1, 50)


@pytest.mark.parametrize(("real", "synthetic"), PAIRS)
def test_precision_and_recall_are_torch_fidelitys(real: Rows, synthetic: Rows) -> None:
    ours, theirs = (torch.from_numpy(rows).double() for rows in (synthetic, real))
    expected = metric_prc.prc_features_to_metric(ours, theirs, verbose=False)
    found = manifold_measures(real, synthetic)
    assert found["precision"] == pytest.approx(expected[metric_prc.KEY_METRIC_PRECISION], rel=1e-4)
    assert found["recall"] == pytest.approx(expected[metric_prc.KEY_METRIC_RECALL], rel=1e-4)


@pytest.mark.parametrize(("real", "synthetic"), PAIRS)
def test_density_and_coverage_are_their_formulas(real: Rows, synthetic: Rows) -> None:
    k = 5
    between = np.linalg.norm(real[:, None].astype(np.float64) - synthetic[None], axis=2)
    within = np.linalg.norm(real[:, None].astype(np.float64) - real[None], axis=2)
    balls = np.sort(within, 1)[:, k]
    density, covered = 0.0, 0
    for i in range(len(real)):
        held = [j for j in range(len(synthetic)) if between[i, j] < balls[i]]
        density += len(held) / (k * len(synthetic))
        covered += bool(held)
    found = manifold_measures(real, synthetic)
    assert found["density"] == pytest.approx(density, rel=1e-4)
    assert found["coverage"] == pytest.approx(covered / len(real), rel=1e-4)
    assert density > 0


def test_measures_that_are_asked_for_alone_are_the_same() -> None:
    real, synthetic = drawn(60, 4, 1), drawn(70, 4, 2, 0.7)
    together = manifold_measures(real, synthetic)
    assert all(value > 0 for value in together.values())
    for name, value in together.items():
        assert manifold_measures(real, synthetic, [name]) == {name: value}


# What measures must be by themselves


def test_fid_of_gaussians_is_its_closed_form() -> None:
    """Of N(m, A²) and N(m', B²), with A and B that commute: ‖m − m'‖² + ‖A − B‖²."""
    dims, num = 5, 200
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.standard_normal((dims, dims)))[0]
    scales = [np.array([1, 2, 0.5, 3, 1.5]), np.array([2, 1, 0.5, 1, 0])]
    means = [np.zeros(dims), np.arange(dims) / 2]
    sets = []
    for scale, mean in zip(scales, means, strict=True):
        # Exactly white: the formula is of the moments, not of what was drawn.
        white = np.linalg.qr(_centred(rng.standard_normal((num, dims))))[0] * np.sqrt(num - 1)
        sets.append(white * scale @ turned.T + mean)
    expected = np.square(means[0] - means[1]).sum() + np.square(scales[0] - scales[1]).sum()
    assert frechet_distance(*sets) == pytest.approx(expected, rel=1e-9)


def _centred(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = rows - rows.mean(0)
    return centred


@pytest.mark.parametrize("num", [3, 40, 300])
def test_a_set_with_itself_is_perfect(num: int) -> None:
    rows = drawn(num, 40, 1)
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(rows, rows[::-1]) == pytest.approx(0, abs=1e-9)
    if num > 5:
        perfect = dict.fromkeys(("precision", "recall", "density", "coverage"), 1.0)
        assert manifold_measures(rows, rows) == perfect


def test_swapping_real_and_synthetic_swaps_precision_and_recall() -> None:
    one, other = drawn(80, 4, 1), drawn(120, 4, 2, 0.6)
    there, back = manifold_measures(one, other), manifold_measures(other, one)
    assert there["precision"] != there["recall"]
    assert (there["precision"], there["recall"]) == (back["recall"], back["precision"])
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-9)


def test_kid_is_unbiased() -> None:
    """Of sets of one distribution it is 0 on average, however small they are; biased it is not."""
    found = [
        squared_mmd(drawn(6, 3, 2 * i).astype(float), drawn(6, 3, 2 * i + 1).astype(float))
        for i in range(4000)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    itself = drawn(6, 3, 0).astype(float)
    assert squared_mmd(itself, itself) < -error, "what an image is to itself is left out"


def test_a_collapsed_set_is_precise_and_covers_little() -> None:
    real = drawn(200, 8, 1)
    collapsed = real[:1] + drawn(100, 8, 2, 1e-4)
    found = manifold_measures(real, collapsed)
    assert found["precision"] == 1
    assert found["recall"] < 0.05
    assert found["coverage"] < 0.1
    assert found["density"] > 0.5


def test_images_that_are_all_one_have_defined_values() -> None:
    same, other = np.full((10, 3), 0.1, np.float32), np.full((8, 3), 0.4, np.float32)
    assert frechet_distance(same, other) == pytest.approx(3 * 0.09, rel=1e-5)
    assert kernel_distance(same, same).mean == pytest.approx(0, abs=1e-12)
    closed = manifold_measures(same, same, ["precision", "recall"])
    assert closed == {"precision": 1.0, "recall": 1.0}
    opened = manifold_measures(same, same, ["density", "coverage"])
    assert opened == {"density": 0.0, "coverage": 0.0}
    assert set(manifold_measures(same, other).values()) == {0.0}


@pytest.mark.parametrize(
    ("measure", "num_real", "num_synthetic"),
    [
        (frechet_distance, 1, 5),
        (kernel_distance, 5, 1),
        (lambda r, s: manifold_measures(r, s, ["precision"]), 3, 9),
        (lambda r, s: manifold_measures(r, s, ["recall"]), 9, 3),
        (lambda r, s: manifold_measures(r, s, ["coverage"]), 5, 9),
    ],
)
def test_too_few_images_are_refused(
    measure: Callable[[Rows, Rows], Any], num_real: int, num_synthetic: int
) -> None:
    with pytest.raises(ValueError, match="at least"):
        measure(drawn(num_real, 3, 1), drawn(num_synthetic, 3, 2))
    measure(drawn(num_real + 1, 3, 1), drawn(num_synthetic + 1, 3, 2))


def test_the_catalogue_speaks_of_every_measure() -> None:
    assert MEASURES == ("fid", "kid", "precision", "recall", "density", "coverage", "cas")
    assert MEASURES[:-1] == IN_FEATURE_SPACE
    assert [name for name in MEASURES if not HIGHER_IS_BETTER[name]] == ["fid", "kid"]
    assert all(CATALOGUE[name].says.endswith(".") for name in MEASURES)


def test_planning_can_name_measures_without_loading_anything() -> None:
    program = "import sys, tasks.measures.catalogue; print(*sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "scipy", "sklearn", "torch"} & set(done.stdout.split())


# The map


def test_components_are_those_of_the_fitted_rows() -> None:
    fitted, shown = drawn(50, 6, 1), drawn(9, 6, 2)
    found = pca(fitted, shown)
    values, vectors = np.linalg.eigh(np.cov(fitted.astype(np.float64), rowvar=False))
    expected = (shown - fitted.mean(0, dtype=np.float64)) @ vectors[:, np.argsort(-values)[:2]]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)
    mirrored = pca(fitted[::-1], shown)
    np.testing.assert_allclose(mirrored, found, atol=1e-5)


def test_tsne_keeps_clusters_together_and_repeats_itself() -> None:
    clusters = np.concatenate([drawn(20, 80, 1, 0.1), drawn(20, 80, 2, 0.1, 5)])
    found = tsne(clusters)
    np.testing.assert_array_equal(found, tsne(clusters))
    near = np.linalg.norm(found[:, None] - found[None], axis=2)
    nearest = (near + np.diag(np.full(40, np.inf))).argmin(1)
    assert ((nearest < 20) == (np.arange(40) < 20)).all()


@pytest.mark.parametrize("num", [1, 2, 3, 5, 20])
def test_maps_of_few_or_equal_images_are_finite(num: int) -> None:
    for rows in (drawn(num, 1, 1), np.full((num, 3), 0.1, np.float32)):
        assert np.isfinite(pca(rows, rows)).all()
        assert np.isfinite(tsne(rows)).all()
        assert pca(rows, rows).shape == tsne(rows).shape == (num, 2)


# The step

NUM_CLASSES = 3
STAMP = {"extractor": "classifier", "weights": "sha256:0", "size": "8"}


def pack_of(
    folder: Path, counts: Counts, tag: str, classes: tuple[str, ...] = ("a", "b", "c")
) -> Path:
    """Images without content, class after class in turn."""
    left, examples = list(counts), list[Example]()
    while any(left):
        for label in range(len(counts)):
            if left[label]:
                left[label] -= 1
                source = f"{tag}{len(examples)}"
                pixels = np.zeros((2, 2, 1), np.uint8)
                examples.append(Example(pixels=pixels, label=label, source=source, sha256=source))
    return write(folder, examples, classes)


def features_of(folder: Path, pack: Path, seed: int, **stamp: str) -> Path:
    """Each class around a place of its own, by name."""
    folder.mkdir()
    opened = Pack(pack)
    places = np.array([ord(opened.classes[label]) for label in opened.labels])
    rows = drawn(len(opened), 12, seed) + places[:, None].astype(np.float32)
    np.save(folder / "features.npy", rows)
    write_result(folder, {"stamp": STAMP | stamp})
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> dict[Key, Path]:
    packs = {
        "train": pack_of(tmp_path / "train", (40, 30, 20), "t"),
        "test": pack_of(tmp_path / "test", (10, 10, 10), "e"),
        # Its label order is another: labels go by name.
        "set": pack_of(tmp_path / "set", (25, 20, 3), "s", ("c", "a", "b")),
    }
    features = {
        f"{name} features": features_of(tmp_path / f"{name}_features", pack, seed)
        for seed, (name, pack) in enumerate(packs.items())
    }
    return packs | features


def spec(
    measures: tuple[str, ...] = IN_FEATURE_SPACE,
    training: Counts = (30, 20, 10),
    fold: tuple[int, int] | None = None,
) -> FidelitySpec:
    test = "test" if fold is None else "train"
    images = ImagesSpec(
        pack="train", split_seed=0, validation=(2, 2, 2), training=training, fold=fold
    )
    return FidelitySpec(
        pack="set",
        features="set features",
        real=RealReference(
            train=images,
            train_features="train features",
            test=test,
            test_features=f"{test} features",
        ),
        measures=measures,
    )


def run(asked: FidelitySpec, inputs: dict[Key, Path], out: Path) -> dict[str, Any]:
    out.mkdir()
    read_all(fidelity(asked, inputs, out))
    return read_result(out)


def test_a_step_measures_all_synthetic_against_the_training_images(
    inputs: dict[Key, Path], tmp_path: Path
) -> None:
    asked = spec()
    result = run(asked, inputs, tmp_path / "out")
    rows = select(Pack(inputs["train"]), asked.real.train)[1]
    assert len(rows) == 60
    real = np.load(inputs["train features"] / "features.npy")[rows]
    synthetic = np.load(inputs["set features"] / "features.npy")
    kid = kernel_distance(real, synthetic)
    expected = {
        "fid": frechet_distance(real, synthetic),
        "kid": kid.mean,
        **manifold_measures(real, synthetic),
    }
    assert result["measures"] == pytest.approx(expected, rel=1e-12)
    assert result["kid_std"] == pytest.approx(kid.std, rel=1e-12)
    assert result["stamp"] == STAMP | {
        "real_images": "60",
        "synthetic_images": "48",
        "kid_subsets": "100 of 48",
        "precision_recall_k": "3",
        "density_coverage_k": "5",
    }
    (warning,) = result["warnings"]
    assert warning.startswith("FID below 2,048 images (60 real, 48 synthetic)")
    assert result["seconds"] > 0


def test_only_what_is_asked_for_is_measured(inputs: dict[Key, Path], tmp_path: Path) -> None:
    result = run(spec(("coverage",)), inputs, tmp_path / "out")
    assert list(result["measures"]) == ["coverage"]
    assert result["kid_std"] is None
    assert result["warnings"] == []
    assert set(result["stamp"]) - set(STAMP) == {
        "real_images",
        "synthetic_images",
        "density_coverage_k",
    }


def test_progress_ends_at_its_total(inputs: dict[Key, Path], tmp_path: Path) -> None:
    seen = list(fidelity(spec(), inputs, tmp_path))
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert seen[-1].done == seen[-1].total
    assert {each.total for each in seen} == {seen[-1].total}


def test_the_map_shows_all_three_groups(inputs: dict[Key, Path], tmp_path: Path) -> None:
    asked = spec(("coverage",))
    run(asked, inputs, tmp_path / "out")
    with np.load(tmp_path / "out" / "map.npz") as found:
        group, label, points = found["group"], found["label"], found["pca"]
        assert found["tsne"].shape == points.shape == (60 + 48 + 30, 2)
        assert found["tsne"].dtype == points.dtype == np.float32
    assert np.bincount(group).tolist() == [60, 48, 30]
    counts = [np.bincount(label[group == each], minlength=3).tolist() for each in range(3)]
    # By the names of the real classes: the set's own order is c, a, b.
    assert counts == [[30, 20, 10], [20, 3, 25], [10, 10, 10]]
    # Classes lie along one line, and every group lies along it in the same way.
    for each in range(3):
        means = [points[(group == each) & (label == c), 0].mean() for c in range(3)]
        assert abs(means[0] - means[2]) > abs(means[0] - means[1]) > 1


def test_a_large_map_takes_an_even_share(tmp_path: Path, inputs: dict[Key, Path]) -> None:
    inputs["set"] = pack_of(tmp_path / "large", (600, 300), "l", ("a", "c"))
    inputs["set features"] = features_of(tmp_path / "large_features", inputs["set"], 7)
    run(spec(("coverage",)), inputs, tmp_path / "out")
    with np.load(tmp_path / "out" / "map.npz") as found:
        shown = found["label"][found["group"] == 1]
    assert np.bincount(shown).tolist() == [200, 0, 100]


def test_a_synthetic_image_stands_beside_its_nearest_real_one(
    inputs: dict[Key, Path], tmp_path: Path
) -> None:
    asked = spec(("coverage",))
    run(asked, inputs, tmp_path / "out")
    real = np.load(inputs["train features"] / "features.npy").astype(np.float64)
    synthetic = np.load(inputs["set features"] / "features.npy").astype(np.float64)
    training = select(Pack(inputs["train"]), asked.real.train)[1]
    labels = Pack(inputs["set"]).labels
    with np.load(tmp_path / "out" / "neighbours.npz") as found:
        rows, beside, distance = found["synthetic"], found["real"], found["distance"]
    # Of a, b and c, which are 1, 2 and 0 there; there are only three of b.
    assert labels[rows].tolist() == [1] * 4 + [2] * 3 + [0] * 4
    for row, other, far in zip(rows, beside, distance, strict=True):
        every = np.linalg.norm(real[training] - synthetic[row], axis=1)
        assert other == training[every.argmin()]
        assert far == pytest.approx(every.min())
    for label in range(3):
        mine = rows[labels[rows] == label]
        assert mine.tolist() == np.flatnonzero(labels == label)[: len(mine)].tolist()


def test_a_fold_is_what_is_tested_on(inputs: dict[Key, Path], tmp_path: Path) -> None:
    asked = spec(("coverage",), training=(20, 15, 10), fold=(1, 4))
    run(asked, inputs, tmp_path / "out")
    with np.load(tmp_path / "out" / "map.npz") as found:
        group, label = found["group"], found["label"]
    tested = held_out(Pack(inputs["train"]), asked.real.train)
    assert np.bincount(group)[2] == len(tested) < 40
    expected = np.bincount(Pack(inputs["train"]).labels[tested])
    assert np.bincount(label[group == 2]).tolist() == expected.tolist()


def test_a_step_gives_the_same_bits_again(inputs: dict[Key, Path], tmp_path: Path) -> None:
    one = run(spec(), inputs, tmp_path / "one") | {"seconds": 0}
    assert one == run(spec(), inputs, tmp_path / "other") | {"seconds": 0}
    for name in ("map.npz", "neighbours.npz"):
        with np.load(tmp_path / "one" / name) as first, np.load(tmp_path / "other" / name) as again:
            for array in first.files:
                np.testing.assert_array_equal(first[array], again[array])


def test_measures_that_so_few_images_do_not_have_are_spoken_of(
    inputs: dict[Key, Path], tmp_path: Path
) -> None:
    result = run(spec(training=(2, 1, 1)), inputs, tmp_path / "out")
    assert sorted(result["measures"]) == ["fid", "kid", "precision", "recall"]
    told = " ".join(result["warnings"])
    assert "density is not there: it needs 6 real and 1 synthetic images" in told
    assert "there are 4 and 48" in told


def test_one_image_of_one_class_will_do(inputs: dict[Key, Path], tmp_path: Path) -> None:
    inputs["set"] = pack_of(tmp_path / "one", (1,), "o", ("b",))
    inputs["set features"] = features_of(tmp_path / "one_features", inputs["set"], 7)
    result = run(spec(), inputs, tmp_path / "out")
    assert sorted(result["measures"]) == ["coverage", "density", "precision"]


def test_features_of_another_extractor_are_refused(inputs: dict[Key, Path], tmp_path: Path) -> None:
    inputs["set features"] = features_of(tmp_path / "x", inputs["set"], 7, weights="sha256:1")
    with pytest.raises(InputError, match="of weights sha256:1 and of weights sha256:0 cannot be"):
        run(spec(), inputs, tmp_path / "out")


def test_features_that_are_no_numbers_are_refused(inputs: dict[Key, Path], tmp_path: Path) -> None:
    path = inputs["set features"] / "features.npy"
    rows = np.load(path)
    rows[17, 3] = np.nan
    np.save(path, rows)
    with pytest.raises(InputError, match="features of the synthetic images are no finite numbers"):
        run(spec(), inputs, tmp_path / "out")


def test_an_unknown_measure_is_refused(inputs: dict[Key, Path], tmp_path: Path) -> None:
    asked = replace(spec(), measures=("fidd",))
    with pytest.raises(InputError, match="unknown measure 'fidd': did you mean 'fid'"):
        run(asked, inputs, tmp_path / "out")
