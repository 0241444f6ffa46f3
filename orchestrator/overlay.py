"""Lays one piece of a study on another: `smoke`, `--set`, arms and axes."""

import copy
from collections.abc import Mapping
from typing import Any

from orchestrator import parsing, yaml12
from orchestrator.validating import section
from tasks.errors import InputError


def overlaid(document: dict[str, Any], overrides: tuple[str, ...], smoke: bool) -> dict[str, Any]:
    """The study with its `smoke` section laid over it, if asked for, and then each `--set`."""
    document = copy.deepcopy(document)
    small = document.pop("smoke", None)
    if smoke:
        if small is None:
            raise InputError("smoke: this study has no smoke section to shrink it by")
        document = merge(document, section(small, "smoke"))
    for text in overrides:
        path, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not all(path.split(".")):
            raise InputError(f"--set {text!r}: write path=value, such as train.epochs=10")
        try:
            _override(document, path, yaml12.parse(value))
        except InputError as error:
            where = "" if str(error).startswith("--set") else f"--set {text!r}: "
            raise InputError(f"{where}{error}") from error
    return document


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base` key by key; a mapping of another name or source replaces the old."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(value, dict) and isinstance(old, str):
            old = {"name": old}
        if isinstance(value, dict) and isinstance(old, dict) and not _replaces(old, value):
            out[key] = merge(old, value)
        else:
            out[key] = value
    return out


def _replaces(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    sources = [key for key in parsing.SET_SOURCES if key in new]
    if "best_of" in old or "best_of" in new:
        return True
    return ("name" in new and old.get("name") != new["name"]) or any(
        key not in old and any(other in old for other in parsing.SET_SOURCES) for key in sources
    )


def _override(document: dict[str, Any], path: str, value: Any) -> None:
    axes = section(document.get("axes"), "axes")
    if path.startswith("axes."):
        document["axes"] = {**axes, path.removeprefix("axes."): value}
        return
    for axis in axes:
        if axis == path or axis.startswith(f"{path}.") or path.startswith(f"{axis}."):
            raise InputError(
                f"--set {path}: {axis!r} is an axis of this study; say --set 'axes.{axis}=[...]'"
            )
    set_path(document, path, value)


def set_path(document: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in place; mappings along it are copied, short forms expanded."""
    *parents, last = path.split(".")
    here = document
    for depth, part in enumerate(parents, 1):
        inner = here.get(part)
        if isinstance(inner, str):
            inner = {"name": inner}
        here[part] = dict(section(inner, ".".join(parents[:depth])))
        here = here[part]
    here[last] = value
