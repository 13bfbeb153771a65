"""Comparison of clips by their images, which finds copies whose audio was shifted, replaced or removed.

The mean face of a clip selects candidates, and the course of its motion decides: the mean change between neighbouring
frames in four bands of the face is specific to a recording, and hardly depends on its compression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE: Final = 24
_BANDS: Final = 4
LEAST_SIMILARITY: Final = 0.9
"""Minimum cosine similarity of the mean faces of two candidates."""
LEAST_CORRELATION: Final = 0.75
"""Minimum correlation of the motion of equal frames.

In copies of a real video with stronger compression, a smaller size and other audio, it was 0.90 to 0.97. Between
different parts of the video, and between two people, it was at most 0.53.
"""
SHORTEST: Final = 25
"""Minimum number of common changes between frames."""
_BLOCK: Final = 1024


@dataclass(frozen=True, slots=True)
class FrameSignature:
    """Signature of a clip's images."""

    face: NDArray[np.float32]
    """Standardised mean face, float32 [576]."""
    motion: NDArray[np.float32]
    """Mean change between neighbouring frames in each band, float32 [T - 1, 4]."""


def frame_signature(faces: NDArray[np.uint8]) -> FrameSignature:
    """Return the signature of RGB faces, uint8 [T, 96, 96, 3]."""
    small = np.stack(
        [
            cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            for face in faces
        ]
    ).astype(np.float32)
    mean = small.mean(axis=0).ravel()
    centred = mean - mean.mean()
    face = centred / max(float(np.linalg.norm(centred)), 1e-3)
    change = np.abs(np.diff(small, axis=0))
    return FrameSignature(face, change.reshape(len(change), _BANDS, SIDE * SIDE // _BANDS).mean(axis=2))


def have_equal_frames(one: FrameSignature, other: FrameSignature) -> bool:
    """Return whether a part of both clips shows the same frames."""
    return motion_correlation(one.motion, other.motion) >= LEAST_CORRELATION


def motion_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the highest correlation of the motion of two clips over all shifts, or 0 if they are too short.

    The common part covers at least half of the shorter clip.
    """
    least = max(SHORTEST, min(len(one), len(other)) // 2)
    best = 0.0
    for shift in range(least - len(other), len(one) - least + 1):
        first, last = max(shift, 0), min(len(one), len(other) + shift)
        if last - first >= least:
            best = max(best, _correlation(one[first:last], other[first - shift : last - shift]))
    return best


def candidates(signatures: list[FrameSignature]) -> list[tuple[int, int]]:
    """Return the pairs of clips with similar mean faces."""
    if not signatures:
        return []
    faces = np.stack([each.face for each in signatures])
    found: list[tuple[int, int]] = []
    for start in range(0, len(faces), _BLOCK):
        close = np.argwhere(faces[start : start + _BLOCK] @ faces.T > LEAST_SIMILARITY)
        found += [(start + int(row), int(column)) for row, column in close if start + row < column]
    return found


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the correlation of all columns together, each relative to its mean. Bands that move most count most."""
    a, b = one - one.mean(axis=0), other - other.mean(axis=0)
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / max(norm, 1e-6)
