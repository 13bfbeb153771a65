"""Selection of the source frames that become exemplars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import yaw_pitch_roll
from retalkit.stages import Analysis

Float = NDArray[np.float32]

CHUNK = 512
RUN = 12
"""Number of consecutive frames that are selected as one run. Transitions between consecutive frames have no cost."""
_MAX_YAW = 35.0
_CELL = np.array([0.03, 0.05, 0.03, 12.0, 15.0])
"""Cell size in the space of opening, width and protrusion (in IOD), and yaw and pitch (in degrees)."""

_FULL_SIZE = 0.7
"""Face size, relative to the 95th percentile in the clip, from which a frame has the full weight."""
_LEAST_WEIGHT = 0.1


def select_bank_frames(analysis: Analysis, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` ascending source frame indexes that cover the clip's mouth shapes and head poses.

    If the clip has at most ``most`` usable frames, the function selects all of them. Otherwise, it greedily selects
    runs of ``RUN`` frames. A run's gain is larger if the run adds frames to sparsely filled cells in the space of mouth
    shapes and head poses, and if the face is large. Frames with more than 35 degrees of yaw are selected only if the
    clip has no other frames.
    """
    count = analysis.source.info.frame_count
    features = np.full((count, 5), np.nan, np.float32)
    sizes = np.zeros(count, np.float32)
    tracks = np.full(count, -1, np.int32)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        coefficients = analysis.coefficients(start, stop)
        numbers = analysis.tracks(start, stop)
        valid = np.isfinite(coefficients[:, 0]) & (numbers >= 0)
        tracks[start:stop] = np.where(valid, numbers, -1)
        if valid.any():
            pose = mesh_space.unpack_pose(coefficients[valid])
            angles = yaw_pitch_roll(pose)[:, :2]
            sizes[start:stop][valid] = pose.scale
            mouth = coefficients[valid][:, [mesh_space.OPENING, mesh_space.WIDTH, mesh_space.PROTRUSION]]
            features[start:stop][valid] = np.hstack([mouth, angles])
    valid = np.isfinite(features[:, 0])
    usable = valid & (np.abs(np.nan_to_num(features[:, 3])) <= _MAX_YAW)
    if not usable.any():
        usable = valid
    indexes = np.flatnonzero(usable)
    if len(indexes) <= most:
        return indexes
    return _cover(indexes, features, tracks, _size_weights(sizes, indexes), most)


def _size_weights(sizes: Float, indexes: NDArray[np.int64]) -> Float:
    """Return the weight in (0, 1] of each frame, float32 [T].

    The weight decreases with the size of the face, because an exemplar of a small face adds no detail to a large face.
    """
    large = float(np.percentile(sizes[indexes], 95))
    return np.clip(sizes / max(large, 1e-6) / _FULL_SIZE, _LEAST_WEIGHT, 1).astype(np.float32)


def _cover(
    indexes: NDArray[np.int64], features: Float, tracks: NDArray[np.int32], weights: Float, most: int
) -> NDArray[np.int64]:
    breaks = np.flatnonzero((np.diff(indexes) != 1) | (np.diff(tracks[indexes]) != 0)) + 1
    runs: list[NDArray[np.int64]] = []
    for consecutive in np.split(indexes, breaks):
        runs.extend(consecutive[start : start + RUN] for start in range(0, len(consecutive), RUN))
    low = features[indexes].min(0)
    cells = np.floor((features[indexes] - low) / _CELL).astype(np.int64)
    _, numbers = np.unique(cells, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    cell_of = dict(zip(indexes.tolist(), numbers.tolist(), strict=True))
    cells_of_run = [np.array([cell_of[int(index)] for index in run]) for run in runs]
    filled = np.zeros(int(numbers.max()) + 1)
    chosen: list[int] = []
    left = list(range(len(runs)))
    total = 0
    # Select one run from each long track first, because a track without exemplars cannot be edited.
    longest_runs: dict[int, int] = {}
    for number, run in enumerate(runs):
        longest = longest_runs.setdefault(int(tracks[run[0]]), number)
        if len(run) > len(runs[longest]):
            longest_runs[int(tracks[run[0]])] = number
    sizes = np.bincount(tracks[indexes])
    for track in sorted(longest_runs, key=lambda track: (-sizes[track], track))[: most // (2 * RUN)]:
        number = longest_runs[track]
        left.remove(number)
        np.add.at(filled, cells_of_run[number], 1)
        chosen.append(number)
        total += len(runs[number])
    while left and total < most:
        # The gain of an additional exemplar decreases with the number of exemplars in its cell: 1, 1/2, 1/3, ...
        gains = np.array([(weights[runs[run]] / (1.0 + filled[cells_of_run[run]])).sum() for run in left])
        number = left.pop(int(gains.argmax()))
        np.add.at(filled, cells_of_run[number], 1)
        chosen.append(number)
        total += len(runs[number])
    return np.sort(np.concatenate([runs[run] for run in chosen])[:most])
