"""Runs Augury's commands as a user would, in a folder of the test's own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT_S = 240


def environment(folder: Path) -> dict[str, str]:
    """The user's environment with caches in `folder`, and nothing sent anywhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RAY_", "TUNE_"))}
    return kept | {
        "AUGURY_CACHE": str(folder / "cache"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def augury(folder: Path, *words: str, python: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command to its end; `python` is code to run instead of the command."""
    start = ["-c", python, *words] if python else ["-m", "orchestrator", *words]
    return subprocess.run(
        [sys.executable, *start],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command and leave it running, its output in `folder/output`."""
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=folder,
            env=environment(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str], what: str) -> Any:
    """Wait for something true of a running command; fails where the command ends before."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        assert process.poll() is None, f"the command ended before {what}"
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {TIMEOUT_S} s")


def end(process: subprocess.Popen[str], number: int) -> int:
    """Send a signal and wait for the end."""
    process.send_signal(number)
    return process.wait(TIMEOUT_S)


def kill(process: subprocess.Popen[str]) -> None:
    """As a power cut would, for the driver; Ray's own processes notice and end."""
    assert end(process, signal.SIGKILL) == -signal.SIGKILL


def done_files(store: Path) -> dict[Path, tuple[int, int]]:
    """Every file of every finished step, with its inode and time of change."""
    found = {}
    for marker in store.glob("*/*/done.json"):
        attempt = json.loads(marker.read_text())["attempt"]
        for path in (marker, *(marker.parent / attempt).iterdir()):
            status = path.stat()
            found[path] = (status.st_ino, status.st_mtime_ns)
    return found


def workers_of(pid: int) -> dict[int, str]:
    """Ray's worker processes under a driver, with the names that Ray gives them."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
                names[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue

    def is_below(process: int) -> bool:
        while process in parents:
            process = parents[process]
            if process == pid:
                return True
        return False

    return {p: name for p, name in names.items() if name.startswith("ray::") and is_below(p)}
