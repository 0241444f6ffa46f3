"""Kernel distance of two sets of features: with Inception's, the KID.

Bińkowski et al., "Demystifying MMD GANs" (arXiv 1801.01401, github.com/mbinkowski/MMD-GAN).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.neighbours import Rows

SUBSETS, SUBSET_SIZE = 100, 1000
SEED = 2020
"""Of the subsets; torch-fidelity's, which draws the same ones in the same way."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """Mean over subsets, and how they differ."""

    mean: float
    std: float | None
    """Over the subsets, as the reference has it (not n − 1); None where there is one alone."""
    subsets: int
    subset_size: int


def kernel_distance(
    real: Rows,
    synthetic: Rows,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = SEED,
) -> KernelDistance:
    """Mean squared maximum mean discrepancy over random subsets.

    Subsets are smaller where there are fewer images; where each would hold all images, there is
    one. May be a little below 0, as it is unbiased.

    Args:
        real: N × D, N at least 2.
        synthetic: M × D, M at least 2.

    Raises ValueError for fewer.
    """
    size = min(subset_size, len(real), len(synthetic))
    if size < 2:
        raise ValueError(f"{len(real)} real and {len(synthetic)} synthetic images: give at least 2")
    if size == len(real) == len(synthetic):
        subsets = 1
    # The legacy generator, as its numbers are the reference's and will never change.
    rng = np.random.RandomState(seed)
    found = np.empty(subsets, np.float64)
    for index in range(subsets):
        ours = synthetic[rng.choice(len(synthetic), size, replace=False)]
        theirs = real[rng.choice(len(real), size, replace=False)]
        found[index] = squared_mmd(ours.astype(np.float64), theirs.astype(np.float64))
    return KernelDistance(
        mean=float(found.mean()),
        std=float(found.std()) if subsets > 1 else None,
        subsets=subsets,
        subset_size=size,
    )


def squared_mmd(one: Matrix, other: Matrix) -> float:
    """Unbiased squared maximum mean discrepancy of two sets, N × D, under the cubic kernel."""
    num = len(one)
    within = 0.0
    for rows in (one, other):
        kernel = _cubic(rows, rows)
        # Without what an image is to itself, which no other image could be.
        within += float(kernel.sum() - kernel.trace()) / (num * (num - 1))
    return within - 2 * float(_cubic(one, other).mean())


def _cubic(one: Matrix, other: Matrix) -> Matrix:
    product: Matrix = (one @ other.T / one.shape[1] + 1) ** 3
    return product
