"""What a checkpoint of transformers says of itself, read as plain JSON."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.errors import InputError

if TYPE_CHECKING:
    from tasks.reading import FileFacts

DESCRIPTIONS = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
MOST_LAYERS = 1000
"""No description may ask for more, so that a stranger's weights file cannot keep us building."""

Values = dict[str, Any]


def content_id(folder: Path, weights: bool, facts: "FileFacts | None" = None) -> str:
    """Name a folder by what it contains: sha256 over the lines `name, sha256(bytes)`.

    Args:
        weights: take them in, beside the descriptions.
        facts: remembers hashes, so that a large file is read once.
    """
    from tasks.reading import file_sha256

    patterns = (*DESCRIPTIONS, *WEIGHTS) if weights else DESCRIPTIONS
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    lines = (
        f"{path.name}, {facts(path, 'sha256', file_sha256) if facts else file_sha256(path)}\n"
        for path in paths
    )
    return BY_CONTENT + hashlib.sha256("".join(lines).encode()).hexdigest()


def fetch(checkpoint: str, revision: str, weights: bool) -> Path:
    """Find the folder of a name on the hub in this machine's cache, or fetch it there.

    Raises InputError where it cannot be had, at once where the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    # One request says whether the hub is there; transformers would try each file for half a minute.
    patterns = [*DESCRIPTIONS, *(WEIGHTS if weights else ())]
    try:
        return Path(snapshot_download(checkpoint, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise InputError(
            f"train.model: {checkpoint} cannot be had ({type(error).__name__}): fetch it into the "
            "cache of huggingface_hub, or say the path of a folder"
        ) from error


def description(text: str) -> Any:
    """The model's configuration as transformers has it, from the JSON of a `config.json`.

    Raises InputError where transformers can make nothing of it.
    """
    from transformers import AutoConfig

    try:
        values = _harmless(json.loads(text))
        return AutoConfig.for_model(values.pop("model_type"), **values)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise InputError(
            "train.model: no description that transformers can read "
            f"({type(error).__name__}: {reason})"
        ) from error


def _harmless(values: Values) -> Values:
    """Leave out what names code to fetch and run, and refuse numbers that nobody means."""
    kept: Values = {}
    for name, value in values.items():
        numbers = value if isinstance(value, list) else [value]
        if ("layers" in name or "depth" in name) and any(
            isinstance(number, int | float) and number > MOST_LAYERS for number in numbers
        ):
            raise InputError(f"train.model: {name} is above {MOST_LAYERS}")
        # Remote code, and attention kernels, which may be names on the hub too.
        if name != "auto_map" and not name.startswith("_") and "implementation" not in name:
            kept[name] = _harmless(value) if isinstance(value, dict) else value
    return kept


def as_json(described: Any) -> str:
    """What `description` makes the same configuration of."""
    values = json.loads(described.to_json_string(use_diff=False))
    return json.dumps(_harmless(values), sort_keys=True)


def read_processor(folder: Path) -> Values:
    """What the image processor says; {} where there is none."""
    for name in DESCRIPTIONS[1:]:
        try:
            values = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"train.model: {name} cannot be read ({error})") from error
        found = values.get("image_processor", values) if isinstance(values, dict) else None
        if isinstance(found, dict):
            return found
    return {}


def side(processor: Values) -> int | None:
    """Side of the images that the network is given: what they are cropped or scaled to."""
    size = processor.get("crop_size" if processor.get("do_center_crop") else "size")
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return size if isinstance(size, int) else None


def normalisation(processor: Values) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std of the channels, 0..1; None where they are not said.

    Raises InputError where they are no numbers.
    """
    if processor.get("do_normalize") is False:
        return (0.0,), (1.0,)
    mean, std = processor.get("image_mean"), processor.get("image_std")
    if mean is None or std is None:
        return None
    try:
        return tuple(map(float, mean)), tuple(map(float, std))
    except (TypeError, ValueError) as error:
        raise InputError(f"train.model: image_mean {mean}, image_std {std}: no numbers") from error
