"""A study on a Ray cluster of several nodes: real raylets on one machine, one of which is lost."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cluster import gpu_share, no_garbage
from orchestrator.inputs import identify
from orchestrator.plan import make_plan, sources
from orchestrator.study import load_study
from tests.orchestrator.commands import augury, environment, start, wait_until

HOST = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "lose":
        cluster.remove_node(other, allow_graceful=False)
        print("lost", flush=True)
cluster.shutdown()
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A head and a worker node, kept by a process of their own that takes commands."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOST],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(tmp_path),
    )
    yield process
    assert process.stdin is not None
    process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lost_node_costs_nothing_that_was_finished(
    cluster: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert cluster.stdout is not None
    assert cluster.stdin is not None
    address = cluster.stdout.readline().strip()
    words = ("--smoke", "quickstart", "--set", "train.epochs=20")
    process = start(tmp_path, "run", *words, "--address", address)
    store = tmp_path / "augury-store"
    wait_until(lambda: [*store.glob("trial/*/done.json")], process, "finished trial")
    cluster.stdin.write("lose\n")
    cluster.stdin.flush()
    assert cluster.stdout.readline().strip() == "lost"
    assert process.wait(300) == 0, (tmp_path / "output").read_text()
    here = augury(tmp_path, "run", *words, "--store", "alone")
    assert here.returncode == 0, here.stderr
    tables = [
        augury(tmp_path, "report", *words, "--format", "csv", "--store", name).stdout
        for name in ("augury-store", "alone")
    ]
    assert tables[0] == tables[1]


def test_an_address_without_a_cluster_is_one_line(tmp_path: Path) -> None:
    found = augury(tmp_path, "run", "--smoke", "quickstart", "--address", "127.0.0.1:9")
    assert found.returncode == 2
    assert found.stderr.strip().splitlines()[-1].startswith("error: --address ")
    assert "Traceback" not in found.stderr


def test_a_large_model_gets_half_a_gpu_and_small_ones_share() -> None:
    models = "axes.train.model=[test_vit, vit_huge_patch14_clip_224]"
    study = load_study("model_size", [models, "compare={baseline: {train.model: test_vit}}"])
    plan = make_plan([study], identify(sources(study)), {})
    trials = [step for step in plan.steps.values() if step.kind == "trial"]
    shares = {step.title: gpu_share(step, 80 * 10**9) for step in trials}
    assert list(shares.values()) == [0.125, 0.5]


class _Cycle:
    def __init__(self) -> None:
        self.own = self


def test_garbage_is_collected_before_ray_shuts_down_and_not_meanwhile() -> None:
    before = weakref.ref(_Cycle())
    with no_garbage():
        assert before() is None
        assert not gc.isenabled()
    assert gc.isenabled()
