"""Looks at this machine and says what is missing for a run, and how to mend it."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.cluster import OBJECT_STORE_BYTES
from orchestrator.ledger import Ledger
from orchestrator.tracking import safe_uri
from tasks.caches import cache_dir
from tasks.errors import InputError

MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
"""Packages that are imported by another name than they are installed by."""
FREE_BYTES = 5e9
OPEN_FILES = 4096
ANSWER_S = 3.0
TORCH_S = 60.0
REINSTALL = "install Augury again, as in `pip install -e . -c constraints.txt`"
PAIR = "install torch and torchvision of one release from one index, in one pip command"
LOOK_AT_TORCH = """
import json, torch, torchvision
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}))
"""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_fine: bool
    says: str
    """What was found; where it is not fine, what to do about it stands at the end."""


def examine(store: str, tracking_uri: str | None) -> list[Finding]:
    """Look at Python, the packages, GPUs, memory, disks, the store and the tracking server.

    Nothing is left behind: a store that is not there is not made.

    Args:
        tracking_uri: as given to `augury run`; None is `MLFLOW_TRACKING_URI`, or a file.
    """
    return [
        _python(),
        *_packages(),
        *_torch(),
        _shared_memory(),
        *_store(store),
        _cache(),
        _tracking(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")),
        _open_files(),
        _git(),
    ]


def _python() -> Finding:
    from packaging.specifiers import SpecifierSet

    wanted = importlib.metadata.metadata("augury")["Requires-Python"] or ""
    here = platform.python_version()
    if SpecifierSet(wanted).contains(here, prereleases=True):
        return Finding(what="python", is_fine=True, says=here)
    says = f"{here}, but Augury needs {wanted}: make its environment with such a Python"
    return Finding(what="python", is_fine=False, says=says)


def _packages() -> Iterator[Finding]:
    """One finding for each requirement that Augury declares, extras included."""
    from packaging.requirements import Requirement

    for text in importlib.metadata.requires("augury") or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            problem = _problem_with(requirement) or _problem_with_extras(requirement)
            if problem:
                yield Finding(what=requirement.name, is_fine=False, says=f"{problem}: {REINSTALL}")
            else:
                version = importlib.metadata.version(requirement.name)
                yield Finding(what=requirement.name, is_fine=True, says=version)


def _problem_with(requirement: Any) -> str:
    """What is wrong with an installed package; empty where nothing is."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, but {requirement.specifier} is needed"
    module = MODULES.get(requirement.name.lower(), requirement.name)
    if importlib.util.find_spec(module.replace("-", "_")) is None:
        return f"{requirement.name} {version} is there, but {module!r} cannot be imported"
    return ""


def _problem_with_extras(requirement: Any) -> str:
    from packaging.requirements import Requirement

    for text in importlib.metadata.requires(requirement.name) or () if requirement.extras else ():
        needed = Requirement(text)
        for extra in requirement.extras:
            chosen = needed.marker is not None and needed.marker.evaluate({"extra": extra})
            if chosen and (problem := _problem_with(needed)):
                return f"for {requirement.name}[{extra}], {problem}"
    return ""


def _torch() -> Iterator[Finding]:
    """Whether torch and torchvision fit, and what GPUs they see; asked in a process of its own."""
    try:
        asked = subprocess.run(
            [sys.executable, "-c", LOOK_AT_TORCH],
            capture_output=True,
            text=True,
            timeout=TORCH_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        says = f"not loaded within {TORCH_S:.0f} s: is the disk it is installed on slow? Try again"
        yield Finding(what="torch and torchvision", is_fine=False, says=says)
        return
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1]
        yield Finding(what="torch and torchvision", is_fine=False, says=f"{last}: {PAIR}")
        return
    found = json.loads(asked.stdout.splitlines()[-1])
    yield _pair(found["torch"])
    names = ", ".join(f"{found['gpus'].count(g)} × {g}" for g in dict.fromkeys(found["gpus"]))
    built = f"CUDA {found['cuda']}" if found["cuda"] else "no CUDA"
    none = f"none seen by torch (built with {built}); everything runs on the CPU, slower"
    yield Finding(what="GPU", is_fine=True, says=names or none)


def _pair(torch_version: str) -> Finding:
    """Whether the installed torch is one that torchvision was built for."""
    from packaging.requirements import Requirement

    version = importlib.metadata.version("torchvision")
    for text in importlib.metadata.requires("torchvision") or ():
        wanted = Requirement(text)
        if wanted.name == "torch" and not wanted.specifier.contains(
            torch_version, prereleases=True
        ):
            says = (
                f"torchvision {version} wants torch{wanted.specifier}, not {torch_version}: {PAIR}"
            )
            return Finding(what="torch and torchvision", is_fine=False, says=says)
    says = f"torch {torch_version} and torchvision {version} load together"
    return Finding(what="torch and torchvision", is_fine=True, says=says)


def _shared_memory() -> Finding:
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return Finding(what="/dev/shm", is_fine=True, says="not on this system")
    wanted = f"{OBJECT_STORE_BYTES / 1e6:.0f} MB"
    # Ray takes at most 95 % of it.
    if 0.95 * free >= OBJECT_STORE_BYTES:
        says = f"{_size(free)} free, of which Ray takes {wanted}"
        return Finding(what="/dev/shm", is_fine=True, says=says)
    says = (
        f"{_size(free)} free, but Ray takes {wanted} and would use a slow disk: give the container "
        f"more, as in `docker run --shm-size=1g`"
    )
    return Finding(what="/dev/shm", is_fine=False, says=says)


def _store(store: str) -> Iterator[Finding]:
    try:
        ledger = Ledger(store)
    except (InputError, ValueError, OSError) as error:
        yield Finding(what="store", is_fine=False, says=f"{error}: choose another --store")
        return
    if ledger.local is None:
        yield _remote_store(store, ledger)
        return
    yield _local_store(ledger.local, ledger)
    yield _disk(ledger.local)


def _local_store(folder: Path, ledger: Ledger) -> Finding:
    above = _nearest_there(folder)
    problem = ""
    if folder.is_dir():
        marker = folder / ".writable"
        was_there = marker.exists()
        try:
            ledger.check_writable()
        except InputError as error:
            problem = str(error)
        if not was_there:
            marker.unlink(missing_ok=True)
        says = f"{folder} can be written"
    else:
        problem = _problem_writing(above)
        says = f"{folder} will be made by the first run"
    if problem:
        says = f"{problem}; choose another --store, or the rights to write there"
    return Finding(what="store", is_fine=not problem, says=says)


def _remote_store(store: str, ledger: Ledger) -> Finding:
    """Only looked at: writing is tried when a run begins."""
    problem = _within(lambda: ledger.note("doctor"))
    if not problem:
        says = f"{safe_uri(store)} answers; whether it can be written is seen when a run begins"
        return Finding(what="store", is_fine=True, says=says)
    says = f"{safe_uri(store)}: {problem}; check the address, the credentials and the network"
    return Finding(what="store", is_fine=False, says=says)


def _within(ask: Callable[[], object]) -> str:
    """What went wrong with a question to the network, which may hang; empty for an answer."""
    said = [f"no answer within {ANSWER_S:.0f} s"]

    def work() -> None:
        try:
            ask()
        except Exception as error:  # whatever the file system's own library raises
            said[0] = " ".join(str(error).split())[:200] or type(error).__name__
        else:
            said[0] = ""

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    return said[0]


def _disk(folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(_nearest_there(folder)).free
    except OSError as error:
        says = f"cannot be looked at ({error.strerror}): choose another --store"
        return Finding(what="disk of the store", is_fine=False, says=says)
    if free >= FREE_BYTES:
        return Finding(what="disk of the store", is_fine=True, says=f"{_size(free)} free")
    says = (
        f"{_size(free)} free, less than {_size(FREE_BYTES)}: make room, or choose another --store"
    )
    return Finding(what="disk of the store", is_fine=False, says=says)


def _cache() -> Finding:
    folder = cache_dir()
    problem = _problem_writing(_nearest_there(folder))
    if not problem:
        return Finding(what="cache", is_fine=True, says=f"{folder} can be written")
    says = f"{problem}, so that data is hashed anew each time: set AUGURY_CACHE to another folder"
    return Finding(what="cache", is_fine=False, says=says)


def _nearest_there(path: Path) -> Path:
    """The path itself, or the nearest above it that exists."""
    return next((p for p in (path, *path.parents) if os.path.lexists(p)), Path("/"))


def _problem_writing(folder: Path) -> str:
    """Why a file cannot be written into a folder; empty where it can."""
    if not folder.is_dir():
        return f"{folder} is not a folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"


def _tracking(uri: str | None) -> Finding:
    if uri is None:
        says = "a SQLite file in or near the store; --tracking-uri names a server"
        return Finding(what="MLflow", is_fine=True, says=says)
    parts = urlsplit(uri)
    shown = safe_uri(uri)
    if parts.scheme in ("http", "https"):
        problem = _problem_asking(uri)
        says = f"{shown} answers"
        if problem:
            says = f"{shown}: {problem}; start the server (`mlflow server`), or mend --tracking-uri"
        return Finding(what="MLflow", is_fine=not problem, says=says)
    if parts.scheme.partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql"):
        says = f"the database {shown}, looked at when a run begins"
        return Finding(what="MLflow", is_fine=True, says=says)
    says = f"{shown} is no address it can use: say http://HOST:PORT or sqlite:////FOLDER/mlflow.db"
    return Finding(what="MLflow", is_fine=False, says=says)


def _problem_asking(uri: str) -> str:
    """Why a tracking server does not answer; empty where it does."""
    try:
        import httpx

        answer = httpx.get(f"{uri.rstrip('/')}/health", timeout=ANSWER_S, follow_redirects=True)
    except ImportError:
        return "httpx is not installed"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"no answer ({' '.join(str(error).split()) or type(error).__name__})"
    return "" if answer.is_success else f"it answers with status {answer.status_code}"


def _open_files() -> Finding:
    # Ray raises the soft limit to the hard one by itself.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= OPEN_FILES:
        says = "no limit" if hard == resource.RLIM_INFINITY else f"up to {hard}"
        return Finding(what="open files", is_fine=True, says=says)
    says = f"up to {hard}, but Ray may need {OPEN_FILES}: raise it (`ulimit -Hn 65536`, as root)"
    return Finding(what="open files", is_fine=False, says=says)


def _git() -> Finding:
    found = shutil.which("git")
    none = "not found; records then lack the commit of Augury's source: install git to have it"
    return Finding(what="git", is_fine=True, says=found or none)


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
