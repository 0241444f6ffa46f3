"""Classifiers honour what a study says of them, or say in one line that they cannot."""

import math
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tasks import plugins
from tasks.classification import Classifier, ClassifierInfo
from tasks.classifiers import small_cnn, timm
from tasks.errors import InputError
from tasks.initialisation import initialise
from tasks.reading import file_sha256
from tasks.specs import canonical

INFO = ClassifierInfo(num_classes=4, channels=3, side=32, input_size=32)
RESNET, VIT = "test_resnet.r160_in1k", "test_vit.r160_in1k"


def made(config: Any, load_pretrained: bool = True, **changes: Any) -> Classifier:
    name = "small_cnn" if isinstance(config, small_cnn.Config) else "timm"
    model = plugins.plugin("classifiers", name, config)
    info = replace(INFO, **changes)
    built: Classifier = plugins.build("classifiers", model, info, load_pretrained=load_pretrained)
    return built


def head_of(built: Classifier) -> nn.Linear:
    return [m for m in built.network.modules() if isinstance(m, nn.Linear)][-1]


ALL = [
    small_cnn.Config(),
    timm.Config(architecture=RESNET),
    timm.Config(architecture=VIT),
    timm.Config(architecture="test_convnext.r160_in1k"),
]


@pytest.mark.parametrize("config", ALL, ids=str)
def test_features_are_what_the_head_sees(config: Any) -> None:
    built = made(config)
    built.network.eval()
    images = torch.rand(2, built.channels, 32, 32)
    with torch.no_grad():
        logits, seen = built.network(images), built.features(images)
    assert torch.allclose(head_of(built)(seen), logits, atol=1e-5)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_normalisation_is_the_studys_where_it_says_one(config: Any) -> None:
    own = made(config)
    assert len(own.mean) == len(own.std) == own.channels
    given = made(config, mean=(0.1, 0.2, 0.3), std=(0.4,))
    assert (given.mean, given.std) == ((0.1, 0.2, 0.3), (0.4, 0.4, 0.4))
    assert made(config, std=(0.4,)).mean == own.mean
    with pytest.raises(InputError, match=r"train\.mean: has 2 numbers, and images 3 channels"):
        made(config, mean=(0.1, 0.2))


@pytest.mark.parametrize("config", ALL, ids=str)
def test_dropout_is_before_the_head(config: Any) -> None:
    built = made(config, dropout=0.999)
    images = torch.rand(8, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(built.network.eval()(images), built.network(images))
        seen = built.network.train()(images)
    # All but a thousandth of what the head sees is gone: most rows are its bias alone.
    assert (seen - head_of(built).bias).abs().median() < 1e-5


def test_drop_path_reaches_the_blocks_of_timm() -> None:
    rates = [
        vars(each)["drop_prob"]
        for each in made(timm.Config(architecture=VIT), drop_path=0.4).network.modules()
        if type(each).__name__ == "DropPath"
    ]
    assert max(rates) == pytest.approx(0.4)
    for config in (timm.Config(architecture="vgg11.tv_in1k"), small_cnn.Config()):
        with torch.device("meta"), pytest.raises(InputError, match=r"^train\.drop_path: "):
            made(config, drop_path=0.4)


@pytest.mark.parametrize("architecture", [RESNET, VIT])
def test_gradient_checkpointing_changes_no_gradient(architecture: str) -> None:
    config = timm.Config(architecture=architecture)
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network: Any = made(config, gradient_checkpointing=checkpointing).network
        torch.manual_seed(1)
        network(torch.rand(4, 3, 32, 32)).square().sum().backward()
        found.append([p.grad for p in network.parameters() if p.grad is not None])
        assert getattr(network, "grad_checkpointing", False) is checkpointing
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    "config", [timm.Config(architecture="vgg11.tv_in1k"), small_cnn.Config()], ids=str
)
def test_who_has_no_gradient_checkpointing_says_so(config: Any) -> None:
    message = r"^train\.gradient_checkpointing: (vgg11|small_cnn)"
    with torch.device("meta"), pytest.raises(InputError, match=message):
        made(config, gradient_checkpointing=True)


# Initialisation


@pytest.mark.parametrize("scheme", ["he", "xavier"])
def test_weights_are_drawn_with_the_variance_of_the_paper(scheme: str) -> None:
    torch.manual_seed(0)
    plain, grouped = nn.Conv2d(64, 128, 3), nn.Conv2d(128, 128, 3, groups=4)
    linear, norm = nn.Linear(400, 100), nn.BatchNorm2d(128)
    nn.init.zeros_(norm.weight)
    initialise(nn.Sequential(plain, grouped, norm, linear), scheme)
    fans = {plain: (64 * 9, 128 * 9), grouped: (32 * 9, 32 * 9), linear: (400, 100)}
    layers: list[Any] = list(fans)
    for layer, (fan_in, fan_out) in zip(layers, fans.values(), strict=True):
        he = 2 / (fan_in if layer is linear else fan_out)
        variance = he if scheme == "he" else 2 / (fan_in + fan_out)
        assert layer.weight.var().item() == pytest.approx(variance, rel=0.05)
        assert not layer.bias.any()
    assert (norm.weight == 1).all()
    bound = math.sqrt(6 / 500)
    assert (linear.weight.abs().max() <= bound).item() is (scheme == "xavier")


def test_ungrouped_convolutions_are_those_of_torch() -> None:
    ours, theirs = nn.Conv2d(8, 16, 3), nn.Conv2d(8, 16, 3)
    for scheme in ("he", "xavier"):
        torch.manual_seed(3)
        initialise(ours, scheme)
        torch.manual_seed(3)
        if scheme == "he":
            nn.init.kaiming_normal_(theirs.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.xavier_uniform_(theirs.weight)
        assert torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_initialisation_is_of_the_seed_and_the_scheme(config: Any) -> None:
    found: dict[str, torch.Tensor] = {}
    for scheme in ("default", "he", "xavier", "xavier"):
        torch.manual_seed(0)
        network = made(config, initialisation=scheme).network
        weights = torch.cat([p.detach().flatten() for p in network.parameters()])
        assert scheme not in found or torch.equal(found[scheme], weights)
        found[scheme] = weights
    assert not torch.equal(found["he"], found["default"])
    assert not torch.equal(found["he"], found["xavier"])
    with pytest.raises(InputError, match=r"^train\.initialisation: unknown 'He'"):
        made(config, initialisation="He")


# The stem for small images


def test_a_residual_network_for_small_images_is_that_of_the_literature() -> None:
    """ResNet-18 for CIFAR-10 has 11,173,962 parameters (github.com/kuangliu/pytorch-cifar)."""
    built = made(timm.Config(architecture="resnet18.a1_in1k"), num_classes=10)
    assert built.num_parameters == 11_173_962
    assert built.resolved == "resnet18.a1_in1k, 3 × 3 stem, from scratch"
    network: Any = built.network
    assert network.forward_features(torch.rand(1, 3, 32, 32)).shape == (1, 512, 4, 4)


@pytest.mark.parametrize(
    ("architecture", "stem", "side", "small"),
    [
        (RESNET, "auto", 32, True),
        (RESNET, "auto", 64, True),
        (RESNET, "auto", 65, False),
        (RESNET, "imagenet", 32, False),
        (RESNET, "small", 128, True),
        (VIT, "auto", 32, False),
    ],
)
def test_the_stem_follows_the_side(architecture: str, stem: Any, side: int, small: bool) -> None:
    built = made(timm.Config(architecture=architecture, stem=stem), input_size=side)
    assert ("3 × 3 stem" in built.resolved) is small
    if architecture == RESNET:
        network: Any = built.network
        found = network.eval().forward_features(torch.rand(1, 3, side, side)).shape[-1]
        assert found == math.ceil(side / (8 if small else 32))


def test_a_stem_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="stem: small has no published weights"):
        timm.Config(stem="small", pretrained=True)
    with pytest.raises(InputError, match=r"^train\.model\.stem: test_vit\.r160_in1k is no ResNet"):
        made(timm.Config(architecture=VIT, stem="small"))


# Local weights


def state(architecture: str, **changes: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    config = timm.Config(architecture=architecture, stem="imagenet")
    return made(config, **changes).network.state_dict()


def written(folder: Path, kind: str, tensors: dict[str, torch.Tensor]) -> Path:
    if kind == "safetensors":
        save_file(tensors, folder / "w.safetensors")
        return folder / "w.safetensors"
    if kind == "folder":
        save_file(tensors, folder / "model.safetensors")
        return folder
    if kind == "wrapped":
        wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
        torch.save({"epoch": 3, "state_dict": wrapped}, folder / "w.pth")
        return folder / "w.pth"
    torch.save(tensors, folder / f"w.{kind}")
    return folder / f"w.{kind}"


def identified(path: Path, architecture: str = RESNET, **settings: Any) -> timm.Config:
    config = timm.Config(architecture=architecture, pretrained=str(path), **settings)
    return timm.identify(config, lambda path, what, compute: compute(path))


@pytest.mark.parametrize("kind", ["safetensors", "folder", "pt", "bin", "wrapped"])
def test_local_weights_are_the_start(kind: str, tmp_path: Path) -> None:
    tensors = state(RESNET)
    path = written(tmp_path, kind, tensors)
    for config in (identified(path), timm.Config(architecture=RESNET, pretrained=str(path))):
        built = made(config)
        loaded = built.network.state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    assert "from scratch" not in built.resolved


def test_a_head_of_another_size_is_left_fresh(tmp_path: Path) -> None:
    tensors = state(RESNET, num_classes=9)
    built = made(identified(written(tmp_path, "safetensors", tensors)))
    loaded = built.network.state_dict()
    differing = [name for name in tensors if not torch.equal(loaded[name], tensors[name])]
    assert differing == ["fc.weight", "fc.bias"]
    assert loaded["fc.bias"].shape == (4,)


def test_local_weights_of_another_input_size_are_resized(tmp_path: Path) -> None:
    tensors = state(VIT, input_size=None)
    built = made(identified(written(tmp_path, "pt", tensors), VIT))
    loaded = built.network.state_dict()
    assert loaded["pos_embed"].shape != tensors["pos_embed"].shape
    assert torch.equal(loaded["blocks.0.attn.qkv.weight"], tensors["blocks.0.attn.qkv.weight"])


def test_local_weights_count_by_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, same = (identified(written(tmp_path / n, "pt", state(RESNET))) for n in "ab")
    assert one.weights != same.weights
    assert one.pretrained == same.pretrained == f"sha256:{file_sha256(tmp_path / 'a' / 'w.pt')}"
    mine, theirs = (plugins.plugin("classifiers", "timm", config) for config in (one, same))
    assert canonical(mine) == canonical(theirs)
    assert timm.identify(one, lambda *_: "not asked") == one
    (tmp_path / "a" / "w.pt").write_bytes(b"other")
    with pytest.raises(InputError, match=r"w\.pt is not what it was when this was planned"):
        made(one)
    # To fill the network with weights of its own, nothing of them is needed.
    assert made(replace(one, weights=None), load_pretrained=False).num_parameters


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, "safetensors", state(VIT))
    with pytest.raises(InputError, match=r"w\.safetensors does not fit test_resnet.*more\)$"):
        made(identified(path))
    partial = state(RESNET)
    del partial["conv1.0.weight"]
    path = written(tmp_path, "safetensors", partial)
    with pytest.raises(InputError, match=r"test_resnet\.r160_in1k \(conv1\.0\.weight is missing\)"):
        made(identified(path))


def test_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there are no weights at .*gone\.pt"):
        identified(tmp_path / "gone.pt")
    with pytest.raises(InputError, match=r"holds neither model\.safetensors nor pytorch_model"):
        identified(tmp_path)
    with pytest.raises(ValueError, match="weights is filled in by planning"):
        timm.Config(weights="x.pt")


class Payload:
    """Runs a command as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_nothing_in_local_weights_is_executed(kind: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "w.pt", tmp_path / "trace"
    content = {"state_dict": state(RESNET), "optimizer": Payload(trace)}
    if kind == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"w\.pt: cannot be read as plain tensors") as error:
        made(identified(path))
    assert "\n" not in str(error.value)
    assert not trace.exists()


def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    tensors = {**state(RESNET), "fc.bias": torch.zeros(1).expand(10**9)}
    path = written(tmp_path, "pt", tensors)
    assert path.stat().st_size < 10**7
    with pytest.raises(InputError, match="larger than what is stored of it"):
        made(identified(path))


def test_initialisation_is_for_training_from_scratch(tmp_path: Path) -> None:
    path = written(tmp_path, "pt", state(RESNET))
    with pytest.raises(InputError, match=r"^train\.initialisation: pre-trained weights are there"):
        made(identified(path), initialisation="he")
