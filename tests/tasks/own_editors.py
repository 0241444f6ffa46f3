"""Lets the editors of tests be named as those of Augury."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import tasks.editors
from tasks import plugins
from tasks.editing import Edit, Edited
from tasks.edits import keeping

FOLDER = Path(__file__).parent / "editors"


@contextmanager
def own_editors() -> Iterator[None]:
    """As long as the block lasts; nothing stays loaded."""
    tasks.editors.__path__.append(str(FOLDER))
    _forget()
    try:
        yield
    finally:
        tasks.editors.__path__.remove(str(FOLDER))
        _forget()


def _forget() -> None:
    for cached in (plugins.names, plugins.module, plugins.adapter):
        cached.cache_clear()
    keeping.forget()


@dataclass(kw_only=True)
class Scripted:
    """An `Editor` that answers as it is told."""

    answer: Callable[[Sequence[Edit]], Iterator[Edited]]
    batch_size: int = 5
    stamp: dict[str, str] = field(default_factory=dict)

    def edit(self, edits: Sequence[Edit]) -> Iterator[Edited]:
        return self.answer(edits)


def script(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[Sequence[Edit]], Iterator[Edited]]
) -> None:
    """Let `negative` answer so from now on."""
    module = plugins.module("editors", "negative")
    monkeypatch.setattr(module, "build", lambda config, given: Scripted(answer=answer))
