"""A study asks a service for what it trains on, once, and goes on after its budget was raised."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.commands import augury
from tests.tasks.service_server import KEY, VARIABLES, Service, serving

NUM_REAL = 20


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


def write_study(folder: Path, service: Service, max_cost_usd: float) -> None:
    editor = {
        "provider": "stability",
        "base_url": service.url,
        "side": 64,
        "concurrency": 2,
        "requests_per_minute": None,
        "cost_usd_per_image": 0.05,
        "max_cost_usd": max_cost_usd,
    }
    study = {
        "question": "q",
        "dataset": "digits",
        "subset": {"max_real": NUM_REAL},
        "synthetic": {"paid": {"editor": editor, "prompts": "prompts.txt"}},
        "arms": {"real": {"variant": "real"}, "mixed": {"variant": "mixed"}},
        "train": {"model": "small_cnn", "epochs": 1, "batch_size": 16},
        "measures": [],
        "audit": False,
        "seeds": [0],
    }
    (folder / "study.yaml").write_text(json.dumps(study))
    (folder / "prompts.txt").write_text("{class} of glass\n")


def test_what_a_budget_cut_short_is_done_once_it_is_raised(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES["stability"], KEY)
    # In the middle of a shard: what it paid for is kept.
    write_study(tmp_path, service, 0.25)
    planned = augury(tmp_path, "plan", "study.yaml")
    assert f"asks:   stability {NUM_REAL} times, for $1.00 at most; max_cost_usd is $0.25" in (
        planned.stdout
    ), planned.stderr
    cut = augury(tmp_path, "run", "study.yaml", "--num-workers", "2")
    assert cut.returncode == 3, cut.stderr
    assert sum(service.charged.values()) == 5
    assert "incomplete: 1 of 2 trials are not finished" in cut.stderr
    assert "stability: max_cost_usd leaves " in cut.stderr
    assert "run the same command again to go on" in cut.stderr
    write_study(tmp_path, service, 10.0)
    done = augury(tmp_path, "run", "study.yaml", "--num-workers", "2")
    assert done.returncode == 0, done.stderr
    assert sum(service.charged.values()) == NUM_REAL
    assert service.most_at_once <= 2
    found = json.loads(augury(tmp_path, "report", "study.yaml", "--format", "json").stdout)
    assert sum(line["money_usd"] for line in found["costs"]) == pytest.approx(1.0)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
