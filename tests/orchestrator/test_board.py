"""The board hands out each job once, when it can run, and knows when nothing more will come."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.board import Board, Job, jobs_of
from orchestrator.plan import Step
from tasks import plugins
from tasks.specs import EditRecipe, EditSpec, EvaluateSpec, Progress

SPEC = EvaluateSpec(trial="t", test="p")
"""The board never looks into a spec, but for services."""


def step(key: str, *needs: str) -> Step:
    """A step whose key begins with its kind, as in `fit.1`."""
    kind = key.partition(".")[0]
    return Step(kind=kind, key=key, spec=SPEC, needs=needs, title=f"do {key}", size=10)


def steps_of(*steps: Step) -> dict[str, Step]:
    return {each.key: each for each in steps}


STUDY = steps_of(
    step("pack.train"),
    step("pack.test"),
    step("fit", "pack.train"),
    step("sample", "fit", "pack.train"),
    step("gather", "sample"),
    step("trial.real", "pack.train"),
    step("evaluate.real", "trial.real", "pack.test"),
    step("trial.mixed", "pack.train", "gather"),
    step("evaluate.mixed", "trial.mixed", "pack.test"),
)


class Diary:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, step: Step) -> None:
        self.lines.append(f"started {step.key}")

    def progressed(self, step: Step, progress: Progress) -> None:
        self.lines.append(f"progressed {step.key} {progress.done}/{progress.total}")

    def finished(self, step: Step) -> None:
        self.lines.append(f"finished {step.key}")

    def failed(self, step: Step, message: str) -> None:
        self.lines.append(f"failed {step.key}: {message}")

    def lost(self, step: Step, message: str) -> None:
        self.lines.append(f"lost {step.key}: {message}")


def board_of(steps: dict[str, Step] | None = None, slots: int = 10) -> tuple[Board, Diary]:
    diary = Diary()
    return Board(STUDY if steps is None else steps, slots, diary), diary


def take_all(board: Board, trials: bool) -> list[Job]:
    taken = []
    while (job := board.take(trials)) is not None:
        taken.append(job)
    return taken


def keys(jobs: Sequence[Job]) -> list[str]:
    return [job.first.key for job in jobs]


def finish(board: Board, *jobs: Job) -> None:
    for job in jobs:
        board.end(job, [each.key for each in job.steps], {})


def test_a_trial_goes_with_its_evaluations() -> None:
    other = step("evaluate.other", "trial.real", "pack.other")
    jobs = jobs_of({**STUDY, other.key: other})
    assert jobs["trial.real"].steps == (STUDY["trial.real"], STUDY["evaluate.real"], other)
    assert jobs["fit"].after == ()
    assert "evaluate.real" not in jobs


def test_an_evaluation_whose_trial_is_done_is_a_job() -> None:
    steps = {key: each for key, each in STUDY.items() if key != "trial.real"}
    assert jobs_of(steps)["evaluate.real"].steps == (STUDY["evaluate.real"],)


def test_jobs_come_when_what_they_need_is_done() -> None:
    board, _ = board_of()
    packs = take_all(board, trials=False)
    assert keys(packs) == ["pack.train", "pack.test"]
    assert take_all(board, trials=True) == []
    finish(board, packs[0])
    assert take_all(board, trials=True) == []
    fits = take_all(board, trials=False)
    assert keys(fits) == ["fit"]
    finish(board, packs[1])
    real = take_all(board, trials=True)
    assert keys(real) == ["trial.real"]
    for expected in ("sample", "gather"):
        finish(board, *fits)
        fits = take_all(board, trials=False)
        assert keys(fits) == [expected]
    finish(board, *fits)
    mixed = take_all(board, trials=True)
    assert keys(mixed) == ["trial.mixed"]
    assert board.is_over(trials=False)
    assert not board.is_over(trials=True)
    finish(board, *real, *mixed)
    assert board.is_over(trials=True)
    assert board.num_running() == 0


def test_what_is_not_in_the_run_is_not_waited_for() -> None:
    board, _ = board_of(steps_of(STUDY["trial.mixed"], STUDY["evaluate.mixed"]))
    assert keys(take_all(board, trials=True)) == ["trial.mixed"]


def test_slots_bound_what_runs() -> None:
    board, _ = board_of(slots=1)
    first = board.take(trials=False)
    assert first is not None
    assert board.take(trials=False) is None
    assert board.num_running() == 1
    finish(board, first)
    assert keys(take_all(board, trials=False)) == ["pack.test"]


def test_a_choice_may_be_given() -> None:
    board, _ = board_of()
    job = board.take(trials=False, among=["pack.test"])
    assert job is not None
    assert job.first.key == "pack.test"
    assert board.take(trials=False, among=["pack.test"]) is None
    assert board.take(trials=True, among=["pack.train"]) is None


def test_draining_lets_run_what_runs() -> None:
    board, _ = board_of()
    first, second = take_all(board, trials=False)
    board.drain()
    finish(board, first)
    assert take_all(board, trials=False) == []
    assert board.is_over(trials=True)
    assert not board.is_over(trials=False)
    finish(board, second)
    assert board.is_over(trials=False)


def test_a_fault_of_the_users_stops_the_run() -> None:
    board, _ = board_of()
    (first, _second) = take_all(board, trials=False)
    board.blame_user("bad data")
    board.blame_user("more bad data")
    finish(board, first)
    assert board.stopping
    assert board.user_error == "bad data"
    assert take_all(board, trials=False) == []


def test_what_needs_a_failed_step_never_starts() -> None:
    board, diary = board_of()
    finish(board, *take_all(board, trials=False))
    (fit,) = take_all(board, trials=False)
    board.end(fit, [], {"fit": "diverged"})
    assert board.failures == {"fit": "diverged"}
    assert diary.lines[-1] == "failed fit: diverged"
    assert board.is_over(trials=False)
    assert not board.is_over(trials=True)
    real = take_all(board, trials=True)
    assert keys(real) == ["trial.real"]
    finish(board, *real)
    assert board.is_over(trials=True)
    assert take_all(board, trials=True) == []


def test_a_failed_evaluation_leaves_its_trial_finished() -> None:
    board, diary = board_of(steps_of(STUDY["trial.real"], STUDY["evaluate.real"]))
    (job,) = take_all(board, trials=True)
    board.end(job, ["trial.real"], {"evaluate.real": "no weights"})
    assert diary.lines[-2:] == ["finished trial.real", "failed evaluate.real: no weights"]
    assert board.failures == {"evaluate.real": "no weights"}


def test_a_step_that_neither_finished_nor_failed_is_not_spoken_of() -> None:
    board, diary = board_of(steps_of(STUDY["trial.real"], STUDY["evaluate.real"]))
    (job,) = take_all(board, trials=True)
    board.end(job, [], {"trial.real": "diverged"})
    assert diary.lines == ["started trial.real", "failed trial.real: diverged"]


def test_a_lost_job_comes_again_while_that_is_wanted() -> None:
    board, diary = board_of(steps_of(STUDY["pack.train"], STUDY["fit"]))
    job = board.take(trials=False)
    assert job is not None
    board.lost(job, "out of memory", again=True)
    assert board.num_running() == 0
    assert not board.is_over(trials=False)
    again = board.take(trials=False)
    assert again == job
    board.lost(job, "out of memory", again=False)
    assert board.take(trials=False) is None
    assert board.is_over(trials=False)
    assert board.failures == {}
    assert diary.lines == ["started pack.train", "lost pack.train: out of memory"] * 2


def test_a_step_that_is_run_again_in_place_keeps_its_slot() -> None:
    board, diary = board_of(slots=1)
    job = board.take(trials=False)
    assert job is not None
    board.again(job.first, "worker died")
    board.progressed(job.first, Progress(done=1, total=4))
    assert board.num_running() == 1
    assert board.take(trials=False) is None
    assert diary.lines[1:] == [
        "lost pack.train: worker died",
        "started pack.train",
        "progressed pack.train 1/4",
    ]


@pytest.mark.parametrize("trials", [True, False])
def test_an_empty_run_is_over(trials: bool) -> None:
    board, _ = board_of({})
    assert board.is_over(trials)
    assert board.take(trials) is None


def test_trials_are_not_over_while_images_for_them_are_made() -> None:
    board, _ = board_of()
    finish(board, *take_all(board, trials=False))
    assert board.take(trials=True) is None, "a slot goes to the fit first"
    (fit,) = take_all(board, trials=False)
    finish(board, *take_all(board, trials=True))
    assert not board.is_over(trials=True)
    board.lost(fit, "gone", again=False)
    assert board.losses == {fit.first.key: "gone"}
    assert board.is_over(trials=True)


def asking(service: str, key: str) -> Step:
    recipe = EditRecipe(editor=plugins.plugin("editors", service), pack="p", per_image=1, seed=0)
    spec = EditSpec(recipe=recipe, prompts=(), split_seed=0, label=0, start=0, stop=1)
    return replace(step(key), spec=spec)


SERVICES = steps_of(
    asking("openai", "edit.1"),
    asking("openai", "edit.2"),
    asking("stability", "edit.3"),
    asking("sdedit", "edit.4"),
    asking("sdedit", "edit.5"),
    step("gather", "edit.1", "edit.2"),
    step("trial.mixed", "gather"),
    step("trial.real"),
)


def test_a_service_is_asked_by_one_step_at_a_time() -> None:
    board, _ = board_of(SERVICES)
    first = take_all(board, trials=False)
    assert keys(first) == ["edit.1", "edit.3", "edit.4", "edit.5"]
    finish(board, first[0])
    second = take_all(board, trials=False)
    assert keys(second) == ["edit.2"]
    finish(board, *first[1:], *second)
    assert keys(take_all(board, trials=False)) == ["gather"]


def test_nothing_more_is_asked_of_a_service_that_is_closed() -> None:
    board, diary = board_of(SERVICES)
    first = take_all(board, trials=False)
    board.close_service(first[0], "no money is left")
    assert board.losses == {"edit.1": "no money is left"}
    assert diary.lines[-1] == "lost edit.1: no money is left"
    finish(board, *first[1:])
    assert board.take(trials=False) is None
    assert board.is_over(trials=False)
    # What needs none of it goes on.
    (real,) = take_all(board, trials=True)
    assert real.first.key == "trial.real"
    finish(board, real)
    assert board.is_over(trials=True)
    assert not board.failures
