"""Fréchet distance of two sets of features: with Inception's, the FID.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium"
(arXiv 1706.08500, github.com/bioinf-jku/TTUR).
"""

import numpy as np
import numpy.typing as npt

from tasks.neighbours import BLOCK, Rows

Matrix = npt.NDArray[np.float64]


def frechet_distance(real: Rows, synthetic: Rows) -> float:
    """‖m − m'‖² + tr(S + S' − 2 (S S')^½), with means m and unbiased covariances S, in float64.

    With S = A Aᵀ and S' = B Bᵀ the trace of the root is the sum of the singular values of Aᵀ B. So
    nothing is inverted and no root is taken of a product that is not symmetric, and the value is as
    good for fewer images than features, where the covariances are singular.

    Args:
        real: N × D, N at least 2.
        synthetic: M × D, M at least 2.

    Raises ValueError for fewer.
    """
    (mean, root), (other_mean, other_root) = _moments(real), _moments(synthetic)
    difference = mean - other_mean
    shared = np.linalg.svd(root.T @ other_root, compute_uv=False).sum()
    traces = np.square(root).sum() + np.square(other_root).sum()
    # Rounding may leave a little less than nothing.
    return max(0.0, float(difference @ difference + traces - 2 * shared))


def _moments(rows: Rows) -> tuple[Matrix, Matrix]:
    """Mean, and a root A of the covariance A Aᵀ with as few columns as will do."""
    num, dims = rows.shape
    if num < 2:
        raise ValueError(f"{num} images have no covariance: give at least 2")
    mean = rows.mean(0, dtype=np.float64)
    if num <= dims:
        return mean, (rows - mean).T / np.sqrt(num - 1)
    covariance = np.zeros((dims, dims), np.float64)
    for start in range(0, num, BLOCK):
        centred = rows[start : start + BLOCK] - mean
        covariance += centred.T @ centred
    values, vectors = np.linalg.eigh(covariance / (num - 1))
    return mean, vectors * np.sqrt(values.clip(0))
