"""Makes a device give the same numbers each time, and says what it computes in."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def prepare(device: str) -> "torch.device":
    """Choose a device for this process; a GPU is told to repeat itself to the bit.

    TensorFloat-32 is off, so that float32 means what it says; bfloat16 is where speed comes from.
    """
    import torch

    place = torch.device(device)
    if place.type == "cuda":
        # Read when cuBLAS starts; without it matrix products may differ from run to run.
        os.environ.setdefault(WORKSPACE, ":4096:8")
        torch.cuda.init()
        torch.cuda.set_device(place if place.index is not None else torch.device("cuda", 0))
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        # What has no repeatable form is computed all the same.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.cuda.reset_peak_memory_stats()
    else:
        _forget_memory_peak()
    return place


def _forget_memory_peak() -> None:
    """Linux counts a process's peak of memory anew, so that earlier work is not in it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory_peak_bytes(device: str) -> int:
    """Peak since `prepare`: of torch's memory on a GPU, on a CPU of the whole process."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resolved_precision(precision: str, device: "torch.device") -> str:
    """What `auto` means: bfloat16 on a GPU that computes in it, float32 elsewhere."""
    import torch

    if precision != "auto":
        return precision
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float32"


def move(network: "nn.Module", place: "torch.device") -> None:
    """Move a network, with its filters in the order in which images lie in memory.

    Packs hold channels last, and convolutions are faster so: on a CPU by up to a third.
    """
    import torch

    network.to(place)
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def is_out_of_memory(error: BaseException) -> bool:
    """However torch and the libraries below it say so."""
    import torch

    said = ("out of memory", "ALLOC_FAILED", "DefaultCPUAllocator")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in said)
