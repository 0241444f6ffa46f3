"""Names local weights by what they contain, so that keys do not hang on where they lie."""

import functools
from dataclasses import replace

from orchestrator.inputs import FileCache
from tasks import plugins
from tasks.errors import InputError
from tasks.specs import Plugin


def by_content(kind: str, chosen: Plugin, path: str) -> Plugin:
    """The same, with local files in its settings named by content.

    Args:
        kind: of plug-in, whose file may hold `identify(config, facts)`.
        path: where the study says it, for the message.

    Raises InputError for files that cannot be used.
    """
    try:
        return _by_content(kind, chosen)
    except InputError as error:
        said = str(error)
        raise InputError(said if said.startswith(f"{path}.") else f"{path}: {said}") from error


@functools.cache
def _by_content(kind: str, chosen: Plugin) -> Plugin:
    identify = getattr(plugins.module(kind, chosen.name), "identify", None)
    if identify is None:
        return chosen
    with FileCache() as facts:
        return replace(chosen, config=identify(chosen.config, facts))
