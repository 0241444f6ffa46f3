"""How many images of each class: exact, proportional, and nested by construction."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

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


Profile = Literal["balanced", "semi", "long_tail", "step"]
FACTORS: dict[Profile, float] = {"balanced": 1.0, "semi": 0.1, "long_tail": 0.01, "step": 0.1}
"""The smallest class over the largest, where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Imbalance:
    """How the classes of a subset differ in size, in label order."""

    profile: Profile
    factor: float
    """The smallest class over the largest (others write its inverse)."""

    def count(self, label: int, num_classes: int, largest: int) -> int:
        """Images of a class where the largest has `largest`.

        Long-tailed: int(n_max * factor^(i / (C - 1))) (Y. Cui et al., Class-balanced loss, 2019);
        step: the later half of the classes at int(n_max * factor) (M. Buda et al., 2018).
        """
        factor = exact(self.factor)
        if self.profile == "balanced":
            return largest
        if self.profile == "step":
            return int(largest * factor) if label >= (num_classes + 1) // 2 else largest
        return _power(largest, factor, label, max(1, num_classes - 1))


def _power(largest: int, factor: Fraction, top: int, bottom: int) -> int:
    """int(largest * factor^(top / bottom)): one number on every machine, whatever its pow says."""
    close: float = largest * float(factor) ** (top / bottom)
    nearest = round(close)
    if abs(close - nearest) > 1e-9 * largest:
        return int(close)
    # At a whole number the last bit decides: ask exact arithmetic which side it is on.
    too_many = bool(nearest**bottom > largest**bottom * factor**top)
    return nearest - 1 if too_many else nearest


def shaped(available: Sequence[int], imbalance: Imbalance, total: int | None = None) -> Counts:
    """The largest subset of a profile: every class has its images, and all fit `total` if given.

    A larger `total` gives a larger largest class and so larger ones all over: subsets nest.
    """
    num_classes = len(available)

    def counts(largest: int) -> Counts:
        return tuple(imbalance.count(i, num_classes, largest) for i in range(num_classes))

    def fits(largest: int) -> bool:
        found = counts(largest)
        within = all(count <= there for count, there in zip(found, available, strict=True))
        return within and (total is None or sum(found) <= total)

    return counts(_last(fits, max(available, default=0)))


def _last(holds: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` for which a property holds that ends once and for all."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def subset(
    available: Sequence[int],
    *,
    fraction: float = 1.0,
    per_class: int | None = None,
    imbalance: Imbalance | None = None,
    max_real: int | None = None,
) -> Counts:
    """Count the training images of a subset, class by class.

    `fraction` scales what is available, `per_class` caps each class, `imbalance` shapes them, and
    `max_real` bounds the total, in this order. A smaller setting gives a subset of what a larger
    one gives, but for `per_class` under `max_real`: where large classes may give less, small ones
    give more.
    """
    counts = share(rounded(exact(fraction) * sum(available)), available)
    if per_class is not None:
        counts = tuple(min(count, per_class) for count in counts)
    if imbalance is not None:
        return shaped(counts, imbalance, max_real)
    if max_real is not None and max_real < sum(counts):
        # Fractions of one dataset are dealt from the same weights, so that they nest.
        counts = share(max_real, available if per_class is None else counts)
    return counts


def held_in_fold(num_images: int, fold: tuple[int, int] | None) -> slice:
    """Those of a class, in its order, that a fold (index, of so many) leaves for testing."""
    if fold is None:
        return slice(0, 0)
    index, of = fold
    return slice(num_images * index // of, num_images * (index + 1) // of)
