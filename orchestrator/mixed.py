"""How many real and synthetic images a mixed cell trains on, class by class."""

from collections.abc import Sequence

from orchestrator.settings import MixingSettings
from tasks.counting import exact, rounded, share
from tasks.errors import InputError
from tasks.specs import Counts, Mixing

RATIO = 0.5
PROBABILITY = 0.5
"""DA-Fusion's `synthetic_probability` (Trabucco et al., arXiv:2302.07944)."""


def missing(real: Counts) -> Counts:
    """What each class lacks to the largest."""
    return tuple(max(real) - number for number in real)


def known(counts: Counts, real: Counts) -> Counts:
    """Without the classes that a generator never saw: it would draw them from nothing."""
    return tuple(number if seen else 0 for number, seen in zip(counts, real, strict=True))


def mixed(
    real: Counts,
    sets: Sequence[Counts],
    mixing: MixingSettings,
    max_synth: int | None,
    classes: Sequence[str],
) -> tuple[Counts, tuple[Counts, ...]]:
    """The real images that are left, and what is taken from each set.

    Args:
        real: images of each class; `sets`: the same for each set, in the same label order.

    Raises InputError where the sets hold too few to take the place of real images.
    """
    if mixing.name == "replace":
        number = rounded(exact(mixing.ratio or RATIO) * sum(real))
        # No more leave than may come.
        number = number if max_synth is None else min(number, max_synth)
        kept = share(sum(real) - number, real)
        gone = tuple(whole - part for whole, part in zip(real, kept, strict=True))
        _check(gone, sets, classes)
        real, sets = kept, _filled(gone, sets)
    if mixing.name == "fill_tail":
        sets = _filled(missing(real), sets)
    return real, bounded(sets, max_synth)


def bounded(sets: Sequence[Counts], most: int | None) -> tuple[Counts, ...]:
    """At most so many synthetic images over all sets, shared by what each class of each holds."""
    flat = [number for counts in sets for number in counts]
    if most is None or most >= sum(flat):
        return tuple(sets)
    shared = iter(share(most, flat))
    return tuple(tuple(next(shared) for _ in counts) for counts in sets)


def _check(wanted: Counts, sets: Sequence[Counts], classes: Sequence[str]) -> None:
    for label, number in enumerate(wanted):
        held = sum(counts[label] for counts in sets)
        if held < number:
            raise InputError(
                f"mixing: replace needs {number} synthetic images of class {classes[label]!r}, the "
                f"sets hold {held}: give a larger multiplier, or a smaller ratio"
            )


def _filled(wanted: Counts, sets: Sequence[Counts]) -> tuple[Counts, ...]:
    """Take up to `wanted` images of each class from the sets, from each as it holds them."""
    columns = []
    for label, number in enumerate(wanted):
        held = [counts[label] for counts in sets]
        columns.append(share(min(number, sum(held)), held))
    return tuple(tuple(column[index] for column in columns) for index in range(len(sets)))


def mixing_of(mixing: MixingSettings, synthetic: bool) -> Mixing:
    """What training itself is told; nothing where no synthetic image takes part."""
    if not synthetic:
        return Mixing()
    chance = mixing.synthetic_probability or PROBABILITY
    return Mixing(
        synthetic_probability=chance if mixing.name == "swap" else 0.0,
        loss_weight=mixing.loss_weight,
        soft_label=mixing.soft_label,
    )
