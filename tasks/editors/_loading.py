"""Loads a pipeline from the hub, a local folder or a single file, or says in a line what lacks."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.editors._families import Family
from tasks.editors._folders import content_id, described_id
from tasks.editors._settings import Chosen, Described, local
from tasks.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A pipeline on the CPU."""

    pipeline: Any
    resolved: str
    """The checkpoint, as records name it: by content, or by name and revision on the hub."""


def description(said: Described) -> str | None:
    """The local folder, or the name on the hub, that describes a single file, if any is said.

    Raises InputError where the folder is not what it was when it was planned.
    """
    if said.config_folder is None:
        return said.config
    folder = Path(said.config_folder)
    if not folder.is_dir() or described_id(folder) != said.config:
        raise InputError(f"config: {folder} is not what it was when it was planned")
    return str(folder)


def load(
    family: Family,
    chosen: Chosen,
    dtype: "torch.dtype",
    description: str | None = None,
    setting: str = "checkpoint",
) -> Loaded:
    """Load the pipeline.

    Args:
        description: a local folder, or a name on the hub, that describes a single file.
        setting: the user's name for the checkpoint, for messages.

    Raises InputError, in one line, where it cannot be had, lacks a part, or is another's.
    """
    from tasks.editors._from_file import from_file
    from tasks.editors._from_folder import from_folder

    path, resolved = _found(family, chosen, setting)
    with _refused(f"{family.editor}: {path.name}"), quiet():
        if path.is_file():
            pipeline, described = from_file(family, path, description, dtype)
            resolved += described
        else:
            pipeline = from_folder(family, path, chosen.variant, dtype)
    if hasattr(pipeline, "watermark"):
        # It depends on what else is installed, and a classifier could learn it.
        pipeline.watermark = None
    pipeline.set_progress_bar_config(disable=True)
    return Loaded(pipeline=pipeline, resolved=resolved)


def _found(family: Family, chosen: Chosen, setting: str) -> tuple[Path, str]:
    """Where the checkpoint lies, and its name in records."""
    from tasks.editors._from_folder import check

    named = chosen.checkpoint
    with _blamed(family.editor):
        if named.startswith(BY_CONTENT):
            if chosen.folder is None:
                raise InputError(f"{setting} {named[:19]} is a local one: say where it lies")
            path = Path(chosen.folder)
            if not path.exists() or content_id(path, chosen.variant) != named:
                raise InputError(f"{path} is not what it was when it was planned")
            return path, named
        if (path_or_none := local(named, setting)) is None:
            return _fetched(chosen, setting), f"{named}@{chosen.revision}"
        if path_or_none.is_dir():
            check(family, path_or_none, chosen.variant)
        return path_or_none, content_id(path_or_none, chosen.variant)


def _fetched(chosen: Chosen, setting: str) -> Path:
    """The folder of a name on the hub in this machine's cache, fetched there if need be."""
    import diffusers

    untyped: Any = diffusers
    try:
        with quiet():
            return Path(
                untyped.DiffusionPipeline.download(
                    chosen.checkpoint,
                    revision=chosen.revision,
                    variant=chosen.variant,
                    use_safetensors=True,
                )
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{chosen.checkpoint}@{chosen.revision} cannot be had ({type(error).__name__}): fetch "
            "it into the cache of huggingface_hub where there is a network, or say "
            f"{setting}: <a local pipeline folder>"
        ) from error


@contextmanager
def _blamed(editor: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{editor}: {error}") from error


@contextmanager
def _refused(spoken: str) -> Iterator[None]:
    """Make one line of whatever the libraries say of files that they cannot read."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{spoken.partition(':')[0]}: {error}") from error
    except Exception as error:  # files of a stranger fail in as many ways as there are models
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(
            f"{spoken} cannot be loaded ({type(error).__name__}: {' '.join(lines)[:300]})"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """What diffusers and transformers log and warn of helps nobody whose checkpoint is whole."""
    import diffusers
    import transformers

    untyped: tuple[Any, ...] = (diffusers.utils.logging, transformers.utils.logging)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in untyped]
    for log in untyped:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # Of what diffusers means to give up: old checkpoints, and `torch_dtype`, which all of
            # its releases that will do here know.
            warnings.simplefilter("ignore", FutureWarning)
            # It hands tensors to numpy in ways that numpy means to give up.
            warnings.filterwarnings("ignore", "__array_", DeprecationWarning)
            yield
    finally:
        for log, verbosity, shown in before:
            log.set_verbosity(verbosity)
            if shown:
                log.enable_progress_bar()
