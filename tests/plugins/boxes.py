"""Face boxes of synthetic clips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def box_of(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 [T, 4]: the bounds of landmarks [T, N, D]; NaN rows stay NaN."""
    points = landmarks[..., :2]
    if not points.shape[1]:
        return np.full((len(points), 4), np.nan, np.float32)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1).astype(np.float32)
