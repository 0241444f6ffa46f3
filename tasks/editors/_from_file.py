"""Loads a pipeline from a single file, as authors publish them, and from what describes it.

Such a file holds weights under its author's names. How the networks are built, and the tokenizers,
come from a folder in diffusers' form; so do the weights of parts that the file does not hold. What
neither holds is never made up.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.editors._families import Family
from tasks.editors._folders import (
    DESCRIBED_BY,
    INDEX,
    described_id,
    needed_part,
    read_index,
    refuse_code,
)
from tasks.editors._from_folder import load_part, pipeline_class
from tasks.editors._settings import local
from tasks.editors._single_files import Held, look
from tasks.errors import InputError

if TYPE_CHECKING:
    import torch


def from_file(
    family: Family, path: Path, description: str | None, dtype: "torch.dtype"
) -> tuple[Any, str]:
    """Load the pipeline.

    Returns it, and what its name in records says of its description.

    Raises InputError for files of another model, or that lack weights; the libraries raise the
    rest.
    """
    if not family.files:
        raise InputError(
            f"{path.name} is a single file: say a pipeline folder or a name on the hub"
        )
    held = look(path)
    if held.family is None or held.family not in family.files:
        takers = {"SD": "img2img", "SDXL": "img2img or sdxl_inpaint", "FLUX": "flux_fill"}
        raise InputError(
            f"{path.name} holds {held.family or 'nothing that diffusers loads from one file'}, not "
            f"{' or '.join(family.files)}"
            + (f": {t} takes it" if (t := takers.get(str(held.family))) else "")
        )
    told, named = description or family.described_by, ""
    if description is not None and (folder := local(description, "config")) is not None:
        if not (folder / INDEX).is_file():
            raise InputError(f"config: {folder.name} holds no {INDEX}")
        told, named = str(folder), f", described by {described_id(folder)}"
    elif description is not None:
        named = f", described by {description}"
    parts = {} if told is None else _beside(path, held, Path(told), dtype)
    pipeline = _read_file(family.files[held.family], path, told, parts, dtype)
    _refuse_made_up(pipeline, path, held)
    return pipeline, named


def _beside(path: Path, held: "Held", folder: Path, dtype: "torch.dtype") -> dict[str, Any]:
    """The networks that a file does not hold, from the folder that describes it."""
    if not folder.is_dir():
        return {}
    found = {}
    for part in read_index(folder).parts:
        refuse_code(folder, part)
        if part.kind.endswith(tuple(DESCRIBED_BY)) or part.kind.endswith("SafetyChecker"):
            continue
        if not held.numbers_of(part.name):
            try:
                needed_part(folder, part, None)
            except InputError as error:
                raise InputError(
                    f"{path.name} holds no weights of {part.name}, and config: {error}"
                ) from error
            found[part.name] = load_part(folder, part, None, dtype)
    return found


def _refuse_made_up(pipeline: Any, path: Path, held: "Held") -> None:
    """Where a part holds more numbers than the file has for it, some are not the file's."""
    for name, part in pipeline.components.items():
        if not hasattr(part, "parameters"):
            continue
        weights = list(part.parameters())
        found, wanted = held.numbers_of(name), sum(weight.numel() for weight in weights)
        if any(weight.is_meta for weight in weights) or 0 < found < wanted:
            raise InputError(
                f"{path.name} lacks weights of {name}: {found:,} of {wanted:,} numbers"
            )


def _read_file(
    kind: str, path: Path, told: str | None, parts: Mapping[str, Any], dtype: "torch.dtype"
) -> Any:
    settings: dict[str, Any] = {"torch_dtype": dtype, **parts}
    if told is not None:
        settings |= {"config": told, "local_files_only": Path(told).is_dir()}
    try:
        return pipeline_class(kind).from_single_file(str(path), **settings)
    except (OSError, RuntimeError) as error:
        if told is not None and Path(told).is_dir():
            raise
        raise InputError(
            f"{path.name}: its description cannot be had ({type(error).__name__}): say "
            "config: <a local pipeline folder of its kind>, whose weights are not needed"
        ) from error
