"""Loads a pipeline from a folder as diffusers saves one, network by network.

What a checkpoint does not hold is never made up: diffusers and transformers would give a weight
that is missing a random value, and say so in a log alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.classifiers._checkpoints import refuse_misfits
from tasks.editors._families import TAKEN_BY, Family
from tasks.editors._folders import (
    DESCRIBED_BY,
    INDEX,
    Index,
    Part,
    needed_files,
    read_index,
    weight_variant,
)
from tasks.errors import InputError

if TYPE_CHECKING:
    import torch


def check(family: Family, folder: Path, variant: str | None) -> Index:
    """Raise InputError for pipelines that are another editor's, or lack a part."""
    index = read_index(folder)
    if index.pipeline not in family.pipelines:
        taker = TAKEN_BY.get(index.pipeline)
        hint = f"editor {taker} takes it" if taker else f"give one of {', '.join(family.pipelines)}"
        raise InputError(f"{folder.name} is a {index.pipeline}: {hint}")
    needed_files(folder, variant)
    return index


def from_folder(family: Family, folder: Path, variant: str | None, dtype: "torch.dtype") -> Any:
    """Load the pipeline.

    Raises InputError where it is another's or lacks a part; the libraries raise the rest.
    """
    index = check(family, folder, variant)
    kind = pipeline_class(family.pipelines[index.pipeline])
    wanted, _ = kind._get_signature_keys(kind)
    named = {part.name for part in index.parts} | {*index.absent}
    if lacking := sorted({*wanted} - named - {*kind._optional_components}):
        raise InputError(f"{folder.name}: {INDEX} names no {', '.join(lacking)}")
    parts = {
        part.name: load_part(folder, part, variant, dtype)
        for part in index.parts
        if part.name in wanted and not any(part.kind.endswith(ending) for ending in DESCRIBED_BY)
    }
    return kind.from_pretrained(
        str(folder), torch_dtype=dtype, use_safetensors=True, local_files_only=True, **parts
    )


def load_part(folder: Path, part: Part, variant: str | None, dtype: "torch.dtype") -> Any:
    """Load a network of the pipeline."""
    import diffusers
    import transformers

    libraries: dict[str, Any] = {"diffusers": diffusers, "transformers": transformers}
    place = libraries.get(part.library) or getattr(diffusers.pipelines, part.library)
    kind = getattr(place, part.kind, None)
    if kind is None:
        raise InputError(f"{folder.name}: {part.library} has no {part.kind} ({part.name})")
    settings: dict[str, Any] = {
        "local_files_only": True,
        "use_safetensors": True,
        "output_loading_info": True,
        "variant": weight_variant(folder, part, variant),
        "torch_dtype" if part.library == "diffusers" else "dtype": dtype,
    }
    model, loading = kind.from_pretrained(str(folder / part.name), **settings)
    found = [f"{name} is missing" for name in sorted(loading["missing_keys"])]
    refuse_misfits(found, f"{folder.name}: the weights of {part.name}", part.kind)
    return model.eval().requires_grad_(False)


def pipeline_class(name: str) -> Any:
    import diffusers

    untyped: Any = diffusers
    return getattr(untyped, name)
