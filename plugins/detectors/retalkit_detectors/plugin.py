"""Specs of the bundled detectors, recognisers and checkpoints. The module does not import a face library."""

from __future__ import annotations

from collections.abc import Iterable

from retalkit.plugins import RecogniserSpec, StageSpec, hookimpl
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
            version="2",
            config=MediaPipeConfig,
            gives=frozenset({"landmarks:mesh478"}),
            requires=("mediapipe", "cv2"),
            parallel=True,
        ),
        *face_alignment.STAGES,
    ]


@hookimpl
def retalkit_checkpoints() -> Iterable[Checkpoint]:
    """Return the checkpoints of the bundled detectors' networks."""
    return face_alignment.CHECKPOINTS


@hookimpl
def retalkit_recognisers() -> Iterable[RecogniserSpec]:
    """Return the recogniser that needs no network, and the recogniser with dlib's network."""
    return [
        RecogniserSpec(
            name="appearance",
            summary="Face shape and the colours of skin, hair and clothes; works within one video",
            build="retalkit_detectors.recognition.appearance:AppearanceRecogniser",
            licence="Apache-2.0",
            rank=10,
            requires=("cv2",),
        ),
        RecogniserSpec(
            name="dlib",
            summary="Face recognition network of dlib (ResNet-29, 128 values); the package contains the network",
            build="retalkit_detectors.recognition.dlib_network:DlibRecogniser",
            licence="BSL-1.0 (dlib); CC0-1.0 (weights)",
            rank=20,
            requires=("dlib", "face_recognition_models"),
            install="retalkit[identity]",
        ),
    ]
