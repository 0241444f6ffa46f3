"""Shows a training as it goes, on standard error: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

from orchestrator.display import PLAIN_EVERY_S, bars, duration
from orchestrator.plan import Step
from orchestrator.single.planning import Training
from tasks.specs import Progress


def shown(training: Training, seeds_to_train: int) -> "Bar | Lines":
    """What fits where standard error goes.

    Args:
        seeds_to_train: those that no earlier command has finished.
    """
    return (Bar if sys.stderr.isatty() else Lines)(training, seeds_to_train)


class _Course:
    """How far all seeds together are."""

    def __init__(self, training: Training, seeds_to_train: int) -> None:
        self.steps, self.eval_every = training.cell.steps, training.cell.eval_every
        self.total = self.steps * seeds_to_train
        self._before, self._seed = 0, -1
        self._row: dict[str, float] = {}
        self._begun: tuple[float, int] | None = None

    def done(self, seed: int, progress: Progress) -> int:
        """Steps of all seeds so far."""
        if seed != self._seed:
            self._before += self.steps if self._seed >= 0 else 0
            self._seed, self._row = seed, {}
        done = self._before + progress.done
        # What an earlier command did of a training that goes on took no time now.
        self._begun = self._begun or (time.monotonic(), done)
        return done

    def seconds_left(self, done: int) -> float | None:
        """From the second validation on; None before."""
        assert self._begun is not None
        since, first = self._begun
        if done == first:
            return None
        return (time.monotonic() - since) / (done - first) * (self.total - done)

    def says(self, progress: Progress) -> str:
        """`epoch 3/10, loss 0.812, accuracy 0.851, validation 0.830`; scores as last measured."""
        self._row = row = progress.metrics or self._row
        epochs = f"{progress.done / self.eval_every:.3g}/{self.steps / self.eval_every:.3g}"
        if not row:
            return f"epoch {epochs}"
        return (
            f"epoch {epochs}, loss {row['train_loss']:.3f}, "
            f"accuracy {row['train_accuracy']:.3f}, validation {row['val_accuracy']:.3f}"
        )


class Lines:
    """A line every ten seconds, and one at the end of each seed."""

    def __init__(self, training: Training, seeds_to_train: int) -> None:
        self._course = _Course(training, seeds_to_train)
        self._last = time.monotonic()

    def reading(self, step: Step, progress: Progress) -> None:
        if self._is_due():
            self._say(f"{step.title}: {progress.done:,} of {progress.total:,} images")

    def training(self, seed: int, progress: Progress) -> None:
        done = self._course.done(seed, progress)
        if self._is_due() or progress.done == progress.total:
            left = duration(self._course.seconds_left(done))
            eta = f", ETA {left}" if done < self._course.total else ""
            self._say(f"seed {seed}: {self._course.says(progress)}{eta}")

    def close(self) -> None:
        """Nothing is left open."""

    def _is_due(self) -> bool:
        return time.monotonic() - self._last >= PLAIN_EVERY_S

    def _say(self, message: str) -> None:
        self._last = time.monotonic()
        print(message, file=sys.stderr, flush=True)


class Bar:
    """One bar for all seeds."""

    def __init__(self, training: Training, seeds_to_train: int) -> None:
        self._course = _Course(training, seeds_to_train)
        self._bars = bars()
        self._task: Any = self._bars.add_task("reading images", total=None, note="")
        self._bars.start()

    def reading(self, step: Step, progress: Progress) -> None:
        note = f"{progress.done:,}/{progress.total:,}"
        self._show("reading images", progress.done, progress.total, note)

    def training(self, seed: int, progress: Progress) -> None:
        done = self._course.done(seed, progress)
        left = duration(self._course.seconds_left(done))
        note = f"{self._course.says(progress)}, ETA {left}"
        self._show(f"seed {seed}", done, self._course.total, note)

    def close(self) -> None:
        self._bars.stop()

    def _show(self, what: str, done: int, total: int, note: str) -> None:
        self._bars.update(self._task, description=what, completed=done, total=total, note=note)
