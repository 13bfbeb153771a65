"""Reading the least open shapes out of a whole clip, in chunks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import to_head_frame, yaw_pitch_roll
from retalkit.stages import Analysis

Float = NDArray[np.float32]

CHUNK = 512
SAMPLES = 128
"""Most frames of a shot that a median is taken over: memory does not grow with the clip."""
CLOSED_SHARE = 0.1
LONG_SHOT = 40
FRONTAL_YAW = 25.0
"""Degrees; beyond it the tracker guesses half of the mouth."""


def head_shapes(analysis: Analysis, start: int, stop: int) -> Float:
    """Head-frame landmarks float32 [T, 478, 3] of source frames [start, stop)."""
    pose = mesh_space.unpack_pose(analysis.coefficients(start, stop))
    return to_head_frame(analysis.landmarks(start, stop), pose)


def first_with_face(analysis: Analysis) -> int | None:
    """Index of the first source frame with a face."""
    count = analysis.source.info.frame_count
    for start in range(0, count, CHUNK):
        found = np.isfinite(analysis.coefficients(start, min(start + CHUNK, count))[:, 0])
        if found.any():
            return start + int(found.argmax())
    return None


@dataclass(frozen=True, slots=True)
class Openings:
    """What is known of every source frame before landmarks are read."""

    opening: Float
    """float32 [T] in IOD, NaN where there is no face."""
    frontal: NDArray[np.bool_]
    shots: NDArray[np.int32]

    @classmethod
    def of(cls, analysis: Analysis) -> Openings:
        """Reads coefficients and shots in chunks: nine bytes a frame are kept."""
        count = analysis.source.info.frame_count
        opening = np.full(count, np.nan, np.float32)
        frontal, shots = np.zeros(count, bool), np.full(count, -1, np.int32)
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            coefficients = analysis.coefficients(start, stop)
            opening[start:stop] = coefficients[:, mesh_space.OPENING]
            shots[start:stop] = analysis.tracks(start, stop)
            with np.errstate(invalid="ignore"):
                frontal[start:stop] = np.abs(yaw_pitch_roll(mesh_space.unpack_pose(coefficients))[:, 0]) < FRONTAL_YAW
        return cls(opening, frontal, shots)

    def least_open(self, shot: int) -> list[int]:
        """At most ``SAMPLES`` frames among the 10% least open ones of a shot, frontal ones where there are enough."""
        seen = np.isfinite(self.opening) & (self.shots == shot)
        facing = seen & self.frontal
        pool = facing if facing.sum() >= max(5, 0.2 * seen.sum()) else seen
        if not pool.any():
            return []
        limit = np.quantile(self.opening[pool], CLOSED_SHARE)
        frames = np.flatnonzero(pool & (self.opening <= limit))
        spread = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), SAMPLES)).round().astype(int))
        return [int(frame) for frame in frames[spread]]


def median_shape(analysis: Analysis, frames: list[int]) -> Float:
    """Median head-frame shape float32 [478, 3] of ascending source frames."""
    rows: list[Float] = []
    place = 0
    while place < len(frames):
        start = frames[place]
        inside = [frame - start for frame in frames[place : place + CHUNK] if frame < start + CHUNK]
        rows.append(head_shapes(analysis, start, start + inside[-1] + 1)[inside])
        place += len(inside)
    return np.median(np.concatenate(rows), axis=0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ShotShapes:
    """The least open shape of each shot. A clip may cut between people, and each keeps an own mouth."""

    shots: NDArray[np.int32]
    """int32 [S], ascending."""
    shapes: Float
    """float32 [S, 478, 3] in the head frame."""

    @classmethod
    def learn(cls, analysis: Analysis) -> ShotShapes:
        """Reads the least open frames of every shot. A shot shorter than ``LONG_SHOT`` frames, in which the mouth may
        never close, takes the shape of the long shot whose upper face is nearest."""
        openings = Openings.of(analysis)
        numbers = np.unique(openings.shots[np.isfinite(openings.opening) & (openings.shots >= 0)])
        own: list[Float] = []
        long: list[bool] = []
        for shot in numbers:
            own.append(median_shape(analysis, openings.least_open(int(shot))))
            long.append(int((openings.shots == shot).sum()) >= LONG_SHOT)
        if not own:
            return cls(numbers.astype(np.int32), np.zeros((0, 478, 3), np.float32))
        shapes = np.array(own, np.float32)
        if any(long):
            stable = list(mesh478.STABLE)
            known = np.flatnonzero(long)
            for row in np.flatnonzero(~np.array(long)):
                apart = np.square(shapes[known][:, stable] - shapes[row, stable]).mean(axis=(1, 2))
                shapes[row] = shapes[known[int(apart.argmin())]]
        return cls(numbers.astype(np.int32), shapes)

    def row(self, shot: int) -> int | None:
        """Row of a shot's shape, None when the shot is not known."""
        place = int(np.searchsorted(self.shots, shot))
        return place if place < len(self.shots) and self.shots[place] == shot else None
