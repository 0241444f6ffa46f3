"""The measures of synthetic sets by name, for planning and reports; loads nothing."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number about a synthetic set."""

    says: str
    """In one sentence."""
    higher_is_better: bool
    fewest_real: int = 1
    fewest_synthetic: int = 1
    """Images without which it has no value."""


PRECISION_K = 3
"""Neighbours that balls of precision and recall reach to."""
DENSITY_K = 5
"""Neighbours that balls of density and coverage reach to."""

CATALOGUE: Mapping[str, Measure] = {
    "fid": Measure(
        says="Fréchet distance of two Gaussians, fitted to the features of real and of synthetic "
        "images.",
        higher_is_better=False,
        fewest_real=2,
        fewest_synthetic=2,
    ),
    "kid": Measure(
        says="Squared maximum mean discrepancy of real and synthetic features under a cubic "
        "kernel, unbiased at any number of images.",
        higher_is_better=False,
        fewest_real=2,
        fewest_synthetic=2,
    ),
    "precision": Measure(
        says="Share of synthetic images that lie where real ones do: realism.",
        higher_is_better=True,
        fewest_real=PRECISION_K + 1,
    ),
    "recall": Measure(
        says="Share of real images that lie where synthetic ones do: variety.",
        higher_is_better=True,
        fewest_synthetic=PRECISION_K + 1,
    ),
    "density": Measure(
        says="How many real neighbourhoods hold a synthetic image, on average and in units of what "
        "real images would have; may exceed 1.",
        higher_is_better=True,
        fewest_real=DENSITY_K + 1,
    ),
    "coverage": Measure(
        says="Share of real images with a synthetic one in their neighbourhood.",
        higher_is_better=True,
        fewest_real=DENSITY_K + 1,
    ),
    "cas": Measure(
        says="Classification accuracy score: top-1 on real test images of a classifier that was "
        "trained on synthetic ones alone.",
        higher_is_better=True,
    ),
}

MEASURES = tuple(CATALOGUE)
"""Names, in the order in which tables show them."""

IN_FEATURE_SPACE = tuple(name for name in MEASURES if name != "cas")
"""Those that compare features; CAS trains a classifier, which is a step of its own."""

HIGHER_IS_BETTER: Mapping[str, bool] = {
    name: measure.higher_is_better for name, measure in CATALOGUE.items()
}
