"""Whole runs with real Ray and a real MLflow store: what users do, and what goes wrong."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.commands import (
    augury,
    done_files,
    end,
    kill,
    start,
    wait_until,
    workers_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUICKSTART = ("--smoke", "quickstart")
# As many validation rounds as a real run has, so that there is something to interrupt.
LONGER = ("--set", "train.epochs=40", "--set", "synthetic.ddpm.generator.steps=60")


def csv(folder: Path, *words: str) -> str:
    found = augury(folder, "report", *words, "--format", "csv")
    assert found.returncode == 0, found.stderr
    return found.stdout


def mlflow_runs(store: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments() if e.name != "Default"]
    return [run for e in experiments for run in client.search_runs([e])]


def check_mirror(store: Path, num_trials: int) -> None:
    """Each trial is one run, none is running, and no metric holds a step twice."""
    from mlflow import MlflowClient

    runs = mlflow_runs(store)
    trials = [run for run in runs if run.data.tags["augury.kind"] == "trial"]
    keys = [run.data.tags["augury.trial_key"] for run in trials]
    assert len(keys) == len(set(keys)) == num_trials
    assert {run.info.status for run in runs} == {"FINISHED"}
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    for run in trials:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_loss")]
        assert steps
        assert len(steps) == len(set(steps))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the longer quickstart ran undisturbed on two workers."""
    folder = tmp_path_factory.mktemp("reference")
    found = augury(folder, "run", *QUICKSTART, *LONGER, "--num-workers", "2")
    assert found.returncode == 0, found.stderr
    assert "95 % interval" in found.stdout
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_a_finished_study_is_mirrored_and_reported(reference: Path) -> None:
    check_mirror(reference / "augury-store", 9)
    text = csv(reference, *QUICKSTART, *LONGER)
    header, *rows = text.splitlines()
    assert header == "variant,metric,mean,std,n,expected,diff,ci_low,ci_high,p,p_holm"
    assert [row.split(",")[:2] for row in rows][:1] == [["real", "top1"]]
    assert all(row.split(",")[4:6] == ["3", "3"] for row in rows)
    page = augury(reference, "report", *QUICKSTART, *LONGER, "--format", "html", "--out", "page")
    assert (reference / page.stdout.strip()).read_text().count("<svg") >= 2


def test_the_table_is_the_same_on_one_worker_and_another_store(
    reference: Path, folder: Path
) -> None:
    found = augury(
        folder, "run", *QUICKSTART, *LONGER, "--num-workers", "1", "--store", "elsewhere"
    )
    assert found.returncode == 0, found.stderr
    there = csv(folder, *QUICKSTART, *LONGER, "--store", "elsewhere")
    assert there == csv(reference, *QUICKSTART, *LONGER)


def test_a_second_run_changes_nothing_and_starts_no_ray(reference: Path) -> None:
    before = done_files(reference / "augury-store")
    code = (
        "import sys; from orchestrator.cli import main\n"
        "try: main()\n"
        "finally: print({'ray', 'torch', 'mlflow'} & set(sys.modules), file=sys.stderr)"
    )
    found = augury(reference, "run", *QUICKSTART, *LONGER, python=code)
    assert found.returncode == 0, found.stderr
    assert found.stderr.strip() == "set()"
    assert done_files(reference / "augury-store") == before


@pytest.mark.parametrize("num_done", [2, 9])
def test_a_killed_driver_loses_nothing_that_was_finished(
    num_done: int, reference: Path, folder: Path
) -> None:
    store = folder / "augury-store"
    process = start(folder, "run", *QUICKSTART, *LONGER)
    wait_until(lambda: len([*store.glob("*/*/done.json")]) >= num_done, process, "finished steps")
    kill(process)
    before = done_files(store)
    found = augury(folder, "run", *QUICKSTART, *LONGER)
    assert found.returncode == 0, found.stderr
    after = done_files(store)
    assert {path: after[path] for path in before} == before
    assert csv(folder, *QUICKSTART, *LONGER) == csv(reference, *QUICKSTART, *LONGER)
    check_mirror(store, 9)


IMPATIENT = """
import os
os.environ["TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S"] = "0.2"
from ray.tune.execution.tune_controller import TuneController
ask = TuneController._update_trial_queue
TuneController._update_trial_queue = lambda self, blocking=False: ask(self, blocking, 0.2)
from orchestrator.cli import main
main()
"""
"""Tune waits ten minutes for a first trial, twice, before it asks what is wrong."""


def test_fits_may_take_longer_than_tune_waits_for_a_trial(folder: Path) -> None:
    words = ("--set", 'axes.variant=["synthetic"]', "--set", "compare=null", "--set", "seeds=[0]")
    bare = ("--set", "measures=[]", "--set", "audit=false")
    found = augury(folder, "run", *QUICKSTART, *words, *bare, python=IMPATIENT)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("kind", ["fit", "trial"])
def test_a_killed_worker_is_replaced(kind: str, reference: Path, folder: Path) -> None:
    store = folder / "augury-store"
    process = start(folder, "run", *QUICKSTART, *LONGER)

    def busy() -> list[int]:
        begun = [p for p in store.glob(f"{kind}/*/*") if p.is_dir()]
        done = [*store.glob(f"{kind}/*/done.json")]
        name = "ray::_events" if kind == "fit" else "ray::ImplicitFunc"
        found = [p for p, words in workers_of(process.pid).items() if words.startswith(name)]
        return found if len(begun) > len(done) else []

    os.kill(wait_until(busy, process, f"worker that does a {kind}")[0], signal.SIGKILL)
    assert process.wait(240) == 0, (folder / "output").read_text()
    assert csv(folder, *QUICKSTART, *LONGER) == csv(reference, *QUICKSTART, *LONGER)
    check_mirror(store, 9)


def test_the_first_interrupt_lets_running_steps_finish(reference: Path, folder: Path) -> None:
    store = folder / "augury-store"
    process = start(folder, "run", *QUICKSTART, *LONGER)
    wait_until(lambda: [*store.glob("trial/*/*")], process, "trial")
    assert end(process, signal.SIGINT) == 3
    output = (folder / "output").read_text()
    assert "incomplete:" in output
    assert "Traceback" not in output
    # What was begun was finished: no attempt is left without its marker.
    begun = {path.parent for path in store.glob("trial/*/*") if path.is_dir()}
    assert begun
    assert all((path / "done.json").exists() for path in begun)
    assert augury(folder, "run", *QUICKSTART, *LONGER).returncode == 0
    assert csv(folder, *QUICKSTART, *LONGER) == csv(reference, *QUICKSTART, *LONGER)
    check_mirror(store, 9)


def test_a_second_interrupt_stops_at_once_and_leaves_nothing_open(
    reference: Path, folder: Path
) -> None:
    store = folder / "augury-store"
    process = start(folder, "run", *QUICKSTART, *LONGER)
    wait_until(lambda: [*store.glob("trial/*/*")], process, "trial")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "Ctrl-C again" in (folder / "output").read_text(), process, "first answer")
    assert end(process, signal.SIGINT) == 130
    output = (folder / "output").read_text()
    assert "stopped; what was finished is kept" in output
    assert "Traceback" not in output
    assert "RUNNING" not in {run.info.status for run in mlflow_runs(store)}
    assert augury(folder, "run", *QUICKSTART, *LONGER).returncode == 0
    assert csv(folder, *QUICKSTART, *LONGER) == csv(reference, *QUICKSTART, *LONGER)
    check_mirror(store, 9)


def test_a_failed_fit_is_told_of_every_trial_that_needs_it(folder: Path) -> None:
    words = (*QUICKSTART, "--set", "synthetic.ddpm.generator.lr=1e30", "--set", "seeds=[0]")
    found = augury(folder, "run", *words)
    assert found.returncode == 3, found.stderr
    assert "Traceback" not in found.stderr + found.stdout
    rows = [row.split(",") for row in csv(folder, *words).splitlines()]
    assert {(row[0], row[4]) for row in rows if row[1] == "top1"} == {
        ("real", "1"),
        ("synthetic", "0"),
        ("mixed", "0"),
    }
    assert "needs fit ddpm" in augury(folder, "report", *words).stdout


def test_fresh_workers_give_the_same_bytes_as_reused_ones(folder: Path) -> None:
    code = (
        "import sys, orchestrator as augury\n"
        "words = ['axes.variant=[real]', 'seeds=[0, 1, 2, 3]', 'train.epochs=10']\n"
        "study = augury.load_study('quickstart', words, smoke=True)\n"
        "options = augury.RunOptions(num_workers=1, reuse_workers=sys.argv[2] == 'yes')\n"
        "assert augury.run([study], sys.argv[1], options).is_complete"
    )
    hashes = []
    for reuse in ("yes", "no"):
        found = augury(folder, reuse, reuse, python=code)
        assert found.returncode == 0, found.stderr
        weights = sorted((folder / reuse).glob("trial/*/*/selected.safetensors"))
        assert len(weights) == 4
        hashes.append([(p.parts[-3], hashlib.sha256(p.read_bytes()).hexdigest()) for p in weights])
    assert hashes[0] == hashes[1]


def test_a_failed_trial_sinks_nothing_and_is_retried_when_asked(folder: Path) -> None:
    words = (*QUICKSTART, "--set", "axes.train.lr=[0.001, 1e30]", "--set", "axes.variant=['real']")
    found = augury(folder, "run", *words, "--set", "seeds=[0]")
    assert found.returncode == 3
    assert "Traceback" not in found.stderr + found.stdout
    assert "not finite" in found.stderr
    assert "0 of 1" in found.stdout
    failed = next((folder / "augury-store").glob("trial/*/failed.json"))
    assert json.loads(failed.read_text())["error"].startswith("TrainingDiverged: ")
    stamp = failed.stat().st_mtime_ns
    assert augury(folder, "run", *words, "--set", "seeds=[0]").returncode == 3
    assert failed.stat().st_mtime_ns == stamp
    again = augury(folder, "run", *words, "--set", "seeds=[0]", "--retry-failed")
    assert again.returncode == 3
    assert failed.stat().st_mtime_ns > stamp


def test_a_dead_tracking_server_stops_nothing_and_sync_catches_up(folder: Path) -> None:
    words = (*QUICKSTART, "--set", "seeds=[0]", "--set", "axes.variant=['real']")
    found = augury(folder, "run", *words, "--tracking-uri", "http://127.0.0.1:9")
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("augury sync") == 1
    assert augury(folder, "sync", "--tracking-uri", "http://127.0.0.1:9").returncode == 1
    assert augury(folder, "sync").returncode == 0
    check_mirror(folder / "augury-store", 1)
    assert "0 points added" in augury(folder, "sync").stdout


def test_the_four_studies_share_and_follow_the_winner(folder: Path) -> None:
    studies = ("data_mix", "model_size", "architecture", "data_scale")

    def counts(*names: str, smoke: bool = True) -> dict[str, int]:
        words = ("--smoke",) if smoke else ()
        found = json.loads(augury(folder, "plan", *words, *names, "--json").stdout)
        return {k: found[k] for k in ("requested", "unique", "finished", "to_run", "deferred")}

    fresh = {"requested": 39, "unique": 30, "finished": 0, "to_run": 24, "deferred": 9}
    assert counts(*studies, smoke=False) == counts(*studies) == fresh
    alone = augury(folder, "run", "--smoke", "data_scale")
    assert alone.returncode == 3
    assert "architecture" in alone.stderr
    found = augury(folder, "run", "--smoke", *studies)
    assert found.returncode == 0, found.stderr
    done = {"requested": 39, "unique": 30, "finished": 30, "to_run": 0, "deferred": 0}
    assert counts(*studies) == done
    # 900 and, for the fractions, 450 and 225 images: each set was made once.
    assert len([*(folder / "augury-store").glob("gather/*/done.json")]) == 3
    assert found.stdout.count("top5 %") == 4


def test_the_fashion_study_runs_small(folder: Path) -> None:
    found = augury(folder, "run", "--smoke", "fashion_mnist_data_mix", "--set", "seeds=[0]")
    assert found.returncode == 0, found.stderr
    rows = csv(folder, "--smoke", "fashion_mnist_data_mix", "--set", "seeds=[0]").splitlines()
    assert [row.split(",")[:3] for row in rows[1:]][::4] == [
        ["", "real", "top1"],
        ["vae", "synthetic", "top1"],
        ["vae", "mixed", "top1"],
        ["ddpm", "synthetic", "top1"],
        ["ddpm", "mixed", "top1"],
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of real digits as PNG files: train, test, and a synthetic set."""
    from PIL import Image
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("folders")
    bunch = load_digits()
    places = {"train": range(300), "test": range(300, 400), "synthetic": range(400, 500)}
    for place, rows in places.items():
        for row in rows:
            path = root / place / f"digit {bunch.target[row]}" / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((bunch.images[row] * 15).astype("uint8")).save(path)
    (root / "study.yaml").write_text(
        "question: Does a folder of images help?\n"
        "dataset: {name: image_folder, root: train, test: test}\n"
        "synthetic: {made: {folder: synthetic}}\n"
        "train: {model: small_cnn, epochs: 2}\n"
        "axes: {variant: [real, synthetic, mixed]}\n"
        "seeds: [0, 1]\n"
        "compare: {baseline: {variant: real}}\n"
    )
    return root


def test_a_folder_of_images_can_be_the_synthetic_set(folders: Path) -> None:
    found = augury(folders, "run", "study.yaml")
    assert found.returncode == 0, found.stderr
    text = augury(folders, "report", "study.yaml").stdout
    assert "which images it was made from is not known" in text
    rows = {row.split(",")[0] for row in csv(folders, "study.yaml").splitlines()[1:]}
    assert rows == {"real", "synthetic", "mixed"}


def test_an_unreadable_image_is_one_line_and_left_out_only_when_asked(folders: Path) -> None:
    bad = folders / "train" / "digit 3" / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    found = augury(folders, "run", "study.yaml")
    assert found.returncode == 2
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "digit 3/bad.png" in last
    assert "Traceback" not in found.stderr
    words = ("study.yaml", "--set", "dataset.skip_bad=true")
    assert augury(folders, "run", *words).returncode == 0
    assert (
        "1 images could not be read and were left out" in augury(folders, "report", *words).stdout
    )
    bad.unlink()


def test_data_that_is_not_there_is_refused_by_run_alone(folder: Path) -> None:
    assert augury(folder, "plan", "data_mix").returncode == 0
    found = augury(folder, "run", "data_mix")
    assert found.returncode == 2
    assert found.stderr.startswith("error: ")
    assert "data/real" in found.stderr
    assert found.stderr.count("\n") == 1
    assert not [*(folder / "augury-store").glob("*/*/done.json")]
