"""What the images of a folder were made by, as its `manifest.json` says."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.single.documents import written_json

ABOUT = "manifest.json"
FORMAT = 1
SHOWN = 60
"""Letters of a setting that an error shows."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the images of a folder are: equal recipes make equal folders."""

    generator: str
    """Or the editor."""
    model: str
    """`sha256:` and that of the model file, or `fit:` and the key of a study's fit; empty where
    the settings of an editor say it all."""
    settings: Mapping[str, Any]
    """Of sampling, or of the editor."""
    seed: int
    images: Mapping[str, int]
    """Asked for of each class, in label order."""
    fitted_on: Mapping[str, Any]
    """Which real images the generator has seen, or which were edited."""
    filters: Sequence[Mapping[str, Any]] = ()
    refilling: Mapping[str, Any] | None = None
    """How images were drawn in place of those that filters dropped."""
    extractor: Mapping[str, Any] | None = None
    """What filters saw the images by."""
    device: str | None = None
    """Which kind made them, where that is one for all."""


def read_recipe(folder: Path) -> dict[str, Any] | None:
    """The recipe of a folder that was written here; None for any other."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    recipe = about.get("recipe") if isinstance(about, dict) else None
    return recipe if isinstance(recipe, dict) else None


def difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The first setting that is not the same."""
    for path, value in _flat(here).items():
        other = _flat(there).get(path)
        if other != value:
            return f"{path}: {_shown(other)} there, {_shown(value)} here"
    return "with further settings"


def _flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _flat(item, f"{path}{key}.") if isinstance(item, dict) else {path + key: item}
    return found


def _shown(value: Any) -> str:
    text = written_json(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
