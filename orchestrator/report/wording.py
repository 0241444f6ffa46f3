"""How a report spells its numbers: percentages, points, intervals, p-values, counts."""

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


def minus(text: str) -> str:
    """Use the true minus sign; for numbers only, as it takes every hyphen."""
    return text.replace("-", "\N{MINUS SIGN}")


def _decimals(value: float, digits: int) -> str:
    # Adding zero turns the -0.0 that rounding can leave into 0.0.
    return f"{round(value, digits) + 0.0:.{digits}f}"
