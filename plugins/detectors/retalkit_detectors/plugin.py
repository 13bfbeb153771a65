"""Specs of the bundled detectors. The module does not import a face library."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint

import retalkit_detectors.face_alignment.interface as face_alignment


class MediaPipeConfig(StageConfig):
    """Options of the detector ``mediapipe``."""

    max_faces: int = Field(default=4, ge=1, le=16)
    """Maximum number of faces tracked at a time."""
    min_confidence: float = Field(default=0.3, ge=0.0, le=1.0)
    """Score of the box detector above which a mesh is fitted."""
    min_presence: float = Field(default=0.5, ge=0.0, le=1.0)
    """Minimum face presence score of the mesh network."""
    detect_every: int = Field(default=5, ge=1)
    """Frames between two searches for further faces while a face is tracked."""


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    return [
        StageSpec(
            api=2,
            kind=StageKind.DETECTOR,
            name="mediapipe",
            summary="MediaPipe face mesh with irises: 478 points in 3D, models included in the wheel",
            build="retalkit_detectors.mediapipe_mesh:MediaPipeDetector",
            licence="Apache-2.0",
            config=MediaPipeConfig,
            gives=frozenset({"landmarks:mesh478"}),
            requires=("mediapipe", "cv2"),
        ),
        *face_alignment.STAGES,
    ]


@hookimpl
def retalkit_checkpoints() -> Iterable[Checkpoint]:
    """Return the checkpoints of the published networks."""
    return face_alignment.CHECKPOINTS
