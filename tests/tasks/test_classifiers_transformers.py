"""Classifiers of transformers, from checkpoints that the tests write to disk."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hub
from safetensors.torch import load_file, save_file
from torch import nn

from tasks import plugins
from tasks.classification import Classifier, ClassifierInfo, load_weights, save_weights
from tasks.classifiers import transformers
from tasks.classifiers._transformers_checkpoint import description, normalisation, side
from tasks.errors import InputError
from tasks.specs import canonical

INFO = ClassifierInfo(num_classes=3, channels=3, side=28, input_size=None)
PROCESSOR = {
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
}
untyped: Any = hub
"""transformers has functions without annotations."""


def vit(**changes: Any) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return untyped.ViTConfig(
        **sizes, intermediate_size=32, image_size=32, patch_size=8, num_labels=5, **changes
    )


def resnet() -> Any:
    return untyped.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5
    )


def swin() -> Any:
    return untyped.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4
    )


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    untyped.utils.logging.set_verbosity_error()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as save_pretrained leaves them, with an image processor's description."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, config in (("vit", vit()), ("resnet", resnet()), ("swin", swin())):
        torch.manual_seed(3)
        model = untyped.AutoModelForImageClassification.from_config(config)
        model.save_pretrained(folder / name)
        (folder / name / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return {path.name: path for path in folder.iterdir()}


def identified(path: Path, pretrained: bool = True) -> transformers.Config:
    config = transformers.Config(checkpoint=str(path), pretrained=pretrained)
    return transformers.identify(config, lambda path, what, compute: compute(path))


def made(config: transformers.Config, **changes: Any) -> Classifier:
    return transformers.build(config, replace(INFO, **changes))


@pytest.mark.parametrize("name", ["vit", "resnet", "swin"])
@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("input_size", [None, 48])
def test_a_checkpoint_becomes_a_classifier_that_its_weights_file_gives_again(
    name: str,
    pretrained: bool,
    input_size: int | None,
    checkpoints: dict[str, Path],
    tmp_path: Path,
) -> None:
    config = identified(checkpoints[name], pretrained)
    info = replace(INFO, input_size=input_size)
    built = transformers.build(config, info)
    assert built.input_size == (input_size or 32)
    assert (built.channels, built.mean, built.std) == (3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert ("from scratch" in built.resolved) is not pretrained
    images = torch.rand(2, 3, built.input_size, built.input_size)
    network: Any = built.network.eval()
    with torch.no_grad():
        logits, seen = network(images), built.features(images)
        head = [m for m in network.model.classifier.modules() if isinstance(m, nn.Linear)][-1]
        assert torch.allclose(head(seen), logits, atol=1e-5)
    model = plugins.plugin("classifiers", "transformers", config)
    save_weights(tmp_path / "w.safetensors", built, model, info, ("a", "b", "c"))
    loaded, classes = load_weights(tmp_path / "w.safetensors")
    assert classes == ("a", "b", "c")
    assert (loaded.input_size, loaded.mean, loaded.std) == (built.input_size, built.mean, built.std)
    assert loaded.resolved == built.resolved
    with torch.no_grad():
        assert torch.equal(loaded.network.eval()(images), logits)
    assert str(tmp_path.parent) not in (tmp_path / "w.safetensors").read_bytes().decode("latin-1")


def test_pretrained_weights_are_the_start_and_the_head_is_fresh(
    checkpoints: dict[str, Path],
) -> None:
    published = untyped.ViTForImageClassification.from_pretrained(checkpoints["vit"]).state_dict()
    body = {name: tensor for name, tensor in published.items() if "classifier" not in name}
    assert len(body) == len(published) - 2
    found: Any = made(identified(checkpoints["vit"])).network
    loaded = found.model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in body.items())
    assert loaded["classifier.weight"].shape == (3, 16)
    fresh: Any = made(identified(checkpoints["vit"], pretrained=False)).network
    name = "vit.embeddings.patch_embeddings.projection.weight"
    assert not torch.equal(fresh.model.state_dict()[name], published[name])


def test_what_the_study_says_wins(checkpoints: dict[str, Path]) -> None:
    config = identified(checkpoints["swin"], pretrained=False)
    built = made(config, mean=(0.5,), dropout=0.3, drop_path=0.2, gradient_checkpointing=True)
    network: Any = built.network
    assert (built.mean, built.std) == ((0.5, 0.5, 0.5), (0.4, 0.5, 0.6))
    assert network.model.classifier[0].p == 0.3
    assert network.model.config.drop_path_rate == 0.2
    assert network.model.swin.encoder.layers[0].gradient_checkpointing
    network.train()(torch.rand(2, 3, 32, 32)).sum().backward()
    for scheme in ("he", "xavier"):
        torch.manual_seed(0)
        network = made(config, initialisation=scheme).network
        assert not network.model.classifier.bias.any()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("resnet", {"gradient_checkpointing": True}, r"^train\.gradient_checkpointing: resnet has"),
        ("vit", {"drop_path": 0.1}, r"^train\.drop_path: vit has none$"),
        ("vit", {"initialisation": "he"}, r"^train\.initialisation: pre-trained weights are"),
        ("vit", {"input_size": 4}, r"^train\.input_size: vit cannot take 4 pixels"),
        ("resnet", {"mean": (0.5, 0.5)}, r"^train\.mean: has 2 numbers"),
    ],
)
def test_what_a_model_has_not_is_refused_in_one_line(
    name: str, changes: dict[str, Any], message: str, checkpoints: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match=message) as error:
        made(identified(checkpoints[name]), **changes)
    assert "\n" not in str(error.value)


def copied(source: Path, out: Path) -> Path:
    out.mkdir()
    for path in source.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def test_a_folder_counts_by_content(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    copy = copied(checkpoints["vit"], tmp_path / "copy")
    one, same = identified(checkpoints["vit"]), identified(copy)
    assert one.folder != same.folder
    assert canonical(one) == canonical(same)
    assert one != identified(checkpoints["vit"], pretrained=False)
    (copy / "preprocessor_config.json").write_text("{}")
    assert identified(copy).checkpoint != one.checkpoint
    with pytest.raises(InputError, match="copy is not what it was when it was planned"):
        made(same)
    assert transformers.identify(one, lambda *_: "not asked") == one


def test_without_a_processor_pretrained_weights_need_a_normalisation(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    copy = copied(checkpoints["vit"], tmp_path / "copy")
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"give train\.mean and train\.std"):
        made(identified(copy))
    assert made(identified(copy), mean=(0.5,), std=(0.25,)).std == (0.25,) * 3
    assert made(identified(copy, pretrained=False)).mean == (0.5,) * 3


def test_weights_that_do_not_fit_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    copy = copied(checkpoints["vit"], tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    tensors["vit.layernorm.weight"] = torch.zeros(7)
    del tensors["vit.layernorm.bias"]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"does not fit vit \(vit.layernorm.bias is missing, vit"):
        made(identified(copy))
    (copy / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be loaded"):
        made(identified(copy))
    (copy / "model.safetensors").unlink()
    torch.save(tensors, copy / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        made(identified(copy))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no description"),
        ("[]", "no description"),
        ("{}", "no description"),
        ('{"model_type": "none such"}', "no description"),
        ('{"model_type": "vit", "num_hidden_layers": 1000000}', "num_hidden_layers is above"),
        ('{"model_type": "gpt2"}', "gpt2 is no image classifier"),
    ],
)
def test_descriptions_of_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^train\.model: {message}") as error:
        made(transformers.Config(network=text))
    assert "\n" not in str(error.value)


def test_what_would_fetch_code_is_left_out_of_a_description() -> None:
    values = {
        **json.loads(vit().to_json_string()),
        "auto_map": {"AutoModelForImageClassification": "evil/repository--model.Evil"},
        "attn_implementation": "evil/kernels",
        "_attn_implementation": "evil/kernels",
    }
    described = description(json.dumps(values))
    assert not hasattr(described, "auto_map")
    assert "evil" not in str(vars(described))


def test_a_network_may_be_described_in_the_study() -> None:
    text = json.dumps({"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1})
    small = json.dumps({**json.loads(text), "num_attention_heads": 2, "patch_size": 4})
    built = made(transformers.Config(network=small), input_size=16)
    assert built.network(torch.rand(1, 3, 16, 16)).shape == (1, 3)
    with pytest.raises(InputError, match=r"^train\.model\.network: has no weights"):
        made(transformers.Config(network=small, pretrained=True))


def test_a_hub_that_cannot_be_reached_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    # A port where nobody listens, and an empty cache.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(InputError, match="google/vit-base-patch16-224 cannot be had") as error:
        made(transformers.Config())
    assert time.monotonic() - started < 20
    assert "\n" not in str(error.value)


def test_paths_that_are_not_there_are_no_names_of_the_hub(tmp_path: Path) -> None:
    for given in (str(tmp_path / "gone"), "./gone", "~/gone", "models/of/mine"):
        with pytest.raises(InputError, match=r"train\.model\.checkpoint: there is no folder"):
            identified(Path(given)) if given[0] == "/" else transformers.identify(
                transformers.Config(checkpoint=given), lambda *_: ""
            )
    name = transformers.Config(checkpoint="google/vit-base-patch16-224")
    assert transformers.identify(name, lambda *_: "not asked") is name
    with pytest.raises(ValueError, match="folder is filled in by planning"):
        transformers.Config(folder="x")


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({"size": 24}, 24),
        ({"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True}, 224),
        ({"size": {"height": 30, "width": 40}, "crop_size": {"height": 8}}, 30),
        ({}, None),
        ({"size": {"longest_edge": 9}}, None),
    ],
)
def test_sides_are_what_images_are_cropped_or_scaled_to(
    processor: dict[str, Any], expected: int | None
) -> None:
    assert side(processor) == expected


def test_normalisation_may_be_switched_off() -> None:
    assert normalisation({**PROCESSOR, "do_normalize": False}) == ((0.0,), (1.0,))
    assert normalisation({}) is None
    with pytest.raises(InputError, match="no numbers"):
        normalisation({"image_mean": "half", "image_std": [1]})
