"""Shows a run as it goes: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TextIO

from orchestrator.board import Watcher
from orchestrator.estimate import Clock
from orchestrator.plan import Step
from tasks.specs import Key, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PLAIN_EVERY_S = 10.0


def duration(seconds: float | None) -> str:
    """`1:05`, `2:03:04`, or `unknown`."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def name_of(step: Step) -> str:
    """What a step is called among others that run."""
    return f"{step.title} ({step.note or step.key[:8]})"


class Display(Watcher, Protocol):
    """A watcher that can also print a line, and is closed at the end."""

    def planned(self, steps: Mapping[Key, Step]) -> None:
        """More steps have come to light (a winner was found)."""
        ...

    def note(self, message: str) -> None:
        """Print one line among the others."""
        ...

    def close(self) -> None:
        """Leave the screen as it should stay."""
        ...


class Silent:
    """Shows nothing but failures and warnings, on standard error."""

    def planned(self, steps: Mapping[Key, Step]) -> None:
        """Not shown."""

    def started(self, step: Step) -> None:
        """Not shown."""

    def progressed(self, step: Step, progress: Progress) -> None:
        """Not shown."""

    def finished(self, step: Step) -> None:
        """Not shown."""

    def failed(self, step: Step, message: str) -> None:
        self.note(f"{name_of(step)} failed: {message}")

    def lost(self, step: Step, message: str) -> None:
        """Not shown: it is run again."""

    def note(self, message: str) -> None:
        print(message, file=sys.stderr)

    def close(self) -> None:
        """Nothing is open."""


class Both:
    """Tells several watchers, one after the other."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def started(self, step: Step) -> None:
        for each in self._watchers:
            each.started(step)

    def progressed(self, step: Step, progress: Progress) -> None:
        for each in self._watchers:
            each.progressed(step, progress)

    def finished(self, step: Step) -> None:
        for each in self._watchers:
            each.finished(step)

    def failed(self, step: Step, message: str) -> None:
        for each in self._watchers:
            each.failed(step, message)

    def lost(self, step: Step, message: str) -> None:
        for each in self._watchers:
            each.lost(step, message)


class _Tally:
    """Counts what both displays show."""

    def __init__(self, steps: Mapping[Key, Step], clock: Clock) -> None:
        self.clock = clock
        self.num_steps = len(steps)
        self.num_trials = sum(step.kind == "trial" for step in steps.values())
        self.steps_done = self.trials_done = self.failed = 0

    def extend(self, steps: Mapping[Key, Step]) -> None:
        self.num_steps += len(steps)
        self.num_trials += sum(step.kind == "trial" for step in steps.values())
        self.clock.waiting.update(steps)

    def finish(self, step: Step) -> None:
        self.clock.finished(step)
        self.steps_done += 1
        self.trials_done += step.kind == "trial"

    def summary(self) -> str:
        parts = [f"{self.steps_done}/{self.num_steps} steps"]
        if self.num_trials:
            parts.append(f"{self.trials_done}/{self.num_trials} trials")
        if self.failed:
            parts.append(f"{self.failed} failed")
        parts.append(f"ETA {duration(self.clock.seconds_left())}")
        return ", ".join(parts)


class PlainDisplay:
    """One line for each step that ends, and a summary every ten seconds."""

    def __init__(self, steps: Mapping[Key, Step], clock: Clock, out: TextIO | None = None) -> None:
        self._tally = _Tally(steps, clock)
        self._out = out or sys.stderr
        self._last = time.monotonic()

    def planned(self, steps: Mapping[Key, Step]) -> None:
        self._tally.extend(steps)

    def started(self, step: Step) -> None:
        self._tally.clock.started(step)
        if step.kind in ("fit", "trial"):
            self._say(f"{name_of(step)} started")

    def progressed(self, step: Step, progress: Progress) -> None:
        self._tally.clock.progressed(step, progress)
        if time.monotonic() - self._last >= PLAIN_EVERY_S:
            self._say(f"{name_of(step)} {progress.done}/{progress.total}")

    def finished(self, step: Step) -> None:
        self._tally.finish(step)
        self._say(f"{name_of(step)} done")

    def failed(self, step: Step, message: str) -> None:
        self._tally.failed += 1
        self._tally.clock.failed(step)
        self._say(f"{name_of(step)} FAILED: {message}")

    def lost(self, step: Step, message: str) -> None:
        self._tally.clock.lost(step)
        self._say(f"{name_of(step)} was lost ({message})")

    def note(self, message: str) -> None:
        print(message, file=self._out, flush=True)

    def close(self) -> None:
        """Nothing is left open."""

    def _say(self, message: str) -> None:
        self._last = time.monotonic()
        print(f"[{self._tally.summary()}] {message}", file=self._out, flush=True)


def bars() -> "Bars":
    """Bars on standard error that leave no trace; each has a `note` behind it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class BarDisplay:
    """A bar for the whole, and one for each step that runs."""

    def __init__(self, steps: Mapping[Key, Step], clock: Clock) -> None:
        self._tally = _Tally(steps, clock)
        self._bars = bars()
        self._whole = self._bars.add_task("all", total=len(steps), note="")
        self._rows: dict[Key, TaskID] = {}
        self._bars.start()
        self._refresh()

    def planned(self, steps: Mapping[Key, Step]) -> None:
        self._tally.extend(steps)
        self._bars.update(self._whole, total=self._tally.num_steps)

    def started(self, step: Step) -> None:
        self._tally.clock.started(step)
        if step.key not in self._rows:
            self._rows[step.key] = self._bars.add_task(name_of(step), total=1.0, note="")
        self._refresh()

    def progressed(self, step: Step, progress: Progress) -> None:
        self._tally.clock.progressed(step, progress)
        shown = ("val_accuracy", "loss")
        values = [
            f"{name} {progress.metrics[name]:.3f}" for name in shown if name in progress.metrics
        ]
        note = f"{progress.done}/{progress.total} {' '.join(values)}"
        if step.key in self._rows:
            share = progress.done / max(1, progress.total)
            self._bars.update(self._rows[step.key], completed=share, note=note)
        self._refresh()

    def finished(self, step: Step) -> None:
        self._tally.finish(step)
        self._remove(step)

    def failed(self, step: Step, message: str) -> None:
        self._tally.failed += 1
        self._tally.clock.failed(step)
        self.note(f"{name_of(step)} failed: {message}")
        self._remove(step)

    def lost(self, step: Step, message: str) -> None:
        self._tally.clock.lost(step)
        self.note(f"{name_of(step)} was lost ({message})")
        self._remove(step)

    def note(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False)

    def close(self) -> None:
        self._bars.stop()

    def _remove(self, step: Step) -> None:
        if step.key in self._rows:
            self._bars.remove_task(self._rows.pop(step.key))
        self._refresh()

    def _refresh(self) -> None:
        self._bars.update(self._whole, completed=self._tally.steps_done, note=self._tally.summary())
