"""The budget of answers in a folder, where one call is asked more than once."""

from pathlib import Path

import pytest

from tasks.edits.answers import FolderAnswers


def test_another_try_of_a_call_counts_only_what_it_adds(tmp_path: Path) -> None:
    answers = FolderAnswers(tmp_path, min_free_bytes=0)
    assert answers.ask("a", 0.3, 0.5)
    assert answers.ask("a", 0.5, 0.5)
    assert not answers.ask("a", 0.6, 0.5)
    assert answers.spent_usd() == pytest.approx(0.5)


def test_a_call_whose_end_nobody_saw_counts_beside_its_next_try(tmp_path: Path) -> None:
    assert FolderAnswers(tmp_path, min_free_bytes=0).ask("a", 0.3, 0.5)
    after = FolderAnswers(tmp_path, min_free_bytes=0)
    assert not after.ask("a", 0.3, 0.5)
    assert after.ask("a", 0.3, 0.6)
    assert after.spent_usd() == pytest.approx(0.6)
