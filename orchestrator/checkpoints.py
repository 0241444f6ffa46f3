"""Keeps the state of a long step, so that an interrupted one goes on where it was."""

import os
import time
from collections.abc import Callable
from typing import Any

from orchestrator.ledger import Attempt, Ledger

CHECKPOINT_EVERY_S = 60.0


class FileCheckpoints:
    """Keeps the state of a long step in its scratch folder, and in a remote store."""

    NAME = "checkpoint.pt"

    def __init__(self, ledger: Ledger, attempt: Attempt, every_s: float) -> None:
        self._ledger, self._attempt, self._every_s = ledger, attempt, every_s
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last state, if there is one that can be read; nothing in it is executed."""
        import torch

        path = self._attempt.scratch / self.NAME
        self._ledger.restore_scratch(self._attempt, self.NAME)
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:
            # Damaged bytes fail in every way there is, and such a state is worth no more than none.
            path.unlink(missing_ok=True)
            return None
        return state

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save aside and rename, at most once in `every_s` seconds."""
        if time.monotonic() - self._last < self._every_s:
            return
        import torch

        self._attempt.scratch.mkdir(parents=True, exist_ok=True)
        aside = self._attempt.scratch / f".{self.NAME}.{os.getpid()}"
        try:
            torch.save(state(), aside)
            aside.replace(self._attempt.scratch / self.NAME)
        finally:
            aside.unlink(missing_ok=True)
        self._ledger.keep_scratch(self._attempt, self.NAME)
        self._last = time.monotonic()
