"""Options, stage and checkpoints of the detector ``face_alignment``. Light: nothing here imports torch."""

from __future__ import annotations

from typing import Final

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint


class FaceAlignmentConfig(StageConfig):
    """Options of the detector ``face_alignment``."""

    longest_side: int = Field(default=640, ge=64, le=4096)
    """Faces are looked for in the frame made so small that its longer side has these many pixels (never larger than it
    is): time and memory of S3FD grow with the area. Its smallest boxes are 16 pixels wide. Landmarks always come from
    the frame at its own resolution."""
    largest_side: int = Field(default=1280, ge=64, le=4096)
    """Where no face was found, the frame is looked at again at twice the side, and so on up to this one. About 1.2 GB
    of memory at 1280. Not above ``longest_side``: one look only."""
    min_score: float = Field(default=0.5, ge=0.05, lt=1.0)
    """Score of S3FD that a face must exceed; the published pipeline takes 0.5."""
    max_faces: int = Field(default=4, ge=1, le=16)
    """Faces of a frame that get landmarks, the largest first."""
    flip: bool = False
    """Adds the heat maps of the mirrored face before the landmarks are read off. Twice the time for them; the published
    pipeline does not."""


STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.DETECTOR,
        name="face_alignment",
        summary="S3FD boxes and 68 FAN landmarks, the detector of the published pipeline",
        build="retalkit_detectors.face_alignment.detector:FaceAlignmentDetector",
        licence="Apache-2.0 AND BSD-3-Clause",
        config=FaceAlignmentConfig,
        needs=frozenset({"frames"}),
        gives=frozenset({"landmarks:ibug68"}),
        requires=("torch", "face_alignment", "cv2"),
        install="retalkit[paper]",
        checkpoints=("s3fd", "fan"),
    ),
)

_PUBLISHER: Final = "https://www.adrianbulat.com/downloads/python-fan/"
_LICENCE: Final = "BSD-3-Clause, as their author says of code and models; he does not own the training images"

CHECKPOINTS: Final = (
    Checkpoint(
        name="s3fd",
        summary="S3FD, the face detector of the face-alignment library",
        file="s3fd-619a316812.pth",
        urls=(_PUBLISHER + "s3fd-619a316812.pth",),
        licence=_LICENCE,
        commercial_use=None,
        shapes="retalkit_detectors.face_alignment.networks:s3fd_shapes",
        size=89_843_225,
        sha256="619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
    ),
    Checkpoint(
        name="fan",
        summary="2D-FAN of four hourglasses, the 68 landmarks of the face-alignment library",
        file="2DFAN4-11f355bf06.pth.tar",
        urls=(_PUBLISHER + "2DFAN4-11f355bf06.pth.tar",),
        licence=_LICENCE,
        commercial_use=None,
        shapes="retalkit_detectors.face_alignment.networks:fan_shapes",
        size=95_641_761,
        sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
    ),
)
