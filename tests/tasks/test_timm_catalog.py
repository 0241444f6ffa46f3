"""The shipped list of timm models against the installed timm."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tasks.classifiers import _timm_catalog as catalog
from tasks.errors import InputError

SAMPLED = (
    "convnext_tiny",
    "efficientnet_b0",
    "mobilenetv3_small_100",
    "resnet18",
    "resnet50",
    "swin_tiny_patch4_window7_224",
    "vit_base_patch16_224",
    "vit_base_patch16_clip_224",
    "vit_huge_patch14_224",
)


def without_params(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "params"}


def test_the_list_is_that_of_the_installed_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    # Building all models takes two minutes; their names, tags and sizes a second.
    monkeypatch.setattr(catalog, "count_parameters", lambda architecture: None)
    installed = {name: without_params(catalog.describe(name)) for name in timm.list_models()}
    shipped = {name: without_params(entry) for name, entry in catalog._shipped().items()}
    differing = [n for n in {**installed, **shipped} if installed.get(n) != shipped.get(n)]
    assert not differing, (
        f"timm {timm.__version__} differs in {len(differing)} models, as {differing[:5]}: run "
        "`python -m tasks.classifiers._timm_catalog > timm_models.json` and move the result to "
        "tasks/classifiers/"
    )


def test_names_are_sorted() -> None:
    assert list(catalog.names()) == sorted(catalog.names())


@pytest.mark.parametrize("name", SAMPLED)
def test_parameters_are_those_of_the_built_model(name: str) -> None:
    assert catalog.resolve(name).params == catalog.count_parameters(name) is not None


@pytest.mark.parametrize("name", SAMPLED)
def test_an_untagged_name_means_what_timm_takes_it_for(name: str) -> None:
    from timm.models import get_pretrained_cfg

    expected, entry = get_pretrained_cfg(name), catalog.resolve(name)
    assert expected is not None
    assert (entry.tag, entry.input_size) == (expected.tag, expected.input_size[-1])
    assert entry.name == f"{name}.{expected.tag}"
    assert catalog.resolve(entry.name) == entry


@pytest.mark.parametrize("alias", catalog.ALIASES)
def test_aliases_mean_their_architecture(alias: str) -> None:
    assert catalog.resolve(alias) == catalog.resolve(catalog.ALIASES[alias])


def test_an_alias_takes_a_tag() -> None:
    assert catalog.resolve("vit_b16.mae").name == "vit_base_patch16_224.mae"


def test_each_tag_has_its_own_input_size() -> None:
    assert catalog.resolve("convnext_tiny.fb_in1k").input_size == 224
    assert catalog.resolve("convnext_tiny.fb_in22k_ft_in1k_384").input_size == 384
    assert catalog.resolve("efficientnet_b4").input_size == 320


def test_tags_without_weights_are_known() -> None:
    assert not catalog.resolve("vit_huge_patch14_224.untrained").has_weights
    assert catalog.resolve("vit_huge_patch14_224").has_weights


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", "timm has no model 'resnet5O': did you mean 'resnet50'?"),
        ("vit_b_16", "timm has no model 'vit_b_16': did you mean 'vit_b16'?"),
        ("", "timm has no model '': choose from"),
        ("resnet50.a1_in2k", "no weights 'a1_in2k' of 'resnet50': did you mean 'a1_in1k'?"),
        ("resnet50.", "no weights '' of 'resnet50': choose from: a1_in1k"),
        ("test_vit.in2k", "no weights 'in2k' of 'test_vit'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        catalog.resolve(name)
    assert message in str(refused.value)


def test_reading_loads_neither_timm_nor_torch() -> None:
    code = (
        "import json, sys; from tasks.classifiers._timm_catalog import names, resolve; "
        "names(), resolve('resnet50'); "
        "print(json.dumps(sorted({'timm', 'torch', 'numpy'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []
