"""Nothing is paid twice, whatever is killed, and nothing goes past the budget."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.editing import OVER_BUDGET, Answer, Edited
from tasks.edits.answers import JOURNAL, FolderAnswers
from tasks.errors import InputError
from tests.tasks.service_server import KEY, VARIABLES, Service, Trick, serving
from tests.tasks.services import PROVIDERS, editor_of, edits_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A server, and its key in the environment."""
    monkeypatch.delenv("AUGURY_API_KEYS", raising=False)
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, KEY)
    monkeypatch.chdir(tmp_path)
    with serving() as running:
        yield running
    assert running.problems == []


def wait_until(holds: object, timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.005)


@pytest.mark.parametrize("provider", ["stability", "bfl"])
def test_after_a_kill_every_edit_is_there_once_and_none_but_those_in_flight_is_paid_twice(
    provider: str, service: Service, tmp_path: Path
) -> None:
    service.delay_s = 0.02
    folder = tmp_path / "answers"
    command = [sys.executable, "-m", "tests.tasks.service_client", service.url, provider]
    with subprocess.Popen([*command, str(folder), "200"], cwd=ROOT, env=dict(os.environ)) as child:
        wait_until(lambda: service.charged.total() >= 80 or child.poll() is not None)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    wait_until(lambda: service.at_once == 0)
    assert 80 <= service.charged.total() < 200

    answers = FolderAnswers(folder, min_free_bytes=0)
    unseen = answers.unseen()
    assert len(unseen) <= 4
    editor = editor_of(provider, service, answers, max_cost_usd=50.0)
    edited = [item for part in _batches(200, editor.batch_size) for item in editor.edit(part)]
    assert sorted(item.id for item in edited) == sorted(item.id for item in edits_of(200))
    assert all(item.image is not None for item in edited)
    twice = {id for id, times in service.charged.items() if times > 1}
    assert max(service.charged.values()) <= 2
    assert twice <= set(unseen)
    # What was in flight stays counted: nobody knows whether it was charged.
    assert service.charged.total() * 0.05 <= answers.spent_usd() + 1e-9
    assert answers.spent_usd() <= (200 + len(unseen)) * 0.05 + 1e-9
    assert len(list((folder / "images").rglob("*.png"))) == 200
    assert not list(folder.rglob("*.part"))


def _batches(count: int, size: int) -> Iterator[list]:  # type: ignore[type-arg]
    edits = edits_of(count)
    for start in range(0, count, size):
        yield edits[start : start + size]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_calls_at_once_never_go_past_the_budget(
    provider: str, service: Service, tmp_path: Path
) -> None:
    service.delay_s = 0.01
    folder = tmp_path / "answers"
    tricks: list[Trick] = ["garbage", "filtered", "500", "refused"]
    service.tricks = {f"edit {index}": [trick] for index, trick in enumerate(tricks)}
    editor = editor_of(provider, service, folder, concurrency=8, max_cost_usd=0.42)
    edited = list(editor.edit(edits_of(20)))
    assert len(edited) == 20
    left = [item for item in edited if item.left]
    assert {item.left for item in left} == {OVER_BUDGET}
    assert service.charged.total() * 0.05 <= 0.42
    spent = FolderAnswers(folder).spent_usd()
    assert service.charged.total() * 0.05 <= spent + 1e-9 <= 0.42 + 1e-9
    assert spent == pytest.approx(sum(item.cost_usd for item in edited))

    # A refusal may have freed the money of one call, which the next run uses.
    again = list(editor_of(provider, service, folder, max_cost_usd=0.42).edit(edits_of(20)))
    assert 0 < sum(item.left == OVER_BUDGET for item in again) <= len(left)
    assert service.charged.total() * 0.05 <= 0.42
    more = list(editor_of(provider, service, folder, max_cost_usd=5.0).edit(edits_of(20)))
    assert not [item for item in more if item.left]


def test_processes_that_share_the_answers_share_the_budget(
    service: Service, tmp_path: Path
) -> None:
    service.delay_s = 0.01
    editors = [
        editor_of("stability", service, tmp_path / "answers", concurrency=4, max_cost_usd=0.5)
        for _ in range(2)
    ]
    edited: list[Edited] = []
    threads = [
        threading.Thread(target=lambda e=editor, n=name: edited.extend(e.edit(edits_of(12, n))))
        for editor, name in zip(editors, ("left", "right"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.charged.total() == 10
    assert sum(item.image is not None for item in edited) == 10
    assert sum(item.left == OVER_BUDGET for item in edited) == 14


def test_a_budget_of_nothing_asks_nothing(service: Service, tmp_path: Path) -> None:
    editor = editor_of("bfl", service, tmp_path / "answers", max_cost_usd=0.0)
    assert [item.left for item in editor.edit(edits_of(3))] == [OVER_BUDGET] * 3
    assert service.asked == []


def test_what_is_under_way_is_kept_when_the_caller_goes(service: Service, tmp_path: Path) -> None:
    service.delay_s = 0.05
    edits = edits_of(30)
    going = editor_of("stability", service, tmp_path / "answers", concurrency=3).edit(edits)
    next(going)
    going.close()  # type: ignore[attr-defined]
    assert service.charged.total() < 12
    answers = FolderAnswers(tmp_path / "answers")
    assert answers.unseen() == ()
    assert sum(answers.find(edit.id) is not None for edit in edits) == service.charged.total()


def test_nothing_is_asked_where_no_answer_could_be_kept(service: Service, tmp_path: Path) -> None:
    full = FolderAnswers(tmp_path / "answers", min_free_bytes=1 << 60)
    with pytest.raises(InputError, match="MB free, and answers that are paid for must find room"):
        list(editor_of("stability", service, full).edit(edits_of(3)))
    assert service.asked == []


def answer(id: str, cost_usd: float = 0.1, status: str = "image") -> Answer:
    return Answer(id=id, status=status, image=b"\x89PNG of " + id.encode(), cost_usd=cost_usd)


def test_answers_are_found_by_whoever_opens_the_folder(tmp_path: Path) -> None:
    answers = FolderAnswers(tmp_path, min_free_bytes=0)
    assert answers.find("a/../b") is None
    assert answers.ask("a/../b", 0.2, 1.0)
    assert answers.spent_usd() == pytest.approx(0.2)
    answers.keep(answer("a/../b"))
    other = pickle.loads(pickle.dumps(answers))
    assert other.find("a/../b") == answer("a/../b")
    other.keep(answer("c", status="refused"))
    assert answers.find("c") == answer("c", status="refused")
    assert answers.spent_usd() == pytest.approx(0.2)
    assert other.unseen() == ()


def test_a_call_without_an_end_is_shown_and_counted(tmp_path: Path) -> None:
    answers = FolderAnswers(tmp_path, min_free_bytes=0)
    assert answers.ask("a", 0.3, 1.0)
    assert answers.ask("a", 0.4, 1.0)
    assert not answers.ask("b", 0.7, 1.0)
    answers.note("a", "ticket 7")
    after = FolderAnswers(tmp_path, min_free_bytes=0)
    assert after.unseen() == ("a",)
    assert after.ticket("a") == "ticket 7"
    assert after.spent_usd() == pytest.approx(0.4)
    assert after.ask("a", 0.5, 1.0)
    assert after.ticket("a") == ""
    after.keep(answer("a", 0.5))
    assert after.spent_usd() == pytest.approx(0.9)
    assert FolderAnswers(tmp_path).unseen() == ()


def test_half_a_line_is_that_of_a_writer_who_was_killed(tmp_path: Path) -> None:
    answers = FolderAnswers(tmp_path, min_free_bytes=0)
    answers.keep(answer("a"))
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"event": "ended", "id": "b", "cost_us')
    assert FolderAnswers(tmp_path).find("b") is None
    answers.keep(answer("c"))
    rows = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a", "c"]
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b"no json\n")
    with pytest.raises(InputError, match=r"calls\.jsonl' holds a line that is no JSON"):
        FolderAnswers(tmp_path)


def test_an_image_that_was_deleted_is_asked_for_again(tmp_path: Path) -> None:
    answers = FolderAnswers(tmp_path, min_free_bytes=0)
    answers.keep(answer("a"))
    next((tmp_path / "images").rglob("*.png")).unlink()
    assert answers.find("a") is None
