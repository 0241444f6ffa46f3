"""What numbers depend on beside settings: the device, the releases of libraries, the source."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

LIBRARIES = ("augury", "torch", "torchvision", "timm", "diffusers", "numpy", "pyarrow", "ray")


def device_name(device: str) -> str:
    """What a record calls the device: the GPU's own name, or the processor's architecture."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name())
    return f"CPU {platform.machine()}"


def versions() -> dict[str, str]:
    """The releases of the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def source_commit() -> str:
    """The commit of Augury's own source, with `-dirty` where files changed; empty if unknown."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        if not (folder.parent / ".git").exists():
            return ""
        commit = git("rev-parse", "HEAD")
        return f"{commit}-dirty" if git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return ""
