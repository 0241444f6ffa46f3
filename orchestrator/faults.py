"""Tells faults of the machine, after which a step is run again, from failures of the step."""

import errno
import re
import shutil
from pathlib import Path

from tasks.errors import InputError

FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.ESTALE)

FAULT_TEXTS = (
    "No space left on device",
    "can't allocate memory",
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "ALLOC_FAILED",
    "DataLoader worker (pid",
)
"""How libraries that raise no OSError (torch, safetensors) speak of full disks, memory, and of a
process that was killed."""

FULL_BELOW_BYTES = 50_000_000


def is_fault(error: Exception, folder: Path) -> bool:
    """The machine is to blame, not the step: running it again may well work."""
    if isinstance(error, InputError):
        return False
    if isinstance(error, MemoryError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and (error.errno is None or error.errno in FAULTS):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    text = str(error)
    if any(phrase in text for phrase in FAULT_TEXTS):
        return True
    if any(int(code) in FAULTS for code in re.findall(r"\bos error (\d+)", text)):
        return True
    # torch does not say why it could not write a file.
    return "[enforce fail at inline_container.cc" in text and _is_full(folder)


def _is_full(folder: Path) -> bool:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there)[2] < FULL_BELOW_BYTES
