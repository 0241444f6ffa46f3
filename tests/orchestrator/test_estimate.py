"""Times are told from what was measured, and not told where nothing was."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator import estimate
from orchestrator.estimate import Clock, Rate, expected_seconds, load_rates, save_rates
from orchestrator.ledger import Ledger
from orchestrator.plan import Step
from tasks.specs import EvaluateSpec, Progress


def step(key: str, kind: str = "trial", size: int = 100, title: str = "train small_cnn") -> Step:
    spec = EvaluateSpec(trial="t", test="p")
    return Step(kind=kind, key=key, spec=spec, needs=(), title=title, size=size)


RATES = {"train small_cnn": Rate(seconds=50, size=100)}


@dataclass
class Time:
    """A clock that stands until it is moved."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    standing = Time()
    monkeypatch.setattr(estimate, "time", standing)
    return standing


def clock(*waiting: Step, slots: int = 1, rates: dict[str, Rate] | None = None) -> Clock:
    return Clock(
        slots=slots,
        rates=dict(RATES if rates is None else rates),
        waiting={each.key: each for each in waiting},
    )


def test_rates_are_kept_in_the_store(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    assert load_rates(ledger) == {}
    save_rates(ledger, RATES)
    assert load_rates(Ledger(str(tmp_path))) == RATES


def test_steps_take_what_steps_of_their_title_took() -> None:
    assert expected_seconds([step("a"), step("b", size=300)], RATES) == 200
    assert expected_seconds([], {}) == 0


def test_an_unmeasured_step_is_unknown_where_it_is_long() -> None:
    assert expected_seconds([step("a"), step("b", title="train other")], RATES) is None
    for kind in ("pack", "gather", "evaluate"):
        assert expected_seconds([step("a"), step("b", kind=kind, title="other")], RATES) == 50


def test_a_rate_of_nothing_is_no_division_by_zero() -> None:
    assert Rate(seconds=2, size=0).per_unit == 2


def test_what_waits_is_shared_by_the_slots(time: Time) -> None:
    steps = [step(key) for key in "abcd"]
    assert clock(*steps).seconds_left() == 200
    assert clock(*steps, slots=2).seconds_left() == 100


def test_the_longest_step_bounds_the_rest(time: Time) -> None:
    watch = clock(step("a", size=1000), step("b"), slots=10)
    watch.started(step("a", size=1000))
    time.now += 100
    assert watch.seconds_left() == 400


def test_a_running_step_is_told_by_its_own_progress(time: Time) -> None:
    watch = clock(step("a"), step("b"), rates={})
    assert watch.seconds_left() is None
    watch.started(step("a"))
    time.now += 30
    watch.progressed(step("a"), Progress(done=1, total=100))
    assert watch.seconds_left() is None, "a hundredth says little"
    watch.progressed(step("a"), Progress(done=25, total=100))
    # 90 seconds of this one, and the whole 120 of one like it.
    assert watch.seconds_left() == pytest.approx(210)


def test_what_was_measured_is_believed_and_older_times_less(time: Time) -> None:
    watch = clock(step("a"), step("b"))
    watch.started(step("a"))
    time.now += 75
    watch.finished(step("a"))
    assert watch.rates["train small_cnn"] == Rate(seconds=100, size=150)
    assert watch.seconds_left() == pytest.approx(100 * 100 / 150)


def test_a_step_that_was_done_already_teaches_nothing(time: Time) -> None:
    watch = clock(step("a"), step("b"))
    watch.finished(step("a"))
    assert watch.rates == RATES
    assert watch.seconds_left() == 50


def test_a_lost_step_waits_again_and_a_failed_one_does_not(time: Time) -> None:
    watch = clock(step("a"))
    watch.started(step("a"))
    time.now += 20
    assert watch.seconds_left() == 30
    watch.lost(step("a"))
    assert watch.seconds_left() == 50
    watch.started(step("a"))
    watch.failed(step("a"))
    assert watch.seconds_left() == 0


def test_a_step_that_takes_longer_than_expected_has_no_time_below_zero(time: Time) -> None:
    watch = clock(step("a"))
    watch.started(step("a"))
    time.now += 1000
    assert watch.seconds_left() == 0


def test_progress_of_what_does_not_run_is_nothing(time: Time) -> None:
    watch = clock()
    watch.progressed(step("a"), Progress(done=1, total=2))
    watch.lost(step("a"))
    assert watch.seconds_left() == 0
