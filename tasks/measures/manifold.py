"""Precision and recall, density and coverage: whose neighbourhoods hold whom.

Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models" (arXiv
1904.06991, github.com/kynkaat/improved-precision-and-recall-metric), and Naeem et al., "Reliable
fidelity and diversity metrics for generative models" (arXiv 2002.09797, github.com/clovaai/
generative-evaluation-prdc). A ball reaches from each image to its k-th nearest among its own kind:

- precision: share of synthetic images that a real ball holds (k = 3);
- recall: share of real images that a synthetic ball holds (k = 3);
- density: real balls that hold a synthetic image, on average, over k (k = 5);
- coverage: share of real balls that hold a synthetic image (k = 5).

As in these references, balls are closed for the first two and open for the others, which makes
density and coverage of a set with itself 1. It matters where images are equal: of a set whose
images are all one, the open balls are empty.
"""

from collections.abc import Collection, Sequence

from tasks.measures.catalogue import CATALOGUE, DENSITY_K, PRECISION_K
from tasks.neighbours import Balls, Rows, held, nearest

NAMES = ("precision", "recall", "density", "coverage")

CLOSED, OPEN = (PRECISION_K, True), (DENSITY_K, False)
"""The two kinds of ball: how many neighbours they reach to, and whether they hold the last."""


def manifold_measures(
    real: Rows, synthetic: Rows, wanted: Collection[str] = NAMES
) -> dict[str, float]:
    """Measure what is `wanted` of `NAMES`, in at most three passes over all pairs of images.

    Args:
        real: N × D.
        synthetic: M × D.

    Raises ValueError where there are fewer images than neighbours to look at.
    """
    for name in wanted:
        _check(name, len(real), len(synthetic))
    kinds = [CLOSED] if "precision" in wanted else []
    kinds += [OPEN] if "density" in wanted or "coverage" in wanted else []
    around_real = _balls(real, kinds)
    around_synthetic = _balls(synthetic, [CLOSED] if "recall" in wanted else [])
    theirs, ours = held(synthetic, real, around_real, around_synthetic)
    by_real = dict(zip(kinds, theirs, strict=True))
    found: dict[str, float] = {}
    if "precision" in wanted:
        found["precision"] = float((by_real[CLOSED].balls > 0).mean())
    if "recall" in wanted:
        found["recall"] = float((ours[0].balls > 0).mean())
    if "density" in wanted:
        found["density"] = float(by_real[OPEN].balls.mean() / DENSITY_K)
    if "coverage" in wanted:
        found["coverage"] = float(by_real[OPEN].occupied.mean())
    return found


def _check(name: str, num_real: int, num_synthetic: int) -> None:
    measure = CATALOGUE[name]
    if num_real < measure.fewest_real or num_synthetic < measure.fewest_synthetic:
        raise ValueError(
            f"{name} of {num_real} real and {num_synthetic} synthetic images: it needs at least "
            f"{measure.fewest_real} and {measure.fewest_synthetic}"
        )


def _balls(points: Rows, kinds: Sequence[tuple[int, bool]]) -> list[Balls]:
    """Balls of these kinds around `points`, from one search for neighbours."""
    if not kinds:
        return []
    # Each point is the first of its own neighbours, or as far from itself as an equal one: 0.
    distances = nearest(points, points, max(k for k, _ in kinds) + 1)[0]
    return [Balls(radius=distances[:, k], closed=closed) for k, closed in kinds]
