"""The files of a report."""

from pathlib import Path

import pytest

from orchestrator.report.documents import markdown
from orchestrator.report.write import FORMATS, write_report
from tests.orchestrator.report import samples


def test_every_format_is_written_and_nothing_is_left_beside(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    written = write_report(samples.digits(), folder)
    names = ["report.md", "report.csv", "report.json", "report.tex", "report.html"]
    assert [path.name for path in written.files] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert b"\r" not in (folder / "report.csv").read_bytes()


def test_a_report_is_written_over(tmp_path: Path) -> None:
    write_report(samples.nothing_finished(), tmp_path, ["markdown"])
    written = write_report(samples.digits(), tmp_path, ["markdown", "markdown"])
    assert written.files == (tmp_path / "report.md",)
    assert written.files[0].read_text(encoding="utf-8") == markdown(samples.digits())


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown report format 'pdf': choose from markdown, csv"):
        write_report(samples.digits(), tmp_path / "report", ["csv", "pdf"])
    assert not (tmp_path / "report").exists()
    assert "html" in FORMATS
