"""Lists what a study can name, one line each."""

import re
from collections.abc import Callable, Iterator, Mapping

from orchestrator import yaml12
from orchestrator.study import bundled
from tasks import plugins
from tasks.classifiers import _timm_catalog
from tasks.errors import InputError
from tasks.measures.catalogue import CATALOGUE


def listing(what: str) -> str:
    """Name everything of a kind, with what it is in one sentence.

    Args:
        what: `datasets`, `generators`, `editors`, `filters`, `augmentations`, `classifiers`,
            `companions`, `metrics`, `extractors`, `measures` or `studies`.

    Raises InputError for anything else.
    """
    if what not in LISTS:
        raise InputError(f"list {what}: unknown; choose from: {', '.join(LISTS)}")
    rows = list(LISTS[what]())
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {says}" for name, says in rows)


def summary(kind: str, name: str) -> str:
    """The first sentence of a plug-in file's docstring."""
    return first_sentence(plugins.module(kind, name).__doc__ or "")


def first_sentence(text: str) -> str:
    """Up to the full stop that ends the first sentence; an initial, as in `R. May`, ends none."""
    line = " ".join(text.split())
    return re.split(r"(?<!\b[A-Z])\.(?=\s|$)", line, maxsplit=1)[0]


def _plugins(kind: str) -> Iterator[tuple[str, str]]:
    for name in plugins.names(kind):
        yield name, summary(kind, name)


def _classifiers() -> Iterator[tuple[str, str]]:
    yield from (row for row in _plugins("classifiers") if row[0] != "timm")
    number = len(_timm_catalog.names())
    yield "any timm name", f"{number} are known, such as resnet50 or resnet50.a1_in1k"
    for alias, architecture in sorted(_timm_catalog.ALIASES.items()):
        yield alias, f"short for {architecture}"


def _studies() -> Iterator[tuple[str, str]]:
    for name, path in bundled().items():
        yield name, " ".join(yaml12.parse(path.read_text(encoding="utf-8"))["question"].split())


def _measures() -> Iterator[tuple[str, str]]:
    for name, measure in CATALOGUE.items():
        yield name, measure.says.removesuffix(".")


LISTS: Mapping[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "datasets": lambda: _plugins("datasets"),
    "generators": lambda: _plugins("generators"),
    "editors": lambda: _plugins("editors"),
    "filters": lambda: _plugins("filters"),
    "augmentations": lambda: _plugins("augmentations"),
    "classifiers": _classifiers,
    "companions": lambda: _plugins("companions"),
    "metrics": lambda: _plugins("metrics"),
    "extractors": lambda: _plugins("extractors"),
    "measures": _measures,
    "studies": _studies,
}
