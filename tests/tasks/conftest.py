"""Packs of digits, and the threads of a step, for the tests of what trains and predicts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.tasks.trials import some_digits, write


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As every step of a study has; more add floating-point numbers in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of digits to train on."""
    return write(tmp_path_factory.mktemp("packs") / "real", some_digits("train"))


@pytest.fixture(scope="session")
def test_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of digits to test on."""
    return write(tmp_path_factory.mktemp("packs") / "test", some_digits("test"))
