"""Finds what can be named in a study: one file of `tasks/<kind>/` is one name."""

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter

from tasks.errors import InputError, nearest
from tasks.specs import Plugin


@functools.cache
def names(kind: str) -> tuple[str, ...]:
    """List the names of a kind by listing its package; nothing is imported."""
    package = importlib.import_module(f"tasks.{kind}")
    return tuple(
        sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))
    )


@functools.cache
def module(kind: str, name: str) -> ModuleType:
    """Import the file of `name`, which loads neither torch nor data.

    Raises InputError, with the nearest name, where there is none.
    """
    if name not in names(kind):
        raise InputError(f"unknown {kind.removesuffix('s')} {name!r}: {nearest(name, names(kind))}")
    return importlib.import_module(f"tasks.{kind}.{name}")


@functools.cache
def adapter(kind: str, name: str, part: str = "Config") -> TypeAdapter[Any]:
    """The validator of a file's `Config` (or of a generator's `Sampling`)."""
    return TypeAdapter(getattr(module(kind, name), part))


def plugin(kind: str, name: str, config: Any = None) -> Plugin:
    """Pair a file with its settings, or with its defaults where none are given."""
    found = module(kind, name)
    return Plugin(
        name=name, version=found.VERSION, config=found.Config() if config is None else config
    )


def build(kind: str, chosen: Plugin, *arguments: Any, **keywords: Any) -> Any:
    """Call the `build` of a file with its settings."""
    return module(kind, chosen.name).build(chosen.config, *arguments, **keywords)
