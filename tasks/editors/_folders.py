"""Pipelines in local folders, as diffusers saves them: what they hold, and what they lack.

Weights are read from safetensors files alone, and code that comes with a checkpoint is never run.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.errors import InputError

if TYPE_CHECKING:
    from tasks.reading import FileFacts

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers")
DESCRIBED_BY = {
    "Scheduler": ("scheduler_config.json",),
    "Tokenizer": ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model"),
    "TokenizerFast": ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model"),
    "Processor": ("preprocessor_config.json", "processor_config.json"),
    "ProcessorFast": ("preprocessor_config.json", "processor_config.json"),
    "FeatureExtractor": ("preprocessor_config.json",),
}
"""How the classes of parts without weights end, and the files one of which such a part needs."""
SMALL = (".json", ".txt", ".model", ".jinja")
"""Suffixes of what describes a part."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a pipeline, as its index names it."""

    name: str
    library: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Index:
    """What `model_index.json` says."""

    pipeline: str
    parts: tuple[Part, ...]
    """Those that the pipeline has; parts that it does without are left out."""
    absent: tuple[str, ...]


def read_index(folder: Path) -> Index:
    """Read what a pipeline's folder holds.

    Raises InputError, in one line that begins with the folder's name.
    """
    values = _read_json(folder / INDEX, folder, "it is no pipeline as diffusers saves one")
    pipeline = values.get("_class_name")
    if not isinstance(pipeline, str):
        raise InputError(
            f"{folder.name}: {INDEX} names no pipeline of diffusers' own; code that comes with a "
            "checkpoint is never run"
        )
    named = {
        name: value
        for name, value in values.items()
        if isinstance(value, list) and len(value) == 2 and not name.startswith("_")
    }
    parts = tuple(
        Part(name=name, library=str(library), kind=str(kind))
        for name, (library, kind) in sorted(named.items())
        if library is not None and kind is not None
    )
    present = {part.name for part in parts}
    return Index(pipeline=pipeline, parts=parts, absent=tuple(sorted({*named} - present)))


def needed_files(folder: Path, variant: str | None = None) -> list[Path]:
    """All files that loading the pipeline reads, sorted.

    Raises InputError, in one line that says what is missing.
    """
    found = [folder / INDEX]
    for part in read_index(folder).parts:
        found += needed_part(folder, part, variant)
    return sorted(found)


def content_id(path: Path, variant: str | None = None, facts: "FileFacts | None" = None) -> str:
    """Name a pipeline by what it contains.

    Of a file, sha256 of its bytes; of a folder, sha256 over the lines `relative path, sha256` of
    the files that loading reads. A folder without an index, which only describes a single file,
    counts with all that it holds.

    Args:
        facts: remembers hashes, so that a large file is read once.
    """
    from tasks.reading import file_sha256

    def digest(file: Path) -> str:
        return facts(file, "sha256", file_sha256) if facts else file_sha256(file)

    if path.is_file():
        return BY_CONTENT + digest(path)
    lines = "".join(
        f"{file.relative_to(path).as_posix()}, {digest(file)}\n"
        for file in needed_files(path, variant)
    )
    return BY_CONTENT + hashlib.sha256(lines.encode()).hexdigest()


def described_id(folder: Path, facts: "FileFacts | None" = None) -> str:
    """Name a folder that describes a single file: all that it holds counts."""
    from tasks.reading import file_sha256

    lines = "".join(
        f"{file.relative_to(folder).as_posix()}, "
        f"{facts(file, 'sha256', file_sha256) if facts else file_sha256(file)}\n"
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix in (*SMALL, ".safetensors")
    )
    return BY_CONTENT + hashlib.sha256(lines.encode()).hexdigest()


def needed_part(folder: Path, part: Part, variant: str | None) -> list[Path]:
    """The files that loading one part reads.

    Raises InputError, in one line that says what is missing.
    """
    place = folder / part.name
    if not place.is_dir():
        raise InputError(f"{folder.name}: the folder {part.name}/ is missing ({part.kind})")
    refuse_code(folder, part)
    small = [file for file in sorted(place.iterdir()) if file.suffix in SMALL]
    weighed = {file.name for file in small if ".index." in file.name}
    found = [file for file in small if file.name not in weighed]
    ending = next((e for e in DESCRIBED_BY if part.kind.endswith(e)), None)
    wanted = DESCRIBED_BY[ending] if ending else ("config.json",)
    if not any((place / name).is_file() for name in wanted):
        listed = " or ".join(wanted)
        raise InputError(f"{folder.name}: {part.name}/ holds no {listed} ({part.kind})")
    if ending is None:
        _harmless(place / "config.json", folder)
        found += _weights(folder, part, variant)
    return found


def refuse_code(folder: Path, part: Part) -> None:
    """Raise InputError for a part that is no class of diffusers or transformers."""
    import diffusers

    untyped: Any = diffusers.pipelines
    own = hasattr(untyped, part.library) and part.library.isidentifier()
    if part.library not in LIBRARIES and not own:
        raise InputError(
            f"{folder.name}: {part.name} is {part.library}.{part.kind}, not of diffusers and "
            "not of transformers; code that comes with a checkpoint is never run"
        )


def _harmless(description: Path, folder: Path) -> None:
    """Attention kernels may be names on the hub too, of code."""
    values = _read_json(description, folder, "a part cannot be built without it")
    for name, value in values.items():
        if "implementation" in name and isinstance(value, str) and "/" in value:
            raise InputError(
                f"{folder.name}: {description.parent.name}/config.json asks for code from the hub "
                f"({name}: {value}), which is never run: take it out"
            )


def weight_variant(folder: Path, part: Part, variant: str | None) -> str | None:
    """The variant that a part's weights have: parts without it are loaded as they are."""
    stem = _stem(part)
    names = (f"{stem}.{variant}.safetensors", f"{stem}.safetensors.index.{variant}.json")
    there = variant and any((folder / part.name / name).is_file() for name in names)
    return variant if there else None


def _stem(part: Part) -> str:
    return "diffusion_pytorch_model" if part.library == "diffusers" else "model"


def _weights(folder: Path, part: Part, variant: str | None) -> list[Path]:
    """The weight files of a part: its variant's where it has one."""
    place, stem = folder / part.name, _stem(part)
    kind = f".{variant}" if weight_variant(folder, part, variant) else ""
    single, index = f"{stem}{kind}.safetensors", f"{stem}.safetensors.index{kind}.json"
    if (place / index).is_file():
        return [place / index, *_shards(folder, place / index)]
    if (place / single).is_file():
        return [place / single]
    files = sorted(file.name for file in place.iterdir())
    variants = [n for n in files if n.startswith(stem) and n.endswith(".safetensors")]
    if not variants and any(name.endswith((".bin", ".ckpt", ".pt")) for name in files):
        raise InputError(
            f"{folder.name}: {part.name}/ holds pickled weights alone: save the pipeline as "
            "safetensors, as save_pretrained does"
        )
    hint = f" (there is {variants[0]}: set variant, or fetch the rest)" if variants else ""
    raise InputError(f"{folder.name}: {part.name}/{stem}.safetensors is missing{hint}")


def _shards(folder: Path, index: Path) -> list[Path]:
    values = _read_json(index, folder, "it says which file holds what")
    names = values.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{folder.name}: {index.parent.name}/{index.name} names no weights")
    shards = sorted({index.parent / str(name) for name in names.values()})
    for shard in shards:
        if shard.parent != index.parent or shard.suffix != ".safetensors":
            raise InputError(f"{folder.name}: {index.name} names {shard.name}, no safetensors here")
        if not shard.is_file():
            raise InputError(
                f"{folder.name}: {index.parent.name}/{shard.name} is missing, one of "
                f"{len(shards)} files that {index.name} names"
            )
    return shards


def _read_json(path: Path, folder: Path, why: str) -> Mapping[str, Any]:
    shown = path.relative_to(folder).as_posix()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder.name}: {shown} is missing: {why}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{folder.name}: {shown} cannot be read as JSON") from error
    if not isinstance(values, dict):
        raise InputError(f"{folder.name}: {shown} is no JSON object")
    return values
