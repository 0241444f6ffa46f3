"""How many images of each class: exact, proportional, and nested by construction."""

import heapq
from collections.abc import Sequence
from fractions import Fraction

from tasks.specs import Counts


def exact(value: float) -> Fraction:
    """The decimal a user wrote: `0.29` is 29/100, not the nearest binary number."""
    return Fraction(repr(value))


def rounded(value: Fraction) -> int:
    """Round half up, in exact arithmetic."""
    return int(value + Fraction(1, 2))


def share(total: int, weights: Sequence[int]) -> Counts:
    """Share `total` seats in proportion to `weights` by Webster's method.

    Seats are given one by one to the class with the largest weight / (2 seats + 1), ties to the
    first, so a share of fewer seats lies inside every share of more; no class gets more seats
    than its weight. (A. Webster 1832; M. Balinski & H. Young, Fair Representation, 1982.)

    Raises ValueError where `total` is more than the sum of the weights.
    """
    if not 0 <= total <= sum(weights):
        raise ValueError(f"cannot share {total} among classes that hold {sum(weights)}")
    whole = sum(weights)
    # All seats above a divisor slightly too large are certain; only the last few are dealt singly.
    certain = max(0, 2 * total - len(weights))
    seats = [
        max(0, -((whole - weight * certain) // (2 * whole))) if weight else 0 for weight in weights
    ]
    queue = [
        (-Fraction(weight, 2 * taken + 1), index)
        for index, (weight, taken) in enumerate(zip(weights, seats, strict=True))
        if taken < weight
    ]
    heapq.heapify(queue)
    for _ in range(total - sum(seats)):
        _, index = heapq.heappop(queue)
        seats[index] += 1
        if seats[index] < weights[index]:
            priority = -Fraction(weights[index], 2 * seats[index] + 1)
            heapq.heappush(queue, (priority, index))
    return tuple(seats)


def subset(
    available: Sequence[int],
    *,
    fraction: float = 1.0,
    per_class: int | None = None,
    max_real: int | None = None,
) -> Counts:
    """Count the training images of a subset, class by class.

    `fraction` scales what is available, `per_class` caps each class, `max_real` bounds the total,
    in this order. Each is monotone, so smaller settings give subsets of larger ones.
    """
    counts = share(rounded(exact(fraction) * sum(available)), available)
    if per_class is not None:
        counts = tuple(min(count, per_class) for count in counts)
    if max_real is not None and max_real < sum(counts):
        counts = share(max_real, counts)
    return counts
