"""Lets the editors of tests be named as those of Augury."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tasks.editors
from tasks import plugins
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
