"""Extractors: one contract for all, and each does what its library does with the same weights."""

import functools
import hashlib
import http.server
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import interpolate
from torch_fidelity.feature_extractor_inceptionv3 import (  # type: ignore[import-untyped]
    FeatureExtractorInceptionV3,
)

from tasks import plugins
from tasks.classification import ClassifierInfo, load_weights, save_weights
from tasks.errors import InputError
from tasks.extraction import Extracted, Extractor
from tasks.extractors import classifier, clip, dinov2, inception
from tasks.packs import squared
from tasks.reading import unremembered
from tests.tasks.tiny_clip import SIZE, write_clip
from tests.tasks.trials import CLASSES, TINY

pytestmark = pytest.mark.usefixtures("one_thread")

untyped: Any = transformers
"""transformers has functions without annotations."""

NAMES = plugins.names("extractors")
SIZES = {"inception": 2048, "dinov2": 16, "clip": SIZE, "classifier": 16}


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    untyped.utils.logging.set_verbosity_error()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights for each, as their libraries write them, by the name of the extractor."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {
        "inception": folder / "inception.pth",
        "dinov2": folder / "dinov2",
        "clip": write_clip(folder / "clip"),
        "classifier": folder / "fitted",
    }
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        network = random_inception()
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                # As torch draws them, nothing of an image would reach the end.
                torch.nn.init.kaiming_normal_(module.weight)
        torch.save(network.state_dict(), paths["inception"])
        small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        described = untyped.Dinov2Config(**small, mlp_ratio=2, image_size=42, patch_size=14)
        untyped.Dinov2Model(described).save_pretrained(paths["dinov2"])
        processor = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
        (paths["dinov2"] / "preprocessor_config.json").write_text(json.dumps(processor))
        paths["classifier"].mkdir()
        info = ClassifierInfo(num_classes=10, channels=1, side=8, input_size=None)
        built = plugins.build("classifiers", TINY, info)
        save_weights(paths["classifier"] / classifier.WEIGHTS, built, TINY, info, CLASSES)
    return paths


def random_inception() -> Any:
    """torch-fidelity's network as its constructor leaves it before it loads weights."""
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], nothing)


def config_of(name: str, path: Path) -> Any:
    """What a user writes to name these weights."""
    match name:
        case "inception":
            return inception.Config(weights=str(path))
        case "dinov2":
            return dinov2.Config(checkpoint=str(path), size=28)
        case "clip":
            return clip.Config(checkpoint=str(path))
        case _:
            return classifier.Config()


def identified(name: str, path: Path) -> Any:
    config = config_of(name, path)
    identify = getattr(plugins.module("extractors", name), "identify", None)
    return config if identify is None else identify(config, unremembered)


@pytest.fixture(scope="module")
def extractors(weights: dict[str, Path]) -> dict[str, Extractor]:
    return {name: built(name, identified(name, path), path) for name, path in weights.items()}


def built(name: str, config: Any, fitted: Path) -> Extractor:
    module = plugins.module("extractors", name)
    chosen = plugins.plugin("extractors", name, config)
    given = fitted if module.NEEDS_FIT else None
    extractor: Extractor = plugins.build("extractors", chosen, given, "cpu")
    return extractor


def pictures(num: int, channels: int, height: int = 20, width: int = 20) -> torch.Tensor:
    """Blots, not noise: resizing must leave something of them."""
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand((num, channels, 5, 5), generator=rng)
    return (interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1) * 255).byte()


# For every extractor


def test_every_extractor_is_tested() -> None:
    assert set(SIZES) == set(NAMES)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_the_same_features_wherever_it_stands(
    name: str, channels: int, extractors: dict[str, Extractor]
) -> None:
    images = pictures(3, channels)
    found = extractors[name](images)
    assert found.features.dtype == np.float32
    assert found.features.shape == (3, SIZES[name])
    assert np.isfinite(found.features).all()
    spread = np.abs(found.features - found.features[0]).max(1)
    assert (spread[1:] > 1e-4).all(), "different images have different features"
    again = extractors[name](images)
    np.testing.assert_array_equal(found.features, again.features)
    turned = extractors[name](images.flip(0))
    np.testing.assert_allclose(turned.features[::-1], found.features, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_grey_is_the_colour_with_three_equal_channels(
    name: str, extractors: dict[str, Extractor]
) -> None:
    grey = pictures(2, 1)
    one, three = extractors[name](grey), extractors[name](grey.repeat(1, 3, 1, 1))
    np.testing.assert_allclose(one.features, three.features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(20, 33), (64, 64), (8, 8)])
@pytest.mark.parametrize("name", NAMES)
def test_images_of_any_shape_will_do(
    name: str, shape: tuple[int, int], extractors: dict[str, Extractor]
) -> None:
    found = extractors[name](pictures(1, 3, *shape))
    assert found.features.shape == (1, SIZES[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_stamp_says_what_the_numbers_depend_on(
    name: str, extractors: dict[str, Extractor]
) -> None:
    stamp = extractors[name].stamp
    assert set(stamp) == {"extractor", "weights", "resize", "size", "dtype", "features"}
    assert all(isinstance(value, str) and value for value in stamp.values())
    assert stamp["extractor"] == name
    assert "sha256:" in stamp["weights"], "local weights are named by content"


@pytest.mark.parametrize("name", [n for n in NAMES if n != "classifier"])
def test_local_weights_count_by_content_and_are_checked_when_used(
    name: str, weights: dict[str, Path], tmp_path: Path
) -> None:
    config = identified(name, weights[name])
    assert identified(name, weights[name]) == config
    module = plugins.module("extractors", name)
    assert module.identify(config, unremembered) == config
    named = config.weights if name == "inception" else config.checkpoint
    assert named.startswith("sha256:")
    changed = "sha256:" + "0" * 64
    field = "weights" if name == "inception" else "checkpoint"
    with pytest.raises(InputError, match="is not what it was when"):
        built(name, replace(config, **{field: changed}), tmp_path)
    with pytest.raises(ValueError, match="filled in by planning"):
        replace(config, **{field: "x"})


@pytest.mark.parametrize("name", [n for n in NAMES if n != "classifier"])
def test_a_path_that_leads_nowhere_is_one_line(name: str, tmp_path: Path) -> None:
    module = plugins.module("extractors", name)
    config = config_of(name, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"there is no (file|folder) .*nowhere"):
        module.identify(config, unremembered)


# Inception


def test_inception_is_torch_fidelitys(
    weights: dict[str, Path], extractors: dict[str, Extractor]
) -> None:
    reference = random_inception()
    reference.load_state_dict(torch.load(weights["inception"], weights_only=True))
    images = pictures(2, 3)
    with torch.no_grad():
        (expected,) = reference(images)
    np.testing.assert_allclose(
        extractors["inception"](images).features, expected.numpy(), rtol=1e-3, atol=1e-5
    )


def test_other_weights_than_inceptions_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other.pth does not fit torch-fidelity's Inception-v3"):
        built("inception", inception.Config(weights=str(tmp_path / "other.pth")), tmp_path)


class Runs:
    """What a stranger's pickle may hold."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("run"),))


def test_a_weights_file_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": Runs()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match=r"extractor: evil.pth: cannot be read as plain tensors"):
        built("inception", inception.Config(weights="evil.pth"), tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A server of files, its address and its folder; torch keeps what it fetches elsewhere."""
    served = tmp_path / "served"
    served.mkdir()
    handler = functools.partial(Silent, directory=str(served))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    yield f"http://127.0.0.1:{server.server_port}", served
    server.shutdown()
    thread.join()
    server.server_close()


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Leave the output of tests alone."""


def test_published_weights_are_fetched_once(
    site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = site
    content = b"weights"
    name = f"weights-inception-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (served / name).write_bytes(content)
    monkeypatch.setattr(inception, "URL", f"{address}/{name}")
    path = inception._fetched()
    assert path.read_bytes() == content
    (served / name).unlink()
    assert inception._fetched() == path


def test_weights_that_cannot_be_had_are_one_line(
    site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = site
    monkeypatch.setattr(inception, "URL", f"{address}/weights-00000000.pth")
    with pytest.raises(InputError, match=r"cannot be had from .*404.*put the file at"):
        built("inception", inception.Config(), served)
    (served / "weights-00000000.pth").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"cannot be had from .*invalid hash"):
        built("inception", inception.Config(), served)
    assert not list((served.parent / "hub" / "checkpoints").iterdir())


# DINOv2


def test_dinov2_is_that_of_transformers(
    weights: dict[str, Path], extractors: dict[str, Extractor]
) -> None:
    model = untyped.Dinov2Model.from_pretrained(weights["dinov2"]).eval()
    images = pictures(2, 3, 28, 28)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    with torch.no_grad():
        expected = model(pixel_values=(images / 255 - mean) / std).last_hidden_state[:, 0]
    found = extractors["dinov2"](images)
    np.testing.assert_allclose(found.features, expected.numpy(), atol=1e-5)
    assert found.probabilities is None


def test_a_checkpoint_of_something_else_is_no_dinov2(tmp_path: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    described = untyped.ViTConfig(**small, intermediate_size=32, image_size=32, patch_size=8)
    untyped.ViTModel(described).save_pretrained(tmp_path / "vit")
    with pytest.raises(InputError, match="is a vit, not a dinov2"):
        built("dinov2", dinov2.Config(checkpoint=str(tmp_path / "vit")), tmp_path)
    (tmp_path / "vit" / "config.json").unlink()
    with pytest.raises(InputError, match=r"^extractor: .*holds no readable config.json"):
        built("dinov2", dinov2.Config(checkpoint=str(tmp_path / "vit")), tmp_path)


def test_a_dinov2_without_all_of_its_weights_is_refused(
    weights: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "dinov2"
    folder.mkdir()
    (folder / "config.json").write_bytes((weights["dinov2"] / "config.json").read_bytes())
    tensors = load_file(weights["dinov2"] / "model.safetensors")
    tensors.pop("layernorm.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"^extractor: the weights of .*layernorm.weight is miss"):
        built("dinov2", dinov2.Config(checkpoint=str(folder)), tmp_path)


# CLIP


def test_clip_is_that_of_transformers(
    weights: dict[str, Path], extractors: dict[str, Extractor]
) -> None:
    model = untyped.CLIPModel.from_pretrained(weights["clip"]).eval()
    processor = untyped.CLIPImageProcessor.from_pretrained(weights["clip"])
    images = pictures(2, 3)
    with torch.no_grad():
        seen = processor(images=list(images), return_tensors="pt")["pixel_values"]
        expected = model.visual_projection(model.vision_model(pixel_values=seen).pooler_output)
    expected = torch.nn.functional.normalize(expected)
    np.testing.assert_allclose(extractors["clip"](images).features, expected.numpy(), atol=1e-3)


# The classifier


def test_the_classifier_gives_what_its_last_layer_sees_and_says(
    weights: dict[str, Path], extractors: dict[str, Extractor]
) -> None:
    images = pictures(4, 1, 30, 20)
    found = extractors["classifier"](images)
    network: Any = load_weights(weights["classifier"] / classifier.WEIGHTS)[0].network.eval()
    rows = [squared(image.permute(1, 2, 0).numpy(), 8) for image in images]
    seen = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        given = network.head[:2](network.features(seen))
        said = network(seen).softmax(1)
    assert_described(found, given.numpy(), said.numpy())


def assert_described(found: Extracted, features: Any, probabilities: Any) -> None:
    assert found.probabilities is not None
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.features, features, atol=1e-5)
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-5)


def test_the_classifier_asks_for_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fitted on a study's own images"):
        classifier.build(classifier.Config(), None, "cpu")
    with pytest.raises(InputError, match="cannot be read"):
        classifier.build(classifier.Config(), tmp_path, "cpu")
