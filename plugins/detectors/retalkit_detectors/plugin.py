"""Stage and checkpoint specs of the bundled detectors. The module does not import a face library."""

from __future__ import annotations

from collections.abc import Iterable

from retalkit.plugins import StageSpec, hookimpl
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint

import retalkit_detectors.face_alignment.interface as face_alignment
from retalkit_detectors.mediapipe_options import MediaPipeConfig


@hookimpl
def retalkit_stages() -> Iterable[StageSpec]:
    return [
        StageSpec(
            api=2,
            kind=StageKind.DETECTOR,
            name="mediapipe",
            summary="MediaPipe face mesh with 478 3D landmarks, including the irises; the package contains the models",
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
    """Return the checkpoints of the bundled detectors' networks."""
    return face_alignment.CHECKPOINTS
