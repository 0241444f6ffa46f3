"""Edits by a service: nothing is paid twice, the budget holds, and the key shows nowhere."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.single.editing_runs import (
    Run,
    Said,
    check_whole,
    contents,
    manifest,
    runner,
    write_images,
)
from tests.tasks.service_server import KEY, VARIABLES, Service, serving

PROVIDER = "stability"


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_images(tmp_path / "in", 6)
    (tmp_path / "prompts.txt").write_text("a {class} of glass\nin a forbidden place\n")
    monkeypatch.setenv(VARIABLES[PROVIDER], KEY)
    return tmp_path


@pytest.fixture
def run(work: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(work, monkeypatch)


class Paying:
    """Runs the command against the server."""

    def __init__(self, run: Run, service: Service, work: Path) -> None:
        self._run, self.service, self._work = run, service, work

    def __call__(self, *words: str, code: int | None = 0) -> Said:
        quick = (
            *(f"base_url={self.service.url}", "side=64", "backoff_s=0.01", "max_tries=2"),
            *("requests_per_minute=null", "cost_usd_per_image=0.05", "concurrency=2"),
        )
        said = self._run(
            *("--input-dir", "in", "--provider", PROVIDER, "--prompts-file", "prompts.txt"),
            *("--output-dir", "out", "--set", *quick, *words),
        )
        assert code is None or said.code == code, (said.out, said.err)
        assert KEY not in said.out + said.err
        for path in self._work.rglob("*"):
            assert not path.is_file() or KEY.encode() not in path.read_bytes()
        return said

    @property
    def num_charged(self) -> int:
        return sum(self.service.charged.values())


@pytest.fixture
def paying(run: Run, service: Service, work: Path) -> Paying:
    return Paying(run, service, work)


def test_a_plan_says_the_calls_and_the_money(paying: Paying, work: Path) -> None:
    said = paying("--dry-run").out.splitlines()
    assert said[:3] == [
        f"{PROVIDER}: 6 images of 3 classes, 12 edits",
        "for example one/seen/0001.png: a one of glass",
        "12 calls of up to $0.05 each, up to $0.60 in all; $0.00 of $10.00 (--max-cost-usd) are "
        "spent",
    ]
    small = paying("--dry-run", "--max-cost-usd", "0.2").out
    assert "$0.00 of $0.20 (--max-cost-usd) are spent, which may do for 4 of them" in small
    assert paying.service.asked == []
    assert not (work / "out").exists()


def test_what_was_paid_is_there_and_is_not_paid_again(paying: Paying, work: Path) -> None:
    assert "$0.60 paid" in paying().out
    check_whole(work / "out", 12)
    assert sum(row["cost_usd"] for row in manifest(work / "out")) == pytest.approx(0.6)
    assert paying.num_charged == 12
    (work / "out" / "manifest.parquet").unlink()
    for path in (work / "out").glob("*/*/*.png"):
        path.unlink()
    said = paying().out
    assert "0 calls of up to $0.05 each, up to $0.00 in all; $0.60 of $10.00" in said
    assert "12 edits are there, 12 done now" in said
    assert "paid;" not in said
    assert paying.num_charged == 12
    check_whole(work / "out", 12)
    # The manifest says what each of them cost, whenever that was paid.
    assert sum(row["cost_usd"] for row in manifest(work / "out")) == pytest.approx(0.6)


def test_the_budget_is_never_passed(paying: Paying, work: Path) -> None:
    # In two steps, the second of which is not begun.
    said = paying("concurrency=1", "--max-cost-usd", "0.25", code=3)
    assert "7 of 12 edits are left: max_cost_usd is reached (7)" in said.err
    assert paying.num_charged == 5
    check_whole(work / "out", 5)
    error = paying("--max-cost-usd", "0.25", code=None).error
    assert error == (
        "--max-cost-usd 0.25: $0.25 of it are spent, and each of 7 calls to come may cost $0.05: "
        "say more"
    )
    # A higher one goes on where it was; it names no other edits.
    paying("--max-cost-usd", "5")
    assert paying.num_charged == 12
    check_whole(work / "out", 12)


def test_no_budget_is_refused_before_anything_is_written(paying: Paying, work: Path) -> None:
    error = paying("--max-cost-usd", "0", code=None).error
    assert error.startswith("--max-cost-usd 0: $0.00 of it are spent, and each of 12 calls")
    assert paying.service.asked == []
    assert not (work / "out").exists()


def test_no_key_is_refused_before_anything_is_written(
    paying: Paying, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLES[PROVIDER])
    error = paying(code=None).error
    assert error.startswith(f"{PROVIDER}: there is no key: write a line")
    assert not (work / "out").exists()


def test_a_wrong_key_stops_the_run(
    paying: Paying, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[PROVIDER], "sk-another-0123456789")
    error = paying(code=None).error
    assert "the key is not accepted (401)" in error
    assert "another" not in error
    assert contents(work / "out") == {}
    monkeypatch.setenv(VARIABLES[PROVIDER], KEY)
    # As nothing was paid, the corrected command may have another recipe too.
    paying("--seed", "3")
    assert paying.num_charged == 12
    check_whole(work / "out", 12)


def test_answers_that_were_paid_are_not_passed_over(paying: Paying, work: Path) -> None:
    paying()
    shutil.rmtree(work / "out" / ".augury" / "rows", ignore_errors=True)
    (work / "out" / "manifest.parquet").unlink()
    for path in (work / "out").glob("*/*/*.png"):
        path.unlink()
    (work / "prompts.txt").write_text("a {class} of glass\nin a forbidden place\nat night\n")
    error = paying(code=None).error
    assert "holds edits of another recipe (prompts: " in error
    assert error.endswith(
        "; name a new folder, with --store out/.augury/store, so that nothing is paid twice"
    )
    said = paying("--output-dir", "new", "--store", "out/.augury/store")
    assert "6 calls of up to $0.05 each" in said.out
    assert paying.num_charged == 18
    check_whole(work / "new", 18)


def test_a_refusal_is_recorded_and_not_asked_again(paying: Paying, work: Path) -> None:
    paying.service.tricks["in a forbidden place"] = ["refused"] * 2
    said = paying()
    assert "2 edits refused by the model or its service, and not asked again" in said.out
    check_whole(work / "out", 12, refused=2)
    asked = len(paying.service.asked)
    assert "all done before" in paying().out
    assert len(paying.service.asked) == asked


def test_what_a_service_keeps_failing_is_asked_again_by_the_next_run(
    paying: Paying, work: Path
) -> None:
    paying.service.tricks["in a forbidden place"] = ["500"] * 4
    said = paying(code=3)
    with (work / "out" / "failures.csv").open() as file:
        why = {row["why"] for row in csv.DictReader(file)}
    assert all(PROVIDER in each and "500" in each for each in why)
    assert "edits are left" in said.err
    paying()
    check_whole(work / "out", 12)
    assert paying.num_charged == 12


def test_a_store_that_is_no_folder_is_refused(run: Run, work: Path) -> None:
    said = run(
        *("--input-dir", "in", "--provider", PROVIDER, "--prompts-file", "prompts.txt"),
        *("--output-dir", "out", "--store", "s3://bucket/prefix?endpoint_override=localhost:9"),
    )
    assert "what a service was paid for is kept on a disk" in said.error
