"""Fréchet distance between two feature sets, each modelled as a normal distribution.

References: Dowson and Landau, "The Fréchet distance between multivariate normal distributions", Journal of Multivariate
Analysis 12, 1982, equation 4; Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
equilibrium", NIPS 2017.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def frechet_distance(one: NDArray[np.float32] | Float, other: NDArray[np.float32] | Float) -> float:
    """Return the Fréchet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), which is at least 0.

    ``one``: features [N, D]. ``other``: features [M, D]. N and M must be at least 2.

    If there are fewer features than dimensions, the covariances are rank-deficient and a matrix square root is
    numerically unstable. With C = A'A, the trace of the matrix square root equals the sum of the singular values of A1
    A2'. The function uses this identity instead of computing the square root. Raises ValueError if the shapes are
    invalid.
    """
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1] or min(len(one), len(other)) < 2:
        raise ValueError(
            "expected two sets of at least two features with equal dimensions, got "
            f"shapes {one.shape} and {other.shape}"
        )
    mean_one, root_one = _moments(one)
    mean_other, root_other = _moments(other)
    traces = float((root_one**2).sum() + (root_other**2).sum())
    common = float(np.linalg.norm(root_one @ root_other.T, "nuc"))
    return max(0.0, float(((mean_one - mean_other) ** 2).sum()) + traces - 2 * common)


def _moments(features: NDArray[np.float32] | Float) -> tuple[Float, Float]:
    """Return the mean [D] and a factor A, [min(N, D), D], of the unbiased covariance A'A."""
    values = np.asarray(features, np.float64)
    mean = values.mean(0)
    centred = (values - mean) / np.sqrt(len(values) - 1)
    if len(centred) <= centred.shape[1]:
        return mean, centred
    return mean, np.asarray(np.linalg.qr(centred, mode="r"))
