"""Which source frames are worth keeping as exemplars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import yaw_pitch_roll
from retalkit.stages import Analysis

Float = NDArray[np.float32]

CHUNK = 512
RUN = 12
"""Frames in a row that are kept together, because playing on from one exemplar to the next costs no jump."""
_MOST_YAW = 35.0
_CELL = np.array([0.03, 0.05, 0.03, 12.0, 15.0])
"""Size of one cell of the space of opening, width, protrusion (IOD), yaw and pitch (degrees)."""


def select_frames(analysis: Analysis, most: int) -> NDArray[np.int64]:
    """Ascending source indexes, at most ``most``, whose mouths and poses cover what the clip shows.

    All usable frames where they fit; else runs of ``RUN`` frames, taken greedily by how much each adds to the cells
    of the space of mouth shapes and poses that are still thin. Frames turned by more than 35 degrees count as unusable
    unless there are no others.
    """
    count = analysis.source.info.frame_count
    described = np.full((count, 5), np.nan, np.float32)
    shots = np.full(count, -1, np.int32)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        coefficients = analysis.coefficients(start, stop)
        here = analysis.tracks(start, stop)
        seen = np.isfinite(coefficients[:, 0]) & (here >= 0)
        shots[start:stop] = np.where(seen, here, -1)
        if seen.any():
            turn = yaw_pitch_roll(mesh_space.unpack_pose(coefficients[seen]))[:, :2]
            mouth = coefficients[seen][:, [mesh_space.OPENING, mesh_space.WIDTH, mesh_space.PROTRUSION]]
            described[start:stop][seen] = np.hstack([mouth, turn])
    seen = np.isfinite(described[:, 0])
    usable = seen & (np.abs(np.nan_to_num(described[:, 3])) <= _MOST_YAW)
    if not usable.any():
        usable = seen
    indexes = np.flatnonzero(usable)
    if len(indexes) <= most:
        return indexes
    return _cover(indexes, described, shots, most)


def _cover(indexes: NDArray[np.int64], described: Float, shots: NDArray[np.int32], most: int) -> NDArray[np.int64]:
    breaks = np.flatnonzero((np.diff(indexes) != 1) | (np.diff(shots[indexes]) != 0)) + 1
    runs: list[NDArray[np.int64]] = []
    for stretch in np.split(indexes, breaks):
        runs.extend(stretch[start : start + RUN] for start in range(0, len(stretch), RUN))
    low = described[indexes].min(0)
    cells = np.floor((described[indexes] - low) / _CELL).astype(np.int64)
    _, numbers = np.unique(cells, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    cell_of = dict(zip(indexes.tolist(), numbers.tolist(), strict=True))
    contents = [np.array([cell_of[int(index)] for index in run]) for run in runs]
    filled = np.zeros(int(numbers.max()) + 1)
    # A cell that is already full of exemplars gains little from one more: 1, 1/2, 1/3, ...
    taken: list[int] = []
    left = list(range(len(runs)))
    total = 0
    # One run of each long shot first: a shot without any exemplar is not known and comes through untouched.
    first_runs: dict[int, int] = {}
    for number, run in enumerate(runs):
        best = first_runs.setdefault(int(shots[run[0]]), number)
        if len(run) > len(runs[best]):
            first_runs[int(shots[run[0]])] = number
    sizes = np.bincount(shots[indexes])
    for shot in sorted(first_runs, key=lambda shot: (-sizes[shot], shot))[: most // (2 * RUN)]:
        best = first_runs[shot]
        left.remove(best)
        np.add.at(filled, contents[best], 1)
        taken.append(best)
        total += len(runs[best])
    while left and total < most:
        gains = np.array([(1.0 / (1.0 + filled[contents[run]])).sum() for run in left])
        best = left.pop(int(gains.argmax()))
        np.add.at(filled, contents[best], 1)
        taken.append(best)
        total += len(runs[best])
    return np.sort(np.concatenate([runs[run] for run in taken])[:most])
