"""Where a single step computes, and where its files go."""

import os
from collections.abc import Sequence
from pathlib import Path

from tasks.errors import InputError


def device_of(asked: str | None) -> str:
    """The device that was asked for, else a GPU where torch sees one.

    Raises InputError for one that is not there.
    """
    import torch

    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if asked is None:
        return "cuda" if "cuda" in there else "cpu"
    if asked not in there:
        raise InputError(f"--device {asked}: torch sees no such device; choose from {_few(there)}")
    return asked


def num_threads(asked: int | None) -> int:
    """The threads that were asked for, else torch's own choice, which is the cores."""
    import torch

    return asked or torch.get_num_threads()


def take_threads(asked: int | None) -> None:
    """Give this process the threads that were asked for."""
    import torch

    torch.set_num_threads(num_threads(asked))


def check_target(flag: str, path: Path, suffixes: Sequence[str]) -> None:
    """Refuse, before any work is done, a file that could not be written at its end.

    Raises InputError naming `flag`.
    """
    if path.suffix not in suffixes:
        raise InputError(
            f"{flag} {path}: the name must end in {' or '.join(suffixes)}, "
            f"not in {path.suffix or 'nothing'!r}"
        )
    if not path.parent.is_dir():
        raise InputError(f"{flag} {path}: there is no folder {str(path.parent)!r}; make it first")
    if path.is_dir():
        raise InputError(f"{flag} {path}: is a folder; name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{flag} {path}: the folder {str(path.parent)!r} cannot be written")


def aside(path: Path) -> Path:
    """Where a file is written before it takes its name."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def some(names: Sequence[str], at_most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(repr(name) for name in names[:at_most]) + more


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4])
