"""cluster.yaml is one that Ray's launcher accepts, checked without a cloud."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    """The file with Ray's defaults filled in, as `ray up` sees it."""
    from ray.autoscaler._private.util import prepare_config

    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    prepared: dict[str, Any] = prepare_config(yaml.safe_load(text))
    return prepared


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import validate_config

    validate_config(cluster)
    with pytest.raises(Exception, match="max_workers"):
        validate_config(cluster | {"max_workers": "many"})


def test_the_head_schedules_nothing_and_workers_come_as_needed(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    head, worker = types[cluster["head_node_type"]], types["gpu"]
    assert head["resources"] == {"CPU": 0}
    assert (worker["min_workers"], worker["max_workers"]) == (0, 8)
    assert cluster["max_workers"] == 8
    assert cluster["idle_timeout_minutes"] > 0


def test_all_nodes_carry_the_token(cluster: dict[str, Any]) -> None:
    assert "/home/ubuntu/.ray/auth_token" in cluster["file_mounts"]
    for kind in ("head", "worker"):
        (start,) = (c for c in cluster[f"{kind}_start_ray_commands"] if "ray start" in c)
        assert "RAY_AUTH_MODE=token" in start
        assert "--dashboard-host" not in start, "the dashboard is reached through SSH alone"


def test_all_nodes_install_the_tested_set(cluster: dict[str, Any]) -> None:
    for kind in ("head", "worker"):
        commands = cluster[f"{kind}_setup_commands"]
        assert any("pip install -c ~/augury/constraints.txt ~/augury" in c for c in commands)


def test_what_is_copied_exists_and_is_all_that_an_installation_needs(
    cluster: dict[str, Any],
) -> None:
    copied = {
        target.removeprefix("/home/ubuntu/augury/"): source
        for target, source in cluster["file_mounts"].items()
        if target.startswith("/home/ubuntu/augury/")
    }
    assert all(target == source for target, source in copied.items())
    assert [source for source in copied.values() if not (ROOT / source).exists()] == []
    packages = {"orchestrator", "tasks", "search_spaces"}
    assert packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} == set(copied)
