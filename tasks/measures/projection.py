"""Features as points of a plane, for a map that shows where synthetic images lie."""

from typing import Any

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
"""N × 2."""

TSNE_INPUTS = 50
"""Principal components that t-SNE is given, as van der Maaten & Hinton gave it 30."""
PERPLEXITY = 30.0

Matrix = npt.NDArray[np.floating[Any]]


def pca(fitted: Matrix, shown: Matrix, components: int = 2) -> Points:
    """Project `shown` on the principal components of `fitted`.

    Where there are fewer components than asked for, the others are 0. Of the two directions of a
    component the one is taken in which the feature that counts most in it grows.

    Args:
        fitted: N × D.
        shown: M × D.

    Returns M × components.
    """
    mean = fitted.mean(0, dtype=np.float64)
    axes = np.linalg.svd(fitted - mean, full_matrices=False)[2][:components]
    strongest = np.abs(axes).argmax(1)
    axes = axes * np.where(np.take_along_axis(axes, strongest[:, None], 1) < 0, -1, 1)
    out = np.zeros((len(shown), components), np.float32)
    out[:, : len(axes)] = (shown - mean) @ axes.T
    return out


def tsne(shown: Matrix) -> Points:
    """Embed by t-SNE (van der Maaten & Hinton, JMLR 2008): near stays near, far says little.

    The same points for the same features. Fewer than 4 points, or points that are all one, stay
    at 0.

    Args:
        shown: N × D.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    reduced = pca(shown, shown, max(2, min(TSNE_INPUTS, *shown.shape)))
    spread = float(reduced[:, 0].std())
    if len(shown) < 4 or not spread:
        return np.zeros((len(shown), 2), np.float32)
    perplexity = min(PERPLEXITY, (len(shown) - 1) / 3)
    # From the plane of the components, as small as scikit-learn's own start.
    start = reduced[:, :2] * np.float32(1e-4 / spread)
    # Threads add in another order, and t-SNE makes any last digit a picture of its own.
    with threadpool_limits(1):
        tsne = TSNE(perplexity=perplexity, init=start, random_state=0)
        found: Points = tsne.fit_transform(reduced)
    return found
