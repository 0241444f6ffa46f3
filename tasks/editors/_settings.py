"""Settings that the editors of diffusers share: which checkpoint, at what size, in what batches."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import Field

from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.edits.sizing import How
from tasks.errors import InputError
from tasks.reading import FileFacts

SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Suffixes of files that hold a whole model."""
ON_HUB = re.compile(r"[\w.-]+/[\w.-]+")

Steps = Annotated[int, Field(ge=1, le=1000)]
Guidance = Annotated[float, Field(ge=0, le=100)]
Strength = Annotated[float, Field(gt=0, le=1)]
Side = Annotated[int, Field(ge=16, le=4096)]
BatchSize = Annotated[int, Field(ge=1, le=1024)]
Tokens = Annotated[int, Field(ge=8, le=512)]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]
"""`auto` is bfloat16 on a GPU that computes in it, float16 on others, float32 on a CPU."""


class Chosen(Protocol):
    """What every such `Config` says of its checkpoint."""

    @property
    def checkpoint(self) -> str:
        """A name on the hub, a local folder as diffusers saves one, or, for some, a file."""
        ...

    @property
    def folder(self) -> str | None:
        """Where lies what `checkpoint` names by content; filled in by planning."""
        ...

    @property
    def revision(self) -> str:
        """Branch, tag or commit on the hub."""
        ...

    @property
    def variant(self) -> str | None:
        """Of the weights, as in `diffusion_pytorch_model.<variant>.safetensors`."""
        ...


class Described(Protocol):
    """What editors that take single files say of how those are described."""

    @property
    def config(self) -> str | None:
        """A local pipeline folder, or a name on the hub."""
        ...

    @property
    def config_folder(self) -> str | None:
        """Where lies what `config` names by content; filled in by planning."""
        ...


class Worked(Protocol):
    """What every such `Config` says of how images go through."""

    @property
    def size(self) -> int | None:
        """Side of the square that has as many pixels as the model shall work on."""
        ...

    @property
    def fit(self) -> How: ...

    @property
    def batch_size(self) -> int | None: ...

    @property
    def dtype(self) -> Dtype: ...

    @property
    def strict(self) -> bool:
        """One image at a time, so that pixels do not depend on batches even by rounding."""
        ...


C = TypeVar("C")


def check_locators(places: Mapping[str, tuple[str | None, str | None]]) -> None:
    """Raise ValueError where a place is given of what is not named by content.

    Args:
        places: by setting, what it names and where that lies.
    """
    for setting, (named, place) in places.items():
        if place is not None and not (named or "").startswith(BY_CONTENT):
            raise ValueError(
                f"{setting} is filled in by planning: say its path as the checkpoint's"
            )


def check_batches(batch_size: int | None, strict: bool) -> None:
    """Raise ValueError for batches where there shall be none."""
    if strict and batch_size not in (None, 1):
        raise ValueError(f"strict with batch_size={batch_size}: strict is batch_size: 1")


def check_strength(steps: int, strength: float) -> None:
    """Raise ValueError where so small a share of the steps is no step at all."""
    if int(steps * strength) < 1:
        raise ValueError(
            f"strength={strength} of steps={steps} is no step: use at least {1 / steps:.3g}, "
            f"or {-(-1 // strength):.0f} steps"
        )


def identify(
    config: C,
    facts: FileFacts,
    whole: Mapping[str, str] = MappingProxyType({"checkpoint": "folder"}),
    described: Mapping[str, str] = MappingProxyType({}),
) -> C:
    """Name local folders and files by what they contain, so that a key hangs on no place.

    Args:
        config: of an editor.
        whole: settings that may say a path of weights -> those that keep where it lies.
        described: the same, of folders that only describe a single file.

    Raises InputError for what is neither local nor could be a name on the hub, and for folders
    that lack a part.
    """
    from tasks.editors._folders import content_id, described_id

    changed: dict[str, Any] = {}
    for setting, place in {**whole, **described}.items():
        named = getattr(config, setting)
        if named is None or named.startswith(BY_CONTENT):
            continue
        if (path := local(named, setting)) is None:
            continue
        if setting in described:
            digest = described_id(path, facts)
        else:
            digest = content_id(path, getattr(config, "variant", None), facts)
        changed |= {setting: digest, place: str(path.absolute())}
    return replace(config, **changed) if changed else config  # type: ignore[type-var]


def local(named: str, setting: str = "checkpoint") -> Path | None:
    """The local file or folder that a setting names; None for a name on the hub.

    Raises InputError for what is neither local nor could be a name on the hub.
    """
    path = Path(named).expanduser()
    if path.is_dir() or path.is_file():
        return path
    looks_local = named.startswith((".", "~", "/")) or named.endswith(SINGLE_FILES)
    if looks_local or not ON_HUB.fullmatch(named):
        raise InputError(
            f"{setting}: there is no file or folder {named}: say a local pipeline folder, or a "
            "name on the Hugging Face hub as in owner/name"
        )
    return None
