"""Description of the persons in a video: how large the face is, and how far the mouth opens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry import mesh_space
from retalkit.geometry.pose import yaw_pitch_roll
from retalkit.geometry.schemes import IBUG68, convert, convertible
from retalkit.pipeline.analysis_store import StoredAnalysis

Float = NDArray[np.float32]

OPENING_STEP = 0.04
"""Width in eye distances of one bar of the distribution of openings."""
TYPICAL_OPENING = 0.2
"""95th percentile of the opening of a talking person in eye distances, for comparison."""
_STEPS = 8
_ROWS = 512
_MESH = "mesh"
_EYES, _LIPS = (36, 45), (62, 66)


@dataclass(frozen=True, slots=True)
class FaceMeasures:
    """Measurements of the frames with a face."""

    indexes: NDArray[np.int64]
    """Source frame indexes, int64 [F]."""
    widths: Float
    """Widths of the face box in pixels, float32 [F]."""
    heights: Float
    yaws: Float
    """Absolute yaw in degrees, float32 [F], or 0 if the reconstructor does not provide the head pose."""
    openings: Float
    """Lip openings in eye distances, float32 [F], or NaN if unknown."""

    def best_frame(self) -> int:
        """Return the index of the frame with the largest frontal face."""
        return int(self.indexes[int(np.argmax(self.widths * np.clip(1 - self.yaws / 60, 0.05, 1)))])


def measure_faces(analysis: StoredAnalysis) -> FaceMeasures:
    """Measure the tracked face in all frames."""
    count = analysis.source.info.frame_count
    rows: list[tuple[NDArray[np.int64], Float, Float, Float, Float]] = []
    for start in range(0, count, _ROWS):
        stop = min(start + _ROWS, count)
        seen = np.flatnonzero(analysis.tracks(start, stop) >= 0)
        boxes = analysis.boxes(start, stop)[seen]
        yaws, openings = _yaw_and_opening(analysis, start, stop, seen)
        rows.append((seen + start, boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1], yaws, openings))
    return FaceMeasures(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _yaw_and_opening(analysis: StoredAnalysis, start: int, stop: int, seen: NDArray[np.int64]) -> tuple[Float, Float]:
    if analysis.coefficient_space == _MESH:
        coefficients = analysis.coefficients(start, stop)[seen]
        yaws = np.abs(yaw_pitch_roll(mesh_space.unpack_pose(coefficients))[:, 0])
        return np.nan_to_num(yaws), coefficients[:, mesh_space.OPENING]
    nothing = np.zeros(len(seen), np.float32)
    if IBUG68 not in convertible(analysis.landmark_scheme):
        return nothing, np.full(len(seen), np.nan, np.float32)
    points = convert(analysis.landmarks(start, stop)[seen], analysis.landmark_scheme, IBUG68)[..., :2]
    eyes = np.linalg.norm(points[:, _EYES[1]] - points[:, _EYES[0]], axis=1)
    gap = np.linalg.norm(points[:, _LIPS[1]] - points[:, _LIPS[0]], axis=1)
    return nothing, (gap / np.maximum(eyes, 1e-3)).astype(np.float32)


def opening_range(openings: Float) -> float | None:
    """Return the 98th percentile of the known openings, or None if no opening is known."""
    known = openings[np.isfinite(openings)]
    return float(np.percentile(known, 98)) if len(known) else None


def opening_distribution(openings: Float) -> tuple[float, ...]:
    """Return the share of the frames per step of ``OPENING_STEP``. The last value includes all larger openings."""
    known = openings[np.isfinite(openings)]
    if not len(known):
        return ()
    steps = np.minimum((known / OPENING_STEP).astype(int), _STEPS - 1)
    return tuple(float(each) for each in np.bincount(steps, minlength=_STEPS) / len(known))
