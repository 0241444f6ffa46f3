"""Shows steps as they go, on standard error: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from orchestrator.display import PLAIN_EVERY_S, bars, duration
from orchestrator.plan import Step
from tasks.specs import Progress

UNITS = {"fit": "steps", "extractor": "steps", "cas": "steps", "fidelity": "parts"}
"""What the progress of a kind of step counts, where that is not images."""
SHOWN = {"fit": None, "extractor": ("train_loss",), "cas": ("train_loss",)}
"""Which figures of a kind are shown: None is all; of other kinds none."""


@contextmanager
def shown() -> "Iterator[Bar | Lines]":
    """What fits where standard error goes, open as long as the block lasts."""
    watcher = (Bar if sys.stderr.isatty() else Lines)()
    try:
        yield watcher
    finally:
        watcher.close()


class Pace:
    """How far one piece of work is, and how fast it goes."""

    def __init__(self) -> None:
        self._what = ""
        self._begun = (0.0, 0)
        self._losses: dict[str, float] = {}

    def is_new(self, what: str, done: int) -> bool:
        """Other work than before begins; what was done of it earlier took no time now."""
        if what == self._what:
            return False
        self._what, self._begun, self._losses = what, (time.monotonic(), done), {}
        return True

    def says(self, progress: Progress, unit: str) -> str:
        """`210/700 steps, ETA 0:12, noise_mse 0.113`; losses as last measured."""
        self._losses |= progress.metrics
        parts = [f"{progress.done:,}/{progress.total:,} {unit}"]
        since, first = self._begun
        rate = (progress.done - first) / max(1e-9, time.monotonic() - since)
        if unit == "images" and progress.done > first:
            parts.append(f"{rate:,.{1 if rate < 100 else 0}f} images/s")
        if progress.done < progress.total:
            left = (progress.total - progress.done) / rate if progress.done > first else None
            parts.append(f"ETA {duration(left)}")
        # Last, as a narrow terminal cuts the end.
        parts += [f"{name} {value:.4g}" for name, value in self._losses.items()]
        return ", ".join(parts)


def _of(step: Step, progress: Progress) -> tuple[str, Progress, str]:
    """What a step is called, with those of its figures that are shown, and what it counts."""
    wanted = SHOWN.get(step.kind, ())
    metrics = progress.metrics.items()
    shown = {name: value for name, value in metrics if wanted is None or name in wanted}
    return step.title, replace(progress, metrics=shown), UNITS.get(step.kind, "images")


class Lines:
    """A line every ten seconds."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._last = time.monotonic()

    def progressed(self, step: Step, progress: Progress) -> None:
        self.show(*_of(step, progress))

    def show(self, what: str, progress: Progress, unit: str) -> None:
        """Say how far `what` is."""
        self._pace.is_new(what, progress.done)
        said = self._pace.says(progress, unit)
        if time.monotonic() - self._last >= PLAIN_EVERY_S:
            self._last = time.monotonic()
            print(f"{what}: {said}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is left open."""


class Bar:
    """One bar, for one piece of work after the other."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._bars = bars()
        self._task: Any = self._bars.add_task("", total=None, note="")
        self._bars.start()

    def progressed(self, step: Step, progress: Progress) -> None:
        self.show(*_of(step, progress))

    def show(self, what: str, progress: Progress, unit: str) -> None:
        """Say how far `what` is."""
        if self._pace.is_new(what, progress.done):
            self._bars.reset(self._task)
        self._bars.update(
            self._task,
            description=what,
            completed=progress.done,
            total=progress.total,
            note=self._pace.says(progress, unit),
        )

    def close(self) -> None:
        self._bars.stop()
