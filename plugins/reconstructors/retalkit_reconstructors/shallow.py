"""The reconstructor ``shallow``: head pose and mouth measures straight from the mesh landmarks.

The face model is the person's own mean face, made from the clip; what is left after its rigid fit is expression. No
network and no weights. Coefficients are those of ``retalkit.geometry.mesh_space``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import rigid_fit, to_head_frame
from retalkit.stages import Analysis, FaceBatch, ReconstructionClip, Runtime, StageContext

from retalkit_reconstructors.plugin import ShallowConfig
from retalkit_reconstructors.templates import STABLE, Templates, group, shot_faces

STORED: Final = "templates.npz"


class ShallowReconstructor:
    """Fits the mean face of each shot to its frames."""

    def __init__(self, config: ShallowConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: ReconstructionClip, context: StageContext) -> ShallowSession:
        analysis = clip.analysis
        stored = context.cache.path(STORED)
        if stored is None:
            shots = shot_faces(analysis, self._config.frames_per_shot)
            templates = group(shots, self._config.min_shot, self._config.same_person)
            with context.cache.write(STORED) as path:
                save(templates, path)
        else:
            templates = load(stored)
        return ShallowSession(analysis, templates)


class ShallowSession:
    """Serves one clip; every frame is fitted by itself."""

    def __init__(self, analysis: Analysis, templates: Templates) -> None:
        self._analysis = analysis
        self._templates = templates

    def reconstruct(self, faces: FaceBatch) -> NDArray[np.float32]:
        """float32 [T, 13], see ``retalkit.geometry.mesh_space``."""
        out = np.full((len(faces.landmarks), mesh_space.COUNT), np.nan, np.float32)
        shots = self._shots(faces.frames.indexes)
        shots[~np.isfinite(faces.landmarks).all(axis=(1, 2))] = -1
        for shot in np.unique(shots[shots >= 0]):
            rows = shots == shot
            landmarks = faces.landmarks[rows]
            pose = rigid_fit(landmarks[:, STABLE], self._templates.of(int(shot))[STABLE])
            out[rows] = mesh_space.pack(pose, mesh_space.measures(to_head_frame(landmarks, pose)))
        return out

    def close(self) -> None:
        """Holds nothing that has to be freed."""

    def _shots(self, indexes: NDArray[np.int64]) -> NDArray[np.int32]:
        shots = np.full(len(indexes), -1, np.int32)
        breaks = np.flatnonzero(np.diff(indexes) != 1) + 1
        for run in np.split(np.arange(len(indexes)), breaks):
            if len(run):
                start = int(indexes[run[0]])
                shots[run] = self._analysis.tracks(start, start + len(run))
        return shots


def save(templates: Templates, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, faces=templates.faces, shots=templates.shots, groups=templates.groups)


def load(path: Path) -> Templates:
    with np.load(path, allow_pickle=False) as stored:
        return Templates(stored["faces"], stored["shots"], stored["groups"])
