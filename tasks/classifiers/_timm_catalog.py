"""Knows every model name of timm without importing timm, from the list that is shipped beside it.

`python -m tasks.classifiers._timm_catalog > timm_models.json` writes the list anew from the
installed timm (about two minutes); a test compares the two. Move the result over the old file
afterwards: a shell empties the file that it redirects to before this module can run.
"""

import functools
import importlib.resources
import json
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.errors import InputError, nearest

ALIASES: Mapping[str, str] = {
    "convnext_t": "convnext_tiny",
    "vit_b16": "vit_base_patch16_224",
    "vit_h14": "vit_huge_patch14_224",
    "vit_l16": "vit_large_patch16_224",
}
"""Short names that papers use, and the architecture that is meant."""


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """One architecture of timm with one of its pre-trainings."""

    architecture: str
    tag: str
    """Which pre-training, as `a1_in1k`; empty where the architecture has one unnamed or none."""
    tags: tuple[str, ...]
    """All of this architecture, timm's default first."""
    input_size: int
    """Side in pixels at which this tag was trained or, without weights, is meant to be."""
    params: int | None
    """Parameters with a head of 1,000 classes; None where timm cannot build such a model."""
    has_weights: bool
    """Weights can be fetched for this tag, so `pretrained: true` is possible."""

    @property
    def name(self) -> str:
        """What timm is asked for and a record holds: `resnet50.a1_in1k`."""
        return f"{self.architecture}.{self.tag}" if self.tag else self.architecture


@functools.cache
def _shipped() -> dict[str, Any]:
    file = importlib.resources.files("tasks.classifiers") / "timm_models.json"
    models: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return models


def names() -> tuple[str, ...]:
    """List the architectures, sorted; aliases and tags are left out."""
    return tuple(_shipped())


def resolve(name: str) -> CatalogEntry:
    """Find what `name` means: an architecture or alias, with or without a tag.

    `resnet50` -> `resnet50.a1_in1k`, `vit_b16` -> `vit_base_patch16_224.augreg2_in21k_ft_in1k`.
    Raises InputError naming the nearest where timm has no such architecture or tag.
    """
    given, _, tag = name.partition(".")
    architecture = ALIASES.get(given, given)
    model = _shipped().get(architecture)
    if model is None:
        raise InputError(f"timm has no model {given!r}: {nearest(given, (*names(), *ALIASES))}")
    tags = tuple(model["tags"])
    if "." in name and tag not in tags:
        named = [item for item in tags if item]
        hint = nearest(tag, named) if named else "it has no tags, write the name alone"
        raise InputError(f"timm has no weights {tag!r} of {architecture!r}: {hint}")
    chosen = tag or tags[0]
    return CatalogEntry(
        architecture=architecture,
        tag=chosen,
        tags=tags,
        input_size=model.get("inputs", {}).get(chosen, model["input"]),
        params=model["params"],
        has_weights=chosen not in model.get("weightless", ()),
    )


def describe(architecture: str) -> dict[str, Any]:
    """Look one architecture up in the installed timm, in the form of the shipped list.

    `tags`, the default first; `input`, the default's side in pixels; `params`; then, only where
    there are any, `inputs` of tags with another side and the `weightless` tags.
    """
    from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg

    default = get_pretrained_cfg(architecture)
    assert default is not None, architecture
    configs = get_arch_pretrained_cfgs(architecture)
    by_tag = {full.partition(".")[2]: config for full, config in configs.items()}
    first = default.tag or ""
    tags = [first, *(tag for tag in by_tag if tag != first)]
    side = default.input_size[-1]
    sides = {tag: config.input_size[-1] for tag, config in by_tag.items()}
    other = {tag: sides[tag] for tag in tags if tag in sides and sides[tag] != side}
    weightless = [tag for tag in tags if tag not in by_tag or not by_tag[tag].has_weights]
    return {
        "tags": tags,
        "input": side,
        "params": count_parameters(architecture),
        **({"inputs": other} if other else {}),
        **({"weightless": weightless} if weightless else {}),
    }


def count_parameters(architecture: str) -> int | None:
    """Count by building the model without memory for its weights; None where that fails."""
    import timm
    import torch

    try:
        with torch.device("meta"):
            model = timm.create_model(architecture, num_classes=1000)
    except Exception as error:  # timm's models fail here in as many ways as there are authors
        print(f"{architecture}: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    """Print the list of the installed timm as JSON, one model a line."""
    import timm

    warnings.simplefilter("ignore")  # deprecations of timm's own, one for each old model
    lines = (
        f"{json.dumps(name)}: {json.dumps(describe(name), separators=(',', ':'))}"
        for name in sorted(timm.list_models())
    )
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
