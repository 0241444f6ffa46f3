"""`augury doctor` says what is missing and how to mend it, and leaves nothing behind."""

import importlib.metadata
import platform
import resource
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement

from orchestrator import doctor
from orchestrator.doctor import Finding, examine
from orchestrator.ledger import Ledger
from tests.orchestrator.commands import augury


class Server(BaseHTTPRequestHandler):
    """Answers as MLflow does under `/mlflow/health`."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/mlflow/health" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Server) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def of_store(store: Path | str) -> dict[str, Finding]:
    return {finding.what: finding for finding in doctor._store(str(store))}


def test_a_working_machine_is_fine(tmp_path: Path) -> None:
    findings = {finding.what: finding for finding in examine(str(tmp_path / "store"), None)}
    wanted = {"python", "torch", "ray", "torch and torchvision", "GPU", "/dev/shm", "store"}
    assert wanted | {"disk of the store", "cache", "MLflow", "open files", "git"} <= set(findings)
    assert [findings[what].says for what in wanted if not findings[what].is_fine] == []
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path: Path) -> None:
    done = augury(tmp_path, "doctor", "--store", "/dev/null/store")
    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert all(line.startswith(("ok   ", "MEND ")) for line in lines)
    (bad,) = [line for line in lines if line.startswith("MEND store: ")]
    assert "'/dev/null' is not a folder: choose another --store" in bad
    assert list(tmp_path.iterdir()) == []


# Packages


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("numpy", ""),
        ("numpy>1000", ", but >1000 is needed"),
        ("numpy<1", ", but <1 is needed"),
        ("no-such-package-at-all>=1", "no-such-package-at-all is not installed"),
    ],
)
def test_packages_are_there_in_range(requirement: str, said: str) -> None:
    problem = doctor._problem_with(Requirement(requirement))
    assert bool(problem) == bool(said)
    assert said in problem


def test_a_package_without_its_files_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.MODULES, "numpy", "no_such_module")
    assert doctor._problem_with(Requirement("numpy")).endswith("cannot be imported")


def test_extras_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._problem_with_extras(Requirement("ray[tune]")) == ""
    asked = {"ray": ["no-such-package-at-all; extra == 'tune'", "other; extra == 'serve'"]}
    monkeypatch.setattr(importlib.metadata, "requires", asked.__getitem__)
    assert doctor._problem_with_extras(Requirement("ray[tune]")) == (
        "for ray[tune], no-such-package-at-all is not installed"
    )


def test_what_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["no-such-package-at-all>=1", "numpy", "absent; extra == 'test'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: asked)
    missing, there = doctor._packages()
    assert (missing.is_fine, there.is_fine) == (False, True)
    assert missing.says.endswith(f": {doctor.REINSTALL}")


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.1")
    finding = doctor._python()
    assert not finding.is_fine
    assert finding.says.startswith("3.9.1, but Augury needs ")


def fake_torch(folder: Path, torchvision: str, gpus: int = 0) -> None:
    """Two modules that stand before the real ones."""
    (folder / "torchvision.py").write_text(torchvision)
    (folder / "torch.py").write_text(
        "from types import SimpleNamespace\n"
        "__version__ = '0.1'\n"
        "version = SimpleNamespace(cuda='12.8')\n"
        f"cuda = SimpleNamespace(device_count=lambda: {gpus}, get_device_name=lambda i: 'H200')\n"
    )


def test_torch_that_does_not_load_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torch(tmp_path, "raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = doctor._torch()
    assert not finding.is_fine
    assert "operator torchvision::nms does not exist" in finding.says
    assert finding.says.endswith(doctor.PAIR)


def test_torch_of_another_release_is_named_and_gpus_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torch(tmp_path, "", gpus=2)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pair, gpu = doctor._torch()
    assert not pair.is_fine
    assert pair.says.endswith(f"not 0.1: {doctor.PAIR}")
    assert (gpu.is_fine, gpu.says) == (True, "2 × H200")


# Memory, disks and the store


@pytest.mark.parametrize(("free", "is_fine"), [(64 * 1024**2, False), (2 * 1024**3, True)])
def test_shared_memory(free: int, is_fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    finding = doctor._shared_memory()
    assert finding.is_fine is is_fine
    assert finding.says.endswith("--shm-size=1g`") is not is_fine


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    finding = of_store(tmp_path / "store")["disk of the store"]
    assert not finding.is_fine
    assert finding.says == "1.0 GB free, less than 5.0 GB: make room, or choose another --store"


def test_a_store_that_is_there_is_left_as_it_was(tmp_path: Path) -> None:
    Ledger(str(tmp_path / "store")).put_note("a", {})
    before = sorted(tmp_path.rglob("*"))
    assert of_store(tmp_path / "store")["store"].is_fine
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_is_not_made(tmp_path: Path) -> None:
    finding = of_store(tmp_path / "a" / "b")["store"]
    assert finding.is_fine
    assert finding.says.endswith("will be made by the first run")
    assert list(tmp_path.iterdir()) == []


def test_stores_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for store in (tmp_path / "file", tmp_path / "file" / "store", "/proc/nope", "nope://x"):
        finding = of_store(store)["store"]
        assert not finding.is_fine, store
        assert "choose another --store" in finding.says
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_cache_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "file" / "cache"))
    finding = doctor._cache()
    assert not finding.is_fine
    assert finding.says.endswith("set AUGURY_CACHE to another folder")


def test_questions_that_hang_or_fail_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(doctor, "ANSWER_S", 0.05)
    assert doctor._within(release.wait).startswith("no answer within")
    release.set()
    monkeypatch.setattr(doctor, "ANSWER_S", 10)
    assert doctor._within(lambda: 1) == ""
    assert doctor._within(lambda: int("x")).startswith("invalid literal")


# MLflow, and what is left


def test_a_tracking_server_answers(server: str) -> None:
    finding = doctor._tracking(f"{server}/mlflow/")
    assert (finding.is_fine, finding.says) == (True, f"{server}/mlflow/ answers")


def test_a_server_that_is_not_mlflow(server: str) -> None:
    finding = doctor._tracking(server)
    assert not finding.is_fine
    assert f"{server}: it answers with status 404; start the server" in finding.says


def test_a_server_that_is_not_there_keeps_its_password(server: str) -> None:
    finding = doctor._tracking("http://me:secret@127.0.0.1:1")
    assert not finding.is_fine
    assert finding.says.startswith("http://127.0.0.1:1: no answer (")
    assert "secret" not in finding.says


@pytest.mark.parametrize(
    ("uri", "is_fine"),
    [
        (None, True),
        ("sqlite:////a/mlflow.db", True),
        ("postgresql+psycopg2://u:p@h/d", True),
        ("./mlruns", False),
    ],
)
def test_other_addresses(uri: str | None, is_fine: bool) -> None:
    finding = doctor._tracking(uri)
    assert finding.is_fine is is_fine
    assert "u:p" not in finding.says


def test_the_environment_s_server_is_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setattr(doctor, "_packages", list)
    monkeypatch.setattr(doctor, "_torch", list)
    findings = {finding.what: finding for finding in examine("store", None)}
    assert findings["MLflow"].says.startswith(f"{server}: it answers with status 404")


@pytest.mark.parametrize(("hard", "is_fine"), [(1024, False), (65536, True), (-1, True)])
def test_open_files(hard: int, is_fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    assert doctor._open_files().is_fine is is_fine


def test_git_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    finding = doctor._git()
    assert finding.is_fine
    assert finding.says.endswith("install git to have it")
