"""Face shape with the smallest mouth opening for each track in a clip, computed in chunks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import to_head_frame, yaw_pitch_roll
from retalkit.stages import Analysis

from retalkit_renderers.lip_thickness import MIDDLE, lip_thickness, relaxed

Float = NDArray[np.float32]

CHUNK = 512
SAMPLES = 128
"""Maximum number of frames from which a track's median shape is computed. The limit makes the memory use independent of
the clip length.
"""
CLOSED_SHARE = 0.1
"""Fraction of a track's frames that are considered to show the least open mouth."""
LONG_TRACK = 40
"""Minimum number of frames in a track that is expected to contain a closed mouth."""
FRONTAL_YAW = 25.0
"""Yaw in degrees beyond which half of the mouth is not visible and the mouth landmarks are unreliable."""


def head_shapes(analysis: Analysis, start: int, stop: int) -> Float:
    """Return the head-frame landmarks of the source frames [start, stop), float32 [T, 478, 3]."""
    pose = mesh_space.unpack_pose(analysis.coefficients(start, stop))
    return to_head_frame(analysis.landmarks(start, stop), pose)


def first_face_frame(analysis: Analysis) -> int | None:
    """Return the index of the first source frame that contains a face, or None if no frame contains a face."""
    count = analysis.source.info.frame_count
    for start in range(0, count, CHUNK):
        found = np.isfinite(analysis.coefficients(start, min(start + CHUNK, count))[:, 0])
        if found.any():
            return start + int(found.argmax())
    return None


@dataclass(frozen=True, slots=True)
class FrameOpenings:
    """Mouth opening, lip thickness, frontal mask and track number of each source frame."""

    opening: Float
    """Mouth opening in IOD, float32 [T]. The value is NaN for frames without a face."""
    thickness: Float
    """Thickness of the lips in IOD, float32 [T]. The value is NaN for frames without a face."""
    frontal: NDArray[np.bool_]
    """Mask of frames whose absolute yaw is below ``FRONTAL_YAW``, bool [T]."""
    tracks: NDArray[np.int32]
    """Track number, int32 [T]. The value is -1 for frames without a face."""

    @classmethod
    def read(cls, analysis: Analysis) -> FrameOpenings:
        """Load coefficients, tracks and landmarks in chunks. The result requires 13 bytes per frame."""
        count = analysis.source.info.frame_count
        opening, thickness = np.full(count, np.nan, np.float32), np.full(count, np.nan, np.float32)
        frontal, tracks = np.zeros(count, bool), np.full(count, -1, np.int32)
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            coefficients = analysis.coefficients(start, stop)
            opening[start:stop] = coefficients[:, mesh_space.OPENING]
            tracks[start:stop] = analysis.tracks(start, stop)
            pose = mesh_space.unpack_pose(coefficients)
            with np.errstate(invalid="ignore"):
                frontal[start:stop] = np.abs(yaw_pitch_roll(pose)[:, 0]) < FRONTAL_YAW
                middle = to_head_frame(analysis.landmarks(start, stop)[:, list(MIDDLE)], pose)
            thickness[start:stop] = lip_thickness(middle)
        return cls(opening, thickness, frontal, tracks)

    def least_open(self, track: int) -> list[int]:
        """Return at most ``SAMPLES`` frames from the tenth of a track's frames with the least open mouth.

        Non-frontal frames are excluded if the track has enough frontal frames. Frames with pressed lips are excluded,
        because a person at rest does not press the lips together.
        """
        valid = np.isfinite(self.opening) & (self.tracks == track)
        frontal = valid & self.frontal
        pool = frontal if frontal.sum() >= max(5, 0.2 * valid.sum()) else valid
        if not pool.any():
            return []
        pool[pool] = relaxed(self.thickness[pool])
        limit = np.quantile(self.opening[pool], CLOSED_SHARE)
        frames = np.flatnonzero(pool & (self.opening <= limit))
        spread = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), SAMPLES)).round().astype(int))
        return [int(frame) for frame in frames[spread]]


def median_shape(analysis: Analysis, frames: list[int]) -> Float:
    """Return the median head-frame shape over ascending source frames, float32 [478, 3]."""
    rows: list[Float] = []
    position = 0
    while position < len(frames):
        start = frames[position]
        inside = [frame - start for frame in frames[position : position + CHUNK] if frame < start + CHUNK]
        rows.append(head_shapes(analysis, start, start + inside[-1] + 1)[inside])
        position += len(inside)
    return np.median(np.concatenate(rows), axis=0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class TrackShapes:
    """Least open shape of each track. The shapes are separate, because a clip may contain cuts between people."""

    tracks: NDArray[np.int32]
    """Ascending track numbers, int32 [S]."""
    shapes: Float
    """Shapes in the head frame, float32 [S, 478, 3]."""

    @classmethod
    def fit(cls, analysis: Analysis) -> TrackShapes:
        """Compute the least open shape of each track.

        In a track with fewer than ``LONG_TRACK`` frames, the mouth may never close. Such a track uses the shape of the
        long track with the most similar upper face.
        """
        openings = FrameOpenings.read(analysis)
        numbers = np.unique(openings.tracks[np.isfinite(openings.opening) & (openings.tracks >= 0)])
        own: list[Float] = []
        long: list[bool] = []
        for track in numbers:
            own.append(median_shape(analysis, openings.least_open(int(track))))
            long.append(int((openings.tracks == track).sum()) >= LONG_TRACK)
        if not own:
            return cls(numbers.astype(np.int32), np.zeros((0, 478, 3), np.float32))
        shapes = np.array(own, np.float32)
        if any(long):
            stable = list(mesh478.STABLE)
            known = np.flatnonzero(long)
            for row in np.flatnonzero(~np.array(long)):
                distance = np.square(shapes[known][:, stable] - shapes[row, stable]).mean(axis=(1, 2))
                shapes[row] = shapes[known[int(distance.argmin())]]
        return cls(numbers.astype(np.int32), shapes)

    def row(self, track: int) -> int | None:
        """Return the index of a track's shape, or None if the track has no shape."""
        row = int(np.searchsorted(self.tracks, track))
        return row if row < len(self.tracks) and self.tracks[row] == track else None
