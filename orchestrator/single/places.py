"""Where a single step computes, and where its files go."""

import contextlib
import errno
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
    # `os.path`, as a name that is too long is an error to methods of `Path`.
    ends = f"end in {' or '.join(suffixes)}"
    if os.path.isdir(path):
        raise InputError(f"{flag} {path}: is a folder; name a file in it, which must {ends}")
    if path.suffix not in suffixes:
        instead = f", not in {path.suffix}" if path.suffix else ""
        raise InputError(f"{flag} {path}: the name must {ends}{instead}")
    if not os.path.isdir(path.parent):
        raise InputError(f"{flag} {path}: there is no folder {str(path.parent)!r}; make it first")
    beside = aside(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(path)
        try:
            beside.touch()
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritten(flag, path, error) from error


def unwritten(flag: str, path: Path, error: OSError) -> InputError:
    """What to say of a file that cannot be written."""
    if error.errno == errno.ENAMETOOLONG:
        return InputError(f"{flag}: the name of a file is too long: {path.name[:40]}...")
    return InputError(f"{flag} {path}: cannot be written ({error.strerror or error})")


def aside(path: Path) -> Path:
    """Where a file is written before it takes its name, which may be as long as one can be."""
    return path.with_name(f".{os.getpid()}{path.suffix}.part")


def some(names: Sequence[str], at_most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(repr(name) for name in names[:at_most]) + more
