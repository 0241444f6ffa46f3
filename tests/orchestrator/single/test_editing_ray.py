"""Edits on Ray: the same bytes on any number of workers, whoever is killed in between."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.commands import augury, kill, start, wait_until, workers_of
from tests.orchestrator.single.editing_runs import (
    check_whole,
    contents,
    id_in,
    manifest,
    write_images,
)
from tests.tasks.own_editors import FOLDER
from tests.tasks.service_server import KEY, VARIABLES, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NUM_EDITS = 240
CALLS_AT_ONCE = 4
PLAIN = (
    *("generate", "--input-dir", "in", "--editor", "negative", "--prompts-file", "prompts.txt"),
    *("--per-image", "3", "--output-dir", "out"),
)
SLOWLY = ("--set", "pause_s=0.02")


@pytest.fixture(scope="module", autouse=True)
def _named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every process that is started knows the editors of tests, Ray's workers among them."""
    folder = tmp_path_factory.mktemp("site")
    code = f"import tasks.editors\ntasks.editors.__path__.append({str(FOLDER)!r})\n"
    (folder / "sitecustomize.py").write_text(code)
    with pytest.MonkeyPatch.context() as patched:
        paths = [str(folder), os.environ.get("PYTHONPATH", "")]
        patched.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
        yield


def fill(folder: Path) -> Path:
    """Forty images, two prompts, and three edits by each."""
    write_images(folder / "in", 40)
    (folder / "prompts.txt").write_text("a {class} of glass\nin a forbidden place\n")
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The images of a run that nobody disturbed, on two workers."""
    folder = fill(tmp_path_factory.mktemp("reference"))
    found = augury(folder, *PLAIN, "--num-workers", "2", "--set", f"log={folder / 'log'}")
    assert found.returncode == 0, found.stderr
    check_whole(folder / "out", NUM_EDITS)
    log = (folder / "log").read_text().splitlines()
    # Each worker loads its model once, for four steps on average.
    assert 1 <= len([line for line in log if line.startswith("build")]) <= 2
    assert len([line for line in log if line.startswith("edit")]) == NUM_EDITS
    return contents(folder / "out")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield fill(tmp_path)
    shutil.rmtree(tmp_path)


def test_a_killed_driver_loses_no_image_that_was_written(
    reference: dict[str, bytes], folder: Path
) -> None:
    out, log = folder / "out", f"log={folder / 'log'}"
    process = start(folder, *PLAIN, *SLOWLY, log, "--num-workers", "1")
    wait_until(lambda: len(contents(out)) >= 64, process, "two steps that are written")
    kill(process)
    before = contents(out)
    assert 64 <= len(before) < NUM_EDITS
    assert {name: reference[name] for name in before} == before
    found = augury(folder, *PLAIN, "--set", log, "--num-workers", "1")
    assert found.returncode == 0, found.stderr
    assert f"{len(before)} of them done before" in found.stdout
    assert contents(out) == reference
    check_whole(out, NUM_EDITS)
    # What was made and not written is what two steps hold at most.
    edited = (folder / "log").read_text().count("edit ")
    assert edited <= NUM_EDITS + 64
    assert f"{NUM_EDITS} edits are there" in found.stdout


def test_a_killed_worker_is_replaced(reference: dict[str, bytes], folder: Path) -> None:
    out = folder / "out"
    process = start(folder, *PLAIN, *SLOWLY, "--num-workers", "2")

    def busy() -> list[int]:
        names = workers_of(process.pid).items()
        found = [number for number, name in names if name.startswith("ray::_events")]
        return found if contents(out) else []

    os.kill(wait_until(busy, process, "worker that edits")[0], signal.SIGKILL)
    assert process.wait(240) == 0, (folder / "output").read_text()
    assert contents(out) == reference
    check_whole(out, NUM_EDITS)
    assert {row["refusal"] for row in manifest(out)} == {""}
    assert all(id_in(out / row["file"]) == row["edit_id"] for row in manifest(out))


def test_the_first_interrupt_lets_running_steps_finish(
    reference: dict[str, bytes], folder: Path
) -> None:
    out = folder / "out"
    process = start(folder, *PLAIN, *SLOWLY, "--num-workers", "1")
    wait_until(lambda: contents(out), process, "step that is written")
    process.send_signal(signal.SIGINT)
    assert process.wait(240) == 3
    said = (folder / "output").read_text()
    assert "edits are left: not begun, as you stopped it" in said
    assert "Traceback" not in said
    there = contents(out)
    assert {name: reference[name] for name in there} == there
    check_whole(out, len(there))


def test_a_kill_amid_calls_pays_twice_at_most_what_was_in_flight(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES["stability"], KEY)
    out = folder / "out"
    with serving() as service:
        service.delay_s = 0.05
        words = (
            *("generate", "--input-dir", "in", "--provider", "stability", "--output-dir", "out"),
            *("--prompts-file", "prompts.txt", "--per-image", "3", "--max-cost-usd", "20"),
            *("--set", f"base_url={service.url}", "side=64", f"concurrency={CALLS_AT_ONCE}"),
            *("requests_per_minute=null", "cost_usd_per_image=0.05"),
        )
        process = start(folder, *words)
        wait_until(lambda: len(service.asked) >= 100, process, "hundred calls")
        kill(process)
        before = contents(out)
        assert 0 < len(before) < NUM_EDITS
        found = augury(folder, *words)
        assert found.returncode == 0, found.stderr
        charged = sum(service.charged.values())
    check_whole(out, NUM_EDITS)
    assert {name: contents(out)[name] for name in before} == before
    assert len({row["edit_id"] for row in manifest(out)}) == NUM_EDITS
    assert NUM_EDITS <= charged <= NUM_EDITS + CALLS_AT_ONCE
