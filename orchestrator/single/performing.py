"""Performs steps in this process, in a store of this machine; says what users can mend."""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.ledger import Ledger
from orchestrator.plan import Step
from orchestrator.provenance import source_commit
from orchestrator.single.places import Place
from orchestrator.steps import Setting, StepFailed, name_store, perform
from tasks.caches import cache_dir
from tasks.devices import is_out_of_memory
from tasks.errors import InputError
from tasks.specs import Key, Progress

MENDABLE = (
    "TrainingDiverged: ",
    "FitDiverged: ",
    "ValueError: the generator makes nothing but flat images",
)
"""How failures begin that other settings mend."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class Watcher(Protocol):
    """Is told how far a step is."""

    def progressed(self, step: Step, progress: Progress) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where steps are done and kept."""

    ledger: Ledger
    setting: Setting
    device: str

    def is_done(self, step: Step) -> bool:
        """An earlier command has finished it."""
        return self.ledger.record(step.kind, step.key) is not None


def workplace(place: Place) -> Workplace:
    """The store of single steps, in the cache of this machine.

    Threads and device change the last digits and are no part of a key, so each has its own: what
    is found there is what doing it again would give.

    Raises InputError where nothing can be written.
    """
    folder = cache_dir() / "single" / f"{place.device.partition(':')[0]}-{place.threads}"
    try:
        ledger = Ledger(str(folder))
        ledger.check_writable()
    except InputError as error:
        raise InputError(
            f"the cache {folder} cannot be written; set AUGURY_CACHE to a folder that can"
        ) from error
    return in_store(ledger, place, keep_weights="selected")


def in_store(ledger: Ledger, place: Place, keep_weights: str = "all") -> Workplace:
    """Work in a store that is there."""
    setting = Setting(
        store=ledger.uri,
        store_id=name_store(ledger),
        commit=source_commit(),
        keep_weights=keep_weights,
        threads=place.threads,
    )
    return Workplace(ledger=ledger, setting=setting, device=place.device)


def outstanding(ends: Iterable[Key], steps: Mapping[Key, Step], at: Workplace) -> list[Step]:
    """What is still to be done for these steps, each after what it needs."""
    wanted: set[Key] = set()
    stack = list(ends)
    while stack:
        key = stack.pop()
        if key not in wanted and not at.is_done(steps[key]):
            wanted.add(key)
            stack.extend(steps[key].needs)
    return [step for key, step in steps.items() if key in wanted]


def carry_out(steps: Iterable[Step], at: Workplace, watcher: Watcher) -> None:
    """Do steps one after the other.

    Raises InputError for what the user can mend: images that cannot be used, a rate too high, a
    full disk.
    """
    for step in steps:
        try:
            for progress in perform(step, at.setting, at.device):
                watcher.progressed(step, progress)
        except InputError:
            raise
        except Exception as error:
            mended = for_users(error, step.title, at)
            if mended is None:
                raise
            raise mended from error


def for_users(error: Exception, what: str, at: Workplace) -> InputError | None:
    """What the user can do about a step that failed; None where it is not theirs to mend.

    Args:
        what: which work it was, for the message.
    """
    text = str(error)
    if isinstance(error, StepFailed):
        text = error.message
        if error.by_user:
            return InputError(_flagged(text))
        if text.startswith(MENDABLE):
            return InputError(text.partition(": ")[2])
    # Python, safetensors and torch, of which the last does not say why it cannot write a file.
    code = re.search(r"\[Errno (\d+)\]|\(os error (\d+)\)", text)
    number = int(code[1] or code[2]) if code else None
    if number in FULL or "inline_container.cc" in text:
        why = os.strerror(number) if number else "the disk may be full"
        place, instead = _place(at.ledger)
        return InputError(
            f"{what}: {place} takes no more ({why}): make room there{instead}, and run this again"
        )
    if isinstance(error, OSError):
        return InputError(f"{what}: {error}; run this again to go on")
    if is_out_of_memory(error):
        return InputError(f"{what}: {at.device} has too little memory: say a smaller batch_size")
    return None


def _flagged(text: str) -> str:
    """A complaint about settings, with what to type here."""
    if text.startswith("extractor: "):
        text = re.sub(r"say (\w+): PATH", r"say --extractor '{name: ..., \1: PATH}'", f"--{text}")
    return text.replace("say skip_bad: true", "say --skip-bad")


def _place(ledger: Ledger) -> tuple[str, str]:
    """What to call a store that is full, and what would do instead of making room."""
    if ledger.local is not None and ledger.local.is_relative_to(cache_dir()):
        return f"the cache {ledger.local}", ", or set AUGURY_CACHE to another folder"
    return f"the store {ledger.uri}", ""
