"""Flags of single steps: underscores, and several values after one flag."""

from collections.abc import Sequence

import pytest

from orchestrator.single.flags import repeated


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["--seed", "0", "1", "2"], ["--seed", "0", "--seed", "1", "--seed", "2"]),
        (["--seed", "0", "--seed", "1"], ["--seed", "0", "--seed", "1"]),
        (["--seed=0", "1"], ["--seed=0", "--seed", "1"]),
        (["--seed", "-1"], ["--seed", "-1"]),
        (["--lr", "1", "2"], ["--lr", "1", "2"]),
        (["--top_k", "1", "2", "--lr", "3"], ["--top_k", "1", "--top-k", "2", "--lr", "3"]),
        (["--seed"], ["--seed"]),
        ([], []),
    ],
)
def test_several_values_after_one_flag(given: Sequence[str], taken: Sequence[str]) -> None:
    assert repeated(given, {"--seed", "--top-k"}) == taken
