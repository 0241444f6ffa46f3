"""The steps that planning has found so far, each once, by key."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.planned import VERSIONS, Step
from tasks.specs import DatasetInfo, Key, Plugin, Spec, content_key


@dataclass
class Steps:
    """The steps found so far."""

    infos: Mapping[Plugin, DatasetInfo]
    found: dict[Key, Step] = field(default_factory=dict)

    def add(
        self,
        spec: Spec,
        needs: tuple[Key, ...],
        title: str,
        size: int,
        key: Key | None = None,
        note: str = "",
    ) -> Key:
        """Keep a step unless it is known already.

        Args:
            key: of `spec`, where it was computed before.
        """
        key = key or content_key(spec.KIND, VERSIONS[spec.KIND], spec)
        if key not in self.found:
            self.found[key] = Step(
                kind=spec.KIND,
                key=key,
                spec=spec,
                needs=needs,
                title=title,
                note=note,
                size=size,
            )
        return key


@functools.lru_cache(maxsize=65536)
def key_of(spec: Any) -> Key:
    """A key, computed once for equal specs (thousands of cells share their larger parts)."""
    return content_key(spec.KIND, VERSIONS[spec.KIND], spec)


def part_key(part: Any) -> Key:
    """A hash that stands for a large part of a cell."""
    try:
        return _part_key(part)
    except TypeError:  # some settings hold dictionaries, which cannot be looked up
        return _part_key.__wrapped__(part)


@functools.lru_cache(maxsize=65536)
def _part_key(part: Any) -> Key:
    return content_key(type(part).__name__, 1, part)
