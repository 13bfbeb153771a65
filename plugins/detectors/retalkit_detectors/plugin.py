"""Specs of the detectors that ship with Retalkit. Light: nothing here imports a face library."""

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
    """Faces tracked at a time."""
    min_confidence: float = Field(default=0.3, ge=0.0, le=1.0)
    """Box detector score from which on a mesh is tried."""
    min_presence: float = Field(default=0.5, ge=0.0, le=1.0)
    """Face presence that the mesh network must report."""
    detect_every: int = Field(default=5, ge=1)
    """While a face is tracked, frames between two looks for further faces."""


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    return [
        StageSpec(
            api=2,
            kind=StageKind.DETECTOR,
            name="mediapipe",
            summary="MediaPipe face mesh with irises, 478 points in 3D, models inside the wheel",
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
    """What the published networks load."""
    return face_alignment.CHECKPOINTS
