"""How many images go through at once: found by trial, and remembered."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tasks.devices import is_out_of_memory
from tasks.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches:
    """Works through items in parts, in smaller ones for good once memory did not do."""

    def __init__(self, size: int) -> None:
        """Start with parts of `size`."""
        self.size = size
        """Of the largest part that has not failed."""

    def run(
        self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Iterator[Result]:
        """Yield what `work` makes of each item; it must draw the same noise when asked again.

        Raises InputError where memory does not do for one.
        """
        start = 0
        while start < len(items):
            part = items[start : start + self.size]
            results = _tried(part, work)
            if results is not None:
                yield from results
                start += len(part)
                continue
            if len(part) == 1:
                raise InputError(
                    "out of memory with one image: lower size, use a smaller checkpoint or dtype: "
                    "bfloat16, or a larger GPU"
                )
            self.size = len(part) // 2
            # What failed is freed here, once its traceback is gone.
            _free()


def _tried(
    part: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]
) -> Sequence[Result] | None:
    """None where memory did not do."""
    try:
        return work(part)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
