"""Reconstructor ``shallow``, which computes head pose and mouth measures directly from the mesh landmarks.

The face model is the person's mean face, which is computed from the clip. The residual of the rigid fit is the
expression. The reconstructor does not require a network or weights. Coefficients are in the space that
``retalkit.geometry.mesh_space`` defines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import rigid_fit, to_head_frame
from retalkit.stages import Analysis, FaceBatch, ReconstructionClip, Runtime, StageContext

from retalkit_reconstructors.mean_faces import STABLE, MeanFaces, group_tracks, track_faces
from retalkit_reconstructors.plugin import ShallowConfig

STORED: Final = "mean_faces.npz"


class ShallowReconstructor:
    """Reconstructor that fits each track's mean face to the track's frames."""

    def __init__(self, config: ShallowConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: ReconstructionClip, context: StageContext) -> ShallowSession:
        """Open a session after computing the mean faces or loading them from the cache."""
        analysis = clip.analysis
        stored = context.cache.path(STORED)
        if stored is None:
            tracks = track_faces(analysis, self._config.frames_per_shot)
            mean_faces = group_tracks(tracks, self._config.min_shot, self._config.same_person)
            with context.cache.write(STORED) as path:
                save(mean_faces, path)
        else:
            mean_faces = load(stored)
        return ShallowSession(analysis, mean_faces)


class ShallowSession:
    """Session that fits each frame of one clip independently."""

    def __init__(self, analysis: Analysis, mean_faces: MeanFaces) -> None:
        self._analysis = analysis
        self._mean_faces = mean_faces

    def reconstruct(self, faces: FaceBatch) -> NDArray[np.float32]:
        """Return coefficients, float32 [T, 13] (see ``retalkit.geometry.mesh_space``)."""
        out = np.full((len(faces.landmarks), mesh_space.COUNT), np.nan, np.float32)
        tracks = self._tracks(faces.frames.indexes)
        tracks[~np.isfinite(faces.landmarks).all(axis=(1, 2))] = -1
        for track in np.unique(tracks[tracks >= 0]):
            rows = tracks == track
            landmarks = faces.landmarks[rows]
            pose = rigid_fit(landmarks[:, STABLE], self._mean_faces.for_track(int(track))[STABLE])
            out[rows] = mesh_space.pack(pose, mesh_space.measures(to_head_frame(landmarks, pose)))
        return out

    def close(self) -> None:
        """Do nothing, because the session holds no resources."""

    def _tracks(self, indexes: NDArray[np.int64]) -> NDArray[np.int32]:
        tracks = np.full(len(indexes), -1, np.int32)
        breaks = np.flatnonzero(np.diff(indexes) != 1) + 1
        for run in np.split(np.arange(len(indexes)), breaks):
            if len(run):
                start = int(indexes[run[0]])
                tracks[run] = self._analysis.tracks(start, start + len(run))
        return tracks


def save(mean_faces: MeanFaces, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, faces=mean_faces.faces, tracks=mean_faces.tracks, groups=mean_faces.groups)


def load(path: Path) -> MeanFaces:
    with np.load(path, allow_pickle=False) as stored:
        return MeanFaces(stored["faces"], stored["tracks"], stored["groups"])
