"""The one exception that is the user's to mend."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that says what is wrong, where, and what would do; commands print it
    alone and exit with code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def nearest(given: str, choices: Iterable[str]) -> str:
    """Say which of `choices` was probably meant: `"did you mean 'x'?"`, else the first few."""
    known = sorted(choices)
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return f"choose from: {shown}" if known else "there are none to choose from"
