"""How long steps take, from those that have been done: for plans and for the time that is left."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.ledger import Ledger
from orchestrator.plan import Step
from tasks.specs import Key, Progress

NOTE = "rates"

BRIEF = ("pack", "duplicates", "gather", "features", "fidelity", "audit", "gate", "evaluate")
"""Kinds that hardly count beside fits and trials: unmeasured ones are taken as nothing."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one unit of a kind of work took on average: an image, or an optimizer step."""

    seconds: float
    size: int

    @property
    def per_unit(self) -> float:
        return self.seconds / max(1, self.size)


def load_rates(ledger: Ledger) -> dict[str, Rate]:
    """Rates by step title, as earlier runs on this store measured them."""
    return {
        title: Rate(seconds=value["seconds"], size=value["size"])
        for title, value in (ledger.note(NOTE) or {}).items()
    }


def save_rates(ledger: Ledger, rates: Mapping[str, Rate]) -> None:
    """Remember rates for later plans."""
    ledger.put_note(NOTE, {t: {"seconds": r.seconds, "size": r.size} for t, r in rates.items()})


def expected_seconds(steps: Iterable[Step], rates: Mapping[str, Rate]) -> float | None:
    """Worker seconds that `steps` will take; None where a long one of them was never measured."""
    total = 0.0
    for step in steps:
        rate = rates.get(step.title)
        if rate is not None:
            total += rate.per_unit * step.size
        elif step.kind not in BRIEF:
            return None
    return total


@dataclass
class Clock:
    """Watches running steps and says how much time is left."""

    slots: int
    rates: dict[str, Rate]
    waiting: dict[Key, Step]
    running: dict[Key, tuple[Step, float, float]] = field(default_factory=dict)
    """Step, when it started, and the share of it that is done."""

    def started(self, step: Step) -> None:
        self.waiting.pop(step.key, None)
        self.running[step.key] = (step, time.monotonic(), 0.0)

    def progressed(self, step: Step, progress: Progress) -> None:
        found = self.running.get(step.key)
        if found is not None and progress.total:
            self.running[step.key] = (step, found[1], progress.done / progress.total)

    def finished(self, step: Step) -> None:
        self.waiting.pop(step.key, None)
        found = self.running.pop(step.key, None)
        if found is None:
            return
        seconds = time.monotonic() - found[1]
        old = self.rates.get(step.title)
        # Older measurements count half as much each time, so that a new machine is soon believed.
        self.rates[step.title] = Rate(
            seconds=seconds + (old.seconds / 2 if old else 0.0),
            size=step.size + (old.size // 2 if old else 0),
        )

    def lost(self, step: Step) -> None:
        if self.running.pop(step.key, None) is not None:
            self.waiting[step.key] = step

    def failed(self, step: Step) -> None:
        self.waiting.pop(step.key, None)
        self.running.pop(step.key, None)

    def seconds_left(self) -> float | None:
        """None while something long is still to come that was never measured."""
        longest = total = 0.0
        rates = dict(self.rates)
        for step, since, share in self.running.values():
            spent = time.monotonic() - since
            if share > 0.05:
                left = spent * (1 - share) / share
                rates.setdefault(step.title, Rate(seconds=spent / share, size=step.size))
            else:
                whole = expected_seconds([step], rates)
                if whole is None:
                    return None
                left = max(0.0, whole - spent)
            longest, total = max(longest, left), total + left
        ahead = expected_seconds(self.waiting.values(), rates)
        return None if ahead is None else max(longest, (total + ahead) / self.slots)
