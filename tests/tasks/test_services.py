"""Editors that ask services, against a server that speaks their protocols and misbehaves."""

import logging
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tasks import plugins
from tasks.editing import Edit
from tasks.editors import _faults
from tasks.editors._laying import MAX_ASPECT, Laid, canvas_of
from tasks.editors._pace import Pace
from tasks.edits.answers import FolderAnswers
from tasks.errors import InputError
from tasks.specs import content_key
from tests.tasks.service_server import KEY, RETRY_AFTER_S, VARIABLES, Service, serving
from tests.tasks.services import MASKED, PROVIDERS, editor_of, edits_of, smooth


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A server, and its key in the environment."""
    for variable in (*VARIABLES.values(), "GOOGLE_API_KEY", "AUGURY_API_KEYS"):
        monkeypatch.delenv(variable, raising=False)
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, KEY)
    monkeypatch.chdir(tmp_path)
    with serving() as running:
        yield running
    assert running.problems == []


@pytest.mark.parametrize(
    ("provider", "masked"),
    [(name, False) for name in PROVIDERS] + [(name, True) for name in MASKED],
)
def test_an_edit_keeps_size_and_channels_and_is_paid_once(
    provider: str, masked: bool, service: Service, tmp_path: Path
) -> None:
    shapes = [(40, 56, 3), (33, 20, 1)]
    edits = []
    for index, shape in enumerate(shapes):
        mask = np.zeros(shape[:2], np.bool_)
        mask[:, : shape[1] // 2] = True
        edits.append(
            Edit(
                id=f"id/{index}",
                image=smooth(*shape),
                prompt=f"a cat, {index}",
                seed=2**63 + index,
                mask=mask if masked else None,
            )
        )
    editor = editor_of(provider, service, tmp_path / "answers")
    assert editor.batch_size >= 2
    edited = {item.id: item for item in editor.edit(edits)}
    assert set(edited) == {"id/0", "id/1"}
    for edit in edits:
        image = edited[edit.id].image
        assert image is not None
        assert image.dtype == np.uint8
        assert image.shape == edit.image.shape
        assert edited[edit.id].cost_usd == 0.05
        assert not edited[edit.id].left
        # What lies a few pixels off the rims, where the canvas and the mask are blurred.
        half = edit.image.shape[1] // 2
        left, right = image[3:-3, 3 : half - 3], image[3:-3, half + 3 : -3]
        source_left, source_right = edit.image[3:-3, 3 : half - 3], edit.image[3:-3, half + 3 : -3]
        _near(left, 255 - source_left)
        _near(right, source_right if masked else 255 - source_right)
    assert all((asked.mask is not None) == masked for asked in service.asked)
    again = {
        item.id: item for item in editor_of(provider, service, tmp_path / "answers").edit(edits)
    }
    assert len(service.asked) == 2
    for edit in edits:
        assert again[edit.id].cost_usd == 0
        np.testing.assert_array_equal(again[edit.id].image, edited[edit.id].image)


def _near(image: np.ndarray, wanted: np.ndarray) -> None:
    assert np.abs(image.astype(int) - wanted.astype(int)).max() <= 12


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_may_work_the_next_time_is_tried_again(
    provider: str, service: Service, tmp_path: Path
) -> None:
    service.tricks = {"edit 0": ["429", "500", "hang", "cut", "garbage"]}
    editor = editor_of(provider, service, tmp_path / "answers", timeout_s=1.5)
    (edited,) = editor.edit(edits_of(1))
    assert edited.image is not None
    times = [asked.at for asked in service.asked]
    assert times[1] - times[0] >= RETRY_AFTER_S
    # BFL's answers are fetched anew from the task that was paid for.
    charged = 2 if provider == "bfl" else 4
    assert service.charged["edit 0"] == charged
    assert edited.cost_usd == pytest.approx(charged * 0.05)
    kept = editor_of(provider, service, tmp_path / "answers").edit(edits_of(1))
    assert [item.cost_usd for item in kept] == [0]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_service_that_keeps_failing_leaves_the_edit_for_the_next_run(
    provider: str, service: Service, tmp_path: Path
) -> None:
    service.tricks = {"edit 1": ["500"] * 3}
    editor = editor_of(provider, service, tmp_path / "answers", max_tries=3)
    edited = {item.id: item for item in editor.edit(edits_of(3))}
    assert edited["edit 1"].image is None
    assert edited["edit 1"].left.startswith(f"{provider}, 3 tries: 500: ")
    assert KEY not in edited["edit 1"].left
    assert edited["edit 0"].image is not None
    asked = len(service.asked)
    (again,) = [item for item in editor.edit(edits_of(3)) if item.id == "edit 1"]
    assert again.image is not None
    assert len(service.asked) == asked + 1


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("trick", ["refused", "filtered"])
def test_a_refusal_is_kept_and_never_asked_again(
    provider: str, trick: str, service: Service, tmp_path: Path
) -> None:
    service.tricks = {"edit 0": [trick]}  # type: ignore[list-item]
    editor = editor_of(provider, service, tmp_path / "answers")
    (first,) = editor.edit(edits_of(1))
    (second,) = editor_of(provider, service, tmp_path / "answers").edit(edits_of(1))
    assert first.image is None
    assert first.refusal
    assert first.refusal == second.refusal
    assert len(service.asked) == 1
    assert first.cost_usd == pytest.approx(0.05 * service.charged["edit 0"], abs=1e-9) or (
        provider == "openai"
    )
    assert second.cost_usd == 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_wrong_key_stops_everything_in_one_line_without_the_key(
    provider: str,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = "sk-wrong-9876543210"
    monkeypatch.setenv(VARIABLES[provider], wrong)
    caplog.set_level(logging.DEBUG)
    editor = editor_of(provider, service, tmp_path / "answers", concurrency=2)
    with pytest.raises(InputError, match=rf"^{provider}: the key is not accepted") as caught:
        list(editor.edit(edits_of(40)))
    assert "\n" not in str(caught.value)
    assert VARIABLES[provider] in str(caught.value)
    assert service.asked == []
    assert 1 <= service.turned_away <= 2
    texts = [repr(editor), caplog.text, *capsys.readouterr()]
    error: BaseException | None = caught.value
    texts += traceback.format_exception(error)
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    texts += [path.read_text() for path in (tmp_path / "answers").rglob("*") if path.is_file()]
    assert any("***" in text for text in texts)
    assert not [text for text in texts if wrong in text]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_key_is_in_no_log_and_no_record_of_edits_that_work(
    provider: str, service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.tricks = {"edit 0": ["500"]}
    list(editor_of(provider, service, tmp_path / "answers").edit(edits_of(2)))
    assert KEY not in caplog.text
    for path in (tmp_path / "answers").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("trick", ["400", "402"])
def test_what_no_second_try_mends_stops_with_the_services_words(
    provider: str, trick: str, service: Service, tmp_path: Path
) -> None:
    service.tricks = {"edit 0": [trick]}  # type: ignore[list-item]
    said = "the prompt is too long" if trick == "400" else "no credit left.* top up"
    with pytest.raises(InputError, match=rf"^{provider}: .*{said}"):
        list(editor_of(provider, service, tmp_path / "answers").edit(edits_of(1)))
    assert len(service.asked) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_key_says_where_it_would_be_looked_for(
    provider: str, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLES[provider])
    pattern = rf"^{provider}: there is no key: .*'{provider}: KEY' into 'api_keys.yaml'.*"
    with pytest.raises(InputError, match=pattern + VARIABLES[provider]):
        editor_of(provider, service, tmp_path / "answers")
    (tmp_path / "api_keys.yaml").write_text(f"{provider}: {KEY}\n")
    (edited,) = editor_of(provider, service, tmp_path / "answers").edit(edits_of(1))
    assert edited.image is not None


def test_a_key_file_that_cannot_be_read_is_not_quoted(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "keys.yaml"
    monkeypatch.setenv("AUGURY_API_KEYS", str(elsewhere))
    with pytest.raises(InputError, match=r"AUGURY_API_KEYS names '.*keys.yaml', which is not"):
        editor_of("bfl", service, tmp_path / "answers")
    for text in (f"bfl: [{KEY}\n", f"- {KEY}\n", f"bfl: [{KEY}]\n", f"bfl: '{KEY} é'\n"):
        elsewhere.write_text(text)
        with pytest.raises(InputError, match=r"keys\.yaml") as caught:
            editor_of("bfl", service, tmp_path / "answers")
        assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_service_that_cannot_be_reached_costs_nothing(
    provider: str, service: Service, tmp_path: Path
) -> None:
    nowhere = Service(url="http://127.0.0.1:9")
    editor = editor_of(provider, nowhere, tmp_path / "answers", max_tries=2)
    (edited,) = editor.edit(edits_of(1))
    assert edited.left == f"{provider}, 2 tries: it cannot be reached"
    assert FolderAnswers(tmp_path / "answers").spent_usd() == 0
    for url in ("127.0.0.1:9", "http://127.0.0.1:port", "http://key@127.0.0.1", "http://"):
        with pytest.raises(ValidationError, match="base_url"):
            editor_of(provider, Service(url=url), tmp_path / "answers")


def test_a_pause_of_an_hour_is_left_for_the_next_run(service: Service, tmp_path: Path) -> None:
    service.tricks = {"edit 0": ["429"]}
    service.retry_after_s = 3600
    (edited,) = editor_of("stability", service, tmp_path / "answers").edit(edits_of(1))
    assert edited.left == "stability, 1 tries: 429: slow down"
    assert len(service.asked) == 1


def test_calls_run_at_once_and_no_more_than_asked_for(service: Service, tmp_path: Path) -> None:
    service.delay_s = 0.05
    editor = editor_of("stability", service, tmp_path / "answers", concurrency=4)
    assert len(list(editor.edit(edits_of(16)))) == 16
    assert 2 <= service.most_at_once <= 4


def test_requests_keep_the_rate(service: Service, tmp_path: Path) -> None:
    editor = editor_of("stability", service, tmp_path / "answers", requests_per_minute=1200.0)
    started = time.monotonic()
    list(editor.edit(edits_of(12)))
    assert max(asked.at for asked in service.asked) - started >= 11 * 60 / 1200


def test_a_pause_holds_for_all_and_ends_when_stopped() -> None:
    pace = Pace(None)
    pace.pause(0.1)
    started = time.monotonic()
    pace.wait(threading.Event())
    assert time.monotonic() - started >= 0.1
    pace.pause(60)
    stopped = threading.Event()
    stopped.set()
    pace.wait(stopped)
    assert time.monotonic() - started < 30


def test_openai_counts_tokens_and_follows_addresses(service: Service, tmp_path: Path) -> None:
    service.with_urls = True
    editor = editor_of("openai", service, tmp_path / "answers", cost_usd_per_image=None)
    (edited,) = editor.edit(edits_of(1))
    assert edited.image is not None
    assert edited.cost_usd == pytest.approx((1000 * 8 + 10 * 5 + 200 * 30) / 1e6)


def test_bfl_fetches_what_an_earlier_run_paid_for(service: Service, tmp_path: Path) -> None:
    service.tricks = {"edit 0": ["late"], "edit 1": ["lost"]}
    slow = editor_of("bfl", service, tmp_path / "answers", timeout_s=1.0, max_tries=1)
    left = {item.id: item.left for item in slow.edit(edits_of(2))}
    assert left == {
        "edit 0": "bfl, 1 tries: not ready within 1 s",
        "edit 1": "bfl, 1 tries: Task not found: no details",
    }
    for task in service.tasks.values():
        task["trick"] = None
    again = {
        item.id: item for item in editor_of("bfl", service, tmp_path / "answers").edit(edits_of(2))
    }
    assert all(item.image is not None for item in again.values())
    assert service.charged == {"edit 0": 1, "edit 1": 2}


def test_bfl_sends_its_key_to_no_strange_host(service: Service, tmp_path: Path) -> None:
    editor = editor_of("bfl", service, tmp_path / "answers")
    trusted = editor.service._trusted  # type: ignore[attr-defined]
    assert trusted("https://api.us1.bfl.ai/v1/get_result?id=1")
    assert trusted(f"{service.url}/v1/get_result?id=1")
    for url in ("http://api.bfl.ai/x", "https://evil-bfl.ai/x", "https://bfl.ai.evil.org/x", "x"):
        assert not trusted(url)


def test_gemini_refuses_masks_before_anything_is_asked(service: Service, tmp_path: Path) -> None:
    edits = edits_of(2)
    mask = np.ones((16, 16), np.bool_)
    edits.append(Edit(id="m", image=edits[0].image, prompt="m", seed=0, mask=mask))
    with pytest.raises(InputError, match="it takes no masks"):
        list(editor_of("gemini", service, tmp_path / "answers").edit(edits))
    assert service.asked == []


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "dall-e-9"), ("bfl", "x"), ("gemini", "x")]
)
def test_a_model_without_a_price_is_refused(
    provider: str, model: str, service: Service, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="give cost_usd_per_image"):
        editor_of(provider, service, tmp_path / "a", model=model, cost_usd_per_image=None)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_how_it_is_asked_names_no_result(provider: str) -> None:
    config = plugins.module("editors", provider).Config
    asked = {
        "concurrency": 2,
        "requests_per_minute": 5.0,
        "timeout_s": 1.0,
        "max_tries": 2,
        "backoff_s": 3.0,
        "max_cost_usd": 1.0,
        "cost_usd_per_image": 1.0,
        "base_url": "http://127.0.0.1:1",
    }
    plain = content_key("edit", 1, config())
    assert content_key("edit", 1, config(**asked)) == plain
    other = {"openai": {"quality": "low"}, "gemini": {"image_size": "2K"}}.get(
        provider, {"side": 64}
    )
    assert content_key("edit", 1, config(**other)) != plain


def test_retry_after_is_seconds_or_a_date() -> None:
    assert _faults.retry_after_s({"retry-after": "7"}) == 7
    assert _faults.retry_after_s({"retry-after": "soon"}) == 0
    assert _faults.retry_after_s({}) == 0
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert 55 < _faults.retry_after_s({"retry-after": date}) <= 60


@pytest.mark.parametrize("shape", [(1, 500, 3), (500, 1, 1), (64, 64, 3), (100, 37, 1)])
def test_any_shape_is_laid_and_cut_out_again(shape: tuple[int, int, int]) -> None:
    canvas = canvas_of(shape, 128, 32)
    assert max(canvas) / min(canvas) <= MAX_ASPECT * 1.2
    assert all(length % 32 == 0 for length in canvas)
    image = smooth(*shape)
    laid = Laid(shape=shape, canvas=canvas)
    assert laid.restored(laid.png(image)).shape == shape
    assert laid.mask(np.ones(shape[:2], np.bool_)).any()
