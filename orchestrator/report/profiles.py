"""How training images are spread over the classes, in one line a cell."""

from collections.abc import Sequence

from orchestrator.report.results import CellResult, StudyResult
from tasks.specs import Counts

NEARLY_UNIFORM = 0.9
"""Smallest class by largest from which classes count as equally large."""


def is_uniform(counts: Counts) -> bool:
    """Whether all classes have about as many images: one apart, or within a tenth."""
    if not counts:
        return True
    low, high = min(counts), max(counts)
    return high - low <= 1 or low >= NEARLY_UNIFORM * high


def profile_lines(result: StudyResult) -> tuple[str, ...]:
    """A line for each cell with classes of unequal size, such as `real: 402 down to 4 (...)`."""
    return tuple(
        f"{cell.label}: {_cell_profile(cell)}"
        for cell in result.cells
        if not (is_uniform(cell.real_per_class) and is_uniform(cell.synthetic_per_class))
    )


def _cell_profile(cell: CellResult) -> str:
    parts = {"real": cell.real_per_class, "synthetic": cell.synthetic_per_class}
    used = {name: counts for name, counts in parts.items() if any(counts)}
    texts = {name: spelled(counts) for name, counts in used.items()}
    if list(texts) == ["real"]:
        return texts["real"]
    return "; ".join(f"{name} {text}" for name, text in texts.items())


def spelled(counts: Counts) -> str:
    """The profile in words: `2,014 down to 20 (long-tailed, factor 0.01), 4,994 in all`."""
    low, high = min(counts), max(counts)
    total = f"{sum(counts):,} in all"
    if is_uniform(counts):
        span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        return f"{span} a class, {total}"
    shape = shape_of(counts)
    if not shape:
        return f"{low:,} to {high:,} (uneven), {total}"
    return f"{high:,} down to {low:,} ({shape}, factor {_factor(low, high):g}), {total}"


def shape_of(counts: Counts) -> str:
    """`long-tailed` or `step`, as studies ask for them in label order; else nothing."""
    high, low = counts[0], counts[-1]
    if len(counts) < 3 or not low or list(counts) != sorted(counts, reverse=True):
        return ""
    half = len(counts) // 2
    stepped = [high] * (len(counts) - half) + [low] * half
    other_way = [high] * half + [low] * (len(counts) - half)
    if _fits(counts, stepped) or _fits(counts, other_way):
        return "step"
    last = len(counts) - 1
    ratio = _factor(low, high)
    tail = [high * ratio ** (index / last) for index in range(len(counts))]
    return "long-tailed" if _fits(counts, tail) else ""


def _fits(counts: Counts, expected: Sequence[float]) -> bool:
    """Counts are rounded, and so is the factor that they were made with."""
    return all(
        abs(count - wanted) <= 1.5 + 0.03 * wanted
        for count, wanted in zip(counts, expected, strict=True)
    )


def _factor(low: int, high: int) -> float:
    """The roundest number that turns `high` into `low` when images are counted whole."""
    for digits in range(1, 6):
        factor = float(f"{(low + 0.25) / high:.{digits}g}")
        if low - 0.5 <= factor * high < low + 1:
            return factor
    return low / high
