"""Where a single step computes, and where its files go."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Place:
    """What computes."""

    device: str
    threads: int


def take_place(device: str | None, threads: int | None) -> Place:
    """Load torch with the device and the threads that were asked for.

    Where nothing is said, that is a GPU if torch sees one, and as many threads as torch takes: one
    for each core, or `OMP_NUM_THREADS`.

    Raises InputError for a device that is not there.
    """
    # Where others use the cores too, threads that spin while they wait cost four times as much.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if device is not None and device not in there:
        raise InputError(f"--device {device}: torch sees only {', '.join(there[:4])}")
    usual = "cuda" if "cuda" in there else "cpu"
    return Place(device=device or usual, threads=torch.get_num_threads())


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
