"""How a report spells its numbers: percentages, points, intervals, p-values, counts."""

import math
from collections.abc import Sequence

NONE = "–"
"""Stands where there is no number."""


def percent(fraction: float | None) -> str:
    """A score: `0.9134` is `91.34`."""
    return NONE if fraction is None else _decimals(100 * fraction, 2)


def spread(mean: float | None, std: float | None) -> str:
    """A mean with its standard deviation: `91.34 ± 0.52`; without it, where it is not known."""
    return percent(mean) if std is None else f"{percent(mean)} ± {percent(std)}"


def points_spread(mean: float, std: float | None) -> str:
    """A mean difference with its standard deviation: `+1.20 ± 0.31`."""
    return points(mean) if std is None else f"{points(mean)} ± {percent(std)}"


def points(fraction: float | None) -> str:
    """A difference of scores, always signed: `+1.20`."""
    if fraction is None:
        return NONE
    text = _decimals(100 * fraction, 2)
    return text if text.startswith("-") else f"+{text}"


def interval(low: float | None, high: float | None) -> str:
    """The ends of an interval of a difference: `-0.40 to +2.80`."""
    return NONE if low is None or high is None else f"{points(low)} to {points(high)}"


def p_value(p: float | None) -> str:
    """Three decimals, and `<0.001` below them."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else _decimals(p, 3)


def out_of(n: int, expected: int) -> str:
    """How many trials a number rests on: `3`, or `2 of 3` where some are not there."""
    return str(n) if n == expected else f"{n} of {expected}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `1,797 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def millions(number: int | None) -> str:
    """A count of parameters in millions: `11.17`, and `0.0234` where that is little."""
    if number is None:
        return NONE
    value = number / 1e6
    return f"{value:,.{2 if value >= 1 else 4}f}"


def hours(value: float) -> str:
    """Hours, or minutes and seconds where it is less than one."""
    if value >= 1:
        return f"{value:,.1f} h"
    seconds = value * 3600
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def share(count: int, total: int) -> str:
    """A part of a whole in percent: `12.5`."""
    return NONE if not total else _decimals(100 * count / total, 1)


def memory(num_bytes: int) -> str:
    """Bytes of memory: `812 MiB`, `3.1 GiB`."""
    if num_bytes <= 0:
        return NONE
    mebibytes = num_bytes / 2**20
    return f"{mebibytes / 1024:,.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:,.0f} MiB"


def significant(value: float, like: float | None = None) -> str:
    """Three digits that count, and one decimal at least: `250.1`, `3.41`, `0.0512`.

    Args:
        like: the number whose decimals are taken, for a spread beside its mean.
    """
    scale = abs(value if like is None else like)
    decimals = 2 if scale == 0 else min(6, max(1, 2 - math.floor(math.log10(scale))))
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """`a, b and c`; `a, b and 9 more` where they are many."""
    if len(names) <= 1:
        return "".join(names)
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def minus(text: str) -> str:
    """Use the true minus sign; for numbers only, as it takes every hyphen."""
    return text.replace("-", "\N{MINUS SIGN}")


def _decimals(value: float, digits: int) -> str:
    # Adding zero turns the -0.0 that rounding can leave into 0.0.
    return f"{round(value, digits) + 0.0:.{digits}f}"
