"""The mirror in MLflow: nothing twice, nothing left running, no wait for a server that is gone."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs import CellRun, Row, SetRun, StudyRuns, TrialRun
from orchestrator.tracking import (
    UI_ENVIRONMENT,
    Tracker,
    TrackingUnavailable,
    default_uri,
    safe_uri,
    sync,
    ui_command,
)

# MLflow's own dependencies warn at import.
pytestmark = pytest.mark.filterwarnings("default")

SEEDS = (0, 1, 2)
VARIANTS = ("real", "mixed")


@pytest.fixture(autouse=True, scope="module")
def _loopback_only() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("no_proxy", "127.0.0.1")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real tracking server, started as `augury ui` starts it."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    command = ui_command(f"sqlite:///{folder / 'mlflow.db'}", port=port)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**UI_ENVIRONMENT, **os.environ}, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)
    assert sorted(file.name for file in folder.iterdir() if file.is_dir()) in (
        [],
        ["mlflow-artifacts"],
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)  # nothing else says that the port is open
    raise AssertionError("mlflow server did not start")


def key_of(variant: str, seed: int) -> str:
    return f"{variant}{seed}".encode().hex().ljust(64, "0")


def history(seed: int, rows: int = 4) -> tuple[Row, ...]:
    return tuple(
        {"step": 10.0 * i, "epoch": float(i), "train_loss": 1 / (i + seed), "val_loss": 2 / i}
        for i in range(1, rows + 1)
    )


def scores(seed: int) -> dict[str, float]:
    return {"top1": 0.5 + 0.1 * seed, "val_top1": 0.6}


def trial(variant: str, seed: int, *, done: bool) -> TrialRun:
    asked = TrialRun(key=key_of(variant, seed), seed=seed)
    if not done:
        return asked
    return replace(asked, status="finished", history=history(seed), scores=scores(seed))


def study(*, done: bool, name: str = "digits", seeds: tuple[int, ...] = SEEDS) -> StudyRuns:
    cells = tuple(
        CellRun(
            label=variant,
            coordinates={"variant": variant},
            params={"variant": variant, "train.lr": "0.001", "synthetic": "x" * 7000},
            trials=tuple(trial(variant, seed, done=done) for seed in seeds),
        )
        for variant in VARIANTS
    )
    return StudyRuns(name=name, question="Does it help?", cells=cells)


def all_runs(uri: str, name: str = "digits") -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def of_kind(runs: list[Any], kind: str) -> list[Any]:
    return [run for run in runs if run.data.tags["augury.kind"] == kind]


def points(uri: str, runs: list[Any]) -> dict[tuple[str, str, int], float]:
    """Every point of every metric; fails where a step has two."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found: dict[tuple[str, str, int], float] = {}
    for run in runs:
        for metric in run.data.metrics:
            for point in client.get_metric_history(run.info.run_id, metric):
                place = (run.info.run_id, metric, point.step)
                assert place not in found, (run.info.run_name, metric, point.step)
                found[place] = point.value
    return found


def check_complete(uri: str, name: str = "digits") -> None:
    """All that a finished study must look like, however it came there."""
    runs = all_runs(uri, name)
    cells, trials = of_kind(runs, "cell"), of_kind(runs, "trial")
    (top,) = of_kind(runs, "study")
    assert (len(cells), len(trials)) == (len(VARIANTS), len(VARIANTS) * len(SEEDS))
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in cells} == {top.info.run_id}
    assert {run.data.tags["augury.trial_key"] for run in trials} == {
        key_of(variant, seed) for variant in VARIANTS for seed in SEEDS
    }
    labels = {run.info.run_id: run.data.tags["augury.cell"] for run in cells}
    assert all(
        labels[run.data.tags["mlflow.parentRunId"]] == run.data.tags["augury.cell"]
        for run in trials
    )
    assert {tuple(sorted(run.data.params)) for run in cells + trials} == {
        ("seed", "synthetic", "train.lr", "variant")
    }
    for run in cells:
        assert run.data.metrics["n"] == 3
        assert run.data.metrics["top1_mean"] == pytest.approx(0.6)
        assert run.data.metrics["top1_std"] == pytest.approx(0.1)
    assert top.data.metrics == {"num_trials": 6, "num_finished": 6, "num_failed": 0}
    found = points(uri, trials)
    assert len(found) == len(trials) * (4 * 3 + 2)
    by_id = {run.info.run_id: run for run in trials}
    for (run_id, metric, step), value in found.items():
        seed = int(by_id[run_id].data.tags["augury.seed"])
        rows = {int(row["step"]): row for row in history(seed)}
        assert value == (scores(seed)[metric] if metric in scores(seed) else rows[step][metric])


def run_live(uri: str, asked: StudyRuns, warnings: list[str]) -> None:
    tracker = Tracker(uri, warnings.append)
    tracker.start_study(asked)
    for cell in asked.cells:
        for one in cell.trials:
            if one.status == "finished":
                continue
            tracker.trial_started(one.key)
            for row in history(one.seed):
                tracker.trial_progress(one.key, [row])
            tracker.trial_finished(one.key, history(one.seed), scores(one.seed))
    tracker.close()


def test_sync_twice_adds_nothing(tmp_path: Path) -> None:
    uri = default_uri(str(tmp_path / "a store"), local=True)
    report = tmp_path / "report.html"
    report.write_text("<h1>Report</h1>")
    first = sync(uri, [study(done=True)], {"digits": [report]})
    check_complete(uri)
    before = points(uri, all_runs(uri))
    again = sync(uri, [study(done=True)], {"digits": [report]})
    assert (first.num_runs, first.num_created) == (9, 9)
    assert (again.num_runs, again.num_created, again.num_points) == (9, 0, 0)
    assert points(uri, all_runs(uri)) == before
    assert first.num_points == len(before)
    check_complete(uri)
    (copy,) = (tmp_path / "a store" / "mlflow-artifacts").rglob("report.html")
    assert copy.read_text() == report.read_text()


def test_long_texts_are_cut(server: str) -> None:
    asked = study(done=True, name="long", seeds=(0,))
    failed = replace(asked.cells[0].trials[0], status="failed", scores={}, error="e" * 9000)
    cell = replace(asked.cells[0], trials=(failed,))
    sync(server, [replace(asked, cells=(cell,))])
    (run,) = of_kind(all_runs(server, "long"), "trial")
    assert run.info.status == "FAILED"
    assert len(run.data.params["synthetic"]) == 6000
    assert len(run.data.tags["augury.error"]) == 8000


def test_live_then_sync_is_the_same_mirror(server: str) -> None:
    warnings: list[str] = []
    run_live(server, study(done=False, name="live"), warnings)
    assert warnings == []
    check_complete(server, "live")
    again = sync(server, [study(done=True, name="live")])
    assert (again.num_created, again.num_points) == (0, 0)
    check_complete(server, "live")


def test_cell_follows_its_trials(server: str) -> None:
    asked = study(done=False, name="growing")
    for done in (1, 2, 3):
        cells = tuple(
            replace(
                cell,
                trials=tuple(trial(cell.label, seed, done=seed < done) for seed in SEEDS),
            )
            for cell in asked.cells
        )
        sync(server, [replace(asked, cells=cells)])
        runs = all_runs(server, "growing")
        for run in of_kind(runs, "cell"):
            assert run.data.metrics["n"] == done
            assert run.data.metrics["top1_mean"] == pytest.approx(0.5 + 0.05 * (done - 1))
            assert ("top1_std" in run.data.metrics) == (done > 1)
            assert run.info.status == ("FINISHED" if done == 3 else "KILLED")
    check_complete(server, "growing")
    # An edit that takes seeds away: the latest values are right again, at a later step.
    sync(server, [study(done=True, name="growing", seeds=(0,))])
    runs = all_runs(server, "growing")
    assert {run.data.metrics["n"] for run in of_kind(runs, "cell")} == {1}
    current = {run.data.tags["augury.current"]: 0 for run in of_kind(runs, "trial")}
    assert set(current) == {"true", "false"}
    points(server, runs)


def test_failed_trial_is_reopened_and_finished(server: str) -> None:
    warnings: list[str] = []
    asked = study(done=False, name="retry", seeds=(0,))
    real, mixed = (cell.trials[0].key for cell in asked.cells)
    tracker = Tracker(server, warnings.append)
    tracker.start_study(asked)
    tracker.trial_started(real)
    tracker.trial_failed(real, "out of memory")
    tracker.trial_started(mixed)
    tracker.close()
    runs = all_runs(server, "retry")
    statuses = {run.data.tags["augury.cell"]: run.info.status for run in of_kind(runs, "trial")}
    assert statuses == {"real": "FAILED", "mixed": "KILLED"}
    assert of_kind(runs, "study")[0].info.status == "FAILED"
    run_live(server, asked, warnings)
    runs = all_runs(server, "retry")
    assert warnings == []
    assert len(of_kind(runs, "trial")) == 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["augury.error"] for run in of_kind(runs, "trial")} == {""}


def test_trial_of_two_studies_is_in_both_experiments(server: str) -> None:
    warnings: list[str] = []
    tracker = Tracker(server, warnings.append)
    for name in ("first", "second"):
        tracker.start_study(study(done=False, name=name, seeds=(0,)))
    key = key_of("real", 0)
    tracker.trial_started(key)
    tracker.trial_finished(key, history(0), scores(0))
    tracker.close()
    assert warnings == []
    for name in ("first", "second"):
        (run,) = of_kind(all_runs(server, name), "trial")
        assert run.data.tags["augury.trial_key"] == key
        assert run.data.metrics["top1"] == 0.5


def test_resume_after_a_killed_driver(tmp_path: Path) -> None:
    """Half the rows, then SIGKILL: the next driver closes, reopens and completes the same runs."""
    uri = default_uri(str(tmp_path), local=True)
    script = f"""
        import sys, threading
        sys.path[:0] = {sys.path!r}
        import test_tracking as t
        asked = t.study(done=False)
        tracker = t.Tracker({uri!r}, print)
        tracker.start_study(asked)
        for key in (t.key_of("real", 0), t.key_of("real", 1)):
            tracker.trial_started(key)
            for row in t.history(int(key == t.key_of("real", 1)))[:2]:
                tracker.trial_progress(key, [row])
        t.wait_until_written(tracker)
        print("written", flush=True)
        threading.Event().wait()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"written\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    left = all_runs(uri)
    assert len(points(uri, of_kind(left, "trial"))) == 2 * 2 * 3
    assert {run.info.status for run in of_kind(left, "trial")} == {"RUNNING"}
    warnings: list[str] = []
    tracker = Tracker(uri, warnings.append)
    tracker.start_study(study(done=False))
    wait_until_written(tracker)
    assert {run.info.status for run in of_kind(all_runs(uri), "trial")} == {"KILLED"}
    tracker.close()
    assert {run.info.status for run in all_runs(uri)} == {"KILLED"}
    # One of the two was finished after all, by the ledger's word.
    asked = study(done=False)
    real = replace(asked.cells[0], trials=(trial("real", 0, done=True), *asked.cells[0].trials[1:]))
    run_live(uri, replace(asked, cells=(real, asked.cells[1])), warnings)
    assert warnings == []
    check_complete(uri)
    kept = {run.info.run_id for run in left}
    assert kept <= {run.info.run_id for run in all_runs(uri)}


@pytest.fixture
def dead() -> str:
    return f"http://user:hidden@127.0.0.1:{free_port()}"


@pytest.fixture
def silent() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://user:hidden@127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["dead", "silent"])
def test_no_answer_costs_one_warning(kind: str, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue(kind)
    warnings: list[str] = []
    begun = time.monotonic()
    tracker = Tracker(uri, warnings.append)
    tracker.start_study(study(done=False))
    for seed in SEEDS * 200:
        tracker.trial_progress(key_of("real", seed), [history(seed)[0]])
    assert time.monotonic() - begun < 1
    tracker.close()
    assert time.monotonic() - begun < 15
    tracker.trial_started(key_of("real", 0))
    tracker.close()
    (warning,) = warnings
    assert "augury sync" in warning
    assert safe_uri(uri) in warning
    assert "hidden" not in warning
    assert "\n" not in warning


class Wire:
    """A connection to the server that can be cut."""

    def __init__(self, address: str) -> None:
        self._target = ("127.0.0.1", int(address.rsplit(":", 1)[1]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # how a listener learns that it was closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def cut(self) -> None:
        for end in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_server_that_goes_away(server: str) -> None:
    wire, warnings = Wire(server), list[str]()
    tracker = Tracker(wire.address, warnings.append)
    tracker.start_study(study(done=False, name="cut"))
    tracker.trial_started(key_of("real", 0))
    tracker.trial_progress(key_of("real", 0), [history(0)[0]])
    wait_until_written(tracker)
    wire.cut()
    tracker.trial_progress(key_of("real", 0), [history(0)[1]])
    begun = time.monotonic()
    tracker.close()
    assert time.monotonic() - begun < 15
    assert len(warnings) == 1
    assert {run.info.status for run in all_runs(server, "cut")} == {"RUNNING"}
    sync(server, [study(done=True, name="cut")])
    check_complete(server, "cut")


def wait_until_written(tracker: Tracker) -> None:
    written = threading.Event()
    tracker._enqueue(lambda mirror: written.set())
    assert written.wait(60)


def test_sync_says_why_it_cannot(dead: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingUnavailable) as caught:
        sync(dead, [study(done=True)])
    assert safe_uri(dead) in str(caught.value)
    assert "hidden" not in str(caught.value)
    (tmp_path / "mlflow.db").write_text("no database " * 100)
    with pytest.raises(TrackingUnavailable, match="not a database"):
        sync(default_uri(str(tmp_path), local=True), [study(done=True)])


def test_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_uri("augury-store", local=True) == f"sqlite:///{tmp_path}/augury-store/mlflow.db"
    assert default_uri(f"file://{tmp_path}/s", local=True) == f"sqlite:///{tmp_path}/s/mlflow.db"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    remote = default_uri("s3://bucket/store", local=False)
    assert remote == f"sqlite:///{tmp_path}/data/augury/mlflow.db"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    remote = default_uri("s3://bucket/store", local=False)
    assert remote == f"sqlite:///{tmp_path}/.local/share/augury/mlflow.db"
    assert safe_uri("postgresql://me:pw@db:5432/x?password=y") == "postgresql://db:5432/x"
    with pytest.raises(ValueError, match="already"):
        ui_command("https://me:pw@mlflow.example")


def made_set(name: str, **changes: Any) -> SetRun:
    losses = tuple({"step": 10.0 * i, "loss/generator": 1 / i, "loss/fake, x": -i} for i in (1, 2))
    asked = SetRun(
        key=name.encode().hex().ljust(64, "0"),
        name=name,
        status="finished",
        params={"generator.name": name, "generator.config.steps": "200"},
        tags={"augury.generator": name},
        measures={"set/fid": 12.5, "set/cas": 0.9},
        losses=losses,
        files={"samples.png": b"png", "map_tsne.svg": b"<svg/>"},
    )
    return replace(asked, **changes)


def with_sets(asked: StudyRuns, *sets: SetRun) -> StudyRuns:
    return replace(asked, sets=sets, files={"fidelity.csv": b"set,fid\n"})


def kept(uri: str, run: Any, folder: str) -> list[str]:
    from mlflow import MlflowClient

    found = MlflowClient(uri).list_artifacts(run.info.run_id, folder)
    return sorted(file.path for file in found)


def test_each_set_is_a_run_with_its_measures_losses_and_pictures(server: str) -> None:
    asked = with_sets(study(done=True, name="sets"), made_set("gan"), made_set("ddpm"))
    first = sync(server, [asked])
    runs = all_runs(server, "sets")
    (top,) = of_kind(runs, "study")
    sets = of_kind(runs, "set")
    assert first.num_created == 9 + 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in sets} == {top.info.run_id}
    assert {run.data.tags["mlflow.runName"] for run in sets} == {"set gan", "set ddpm"}
    assert {tuple(sorted(run.data.params)) for run in sets} == {
        ("generator.config.steps", "generator.name")
    }
    found = points(server, sets)
    for run in sets:
        assert run.data.metrics["set/fid"] == 12.5
        assert found[run.info.run_id, "loss/generator", 20] == 0.5
        assert found[run.info.run_id, "loss/fake_ x", 10] == -1
        assert kept(server, run, "pictures") == ["pictures/map_tsne.svg", "pictures/samples.png"]
    assert kept(server, top, "sets") == ["sets/fidelity.csv"]
    again = sync(server, [asked])
    assert (again.num_created, again.num_points) == (0, 0)


def test_pictures_are_sent_once_and_again_when_they_differ(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    sent: list[str] = []
    send = MlflowClient.log_artifact

    def note(self: MlflowClient, run_id: str, path: str, folder: str | None = None) -> None:
        sent.append(Path(path).name)
        send(self, run_id, path, folder)

    monkeypatch.setattr(MlflowClient, "log_artifact", note)
    whole = study(done=True, name="pictures")
    sync(server, [with_sets(whole, made_set("gan"))])
    assert sorted(sent) == ["fidelity.csv", "map_tsne.svg", "samples.png"]
    sync(server, [with_sets(whole, made_set("gan"))])
    sync(server, [with_sets(whole, made_set("gan", files={}))])  # pictures were not read
    assert len(sent) == 3
    sync(server, [with_sets(whole, made_set("gan", files={"samples.png": b"other"}))])
    assert sent[3:] == ["samples.png"]


def test_a_set_whose_fit_failed_is_made_at_the_next_try(server: str) -> None:
    whole = study(done=True, name="diverged")
    failed = made_set("gan", status="failed", measures={}, files={}, error="diverged by step 20")
    sync(server, [with_sets(whole, failed)])
    (run,) = of_kind(all_runs(server, "diverged"), "set")
    assert run.info.status == "FAILED"
    assert run.data.tags["augury.error"] == "diverged by step 20"
    assert run.data.metrics["loss/generator"] == 0.5
    sync(server, [with_sets(whole, made_set("gan"))])
    (run,) = of_kind(all_runs(server, "diverged"), "set")
    assert (run.info.status, run.data.tags["augury.error"]) == ("FINISHED", "")
    assert run.data.metrics["set/fid"] == 12.5
    sync(server, [whole])  # an edit that takes the set away
    (run,) = of_kind(all_runs(server, "diverged"), "set")
    assert run.data.tags["augury.current"] == "false"


def test_sets_are_mirrored_live_too(server: str) -> None:
    warnings: list[str] = []
    asked = study(done=False, name="livesets")
    tracker = Tracker(server, warnings.append)
    tracker.start_study(asked)
    wait_until_written(tracker)
    assert of_kind(all_runs(server, "livesets"), "set") == []
    tracker.start_study(with_sets(study(done=True, name="livesets"), made_set("gan")))
    tracker.close()
    assert warnings == []
    runs = all_runs(server, "livesets")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert [run.data.metrics["set/cas"] for run in of_kind(runs, "set")] == [0.9]


def test_importing_the_module_loads_no_mlflow() -> None:
    code = "import sys, orchestrator.tracking; sys.exit('mlflow' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
