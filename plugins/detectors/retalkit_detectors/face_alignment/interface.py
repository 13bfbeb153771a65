"""Options, stage spec and checkpoints of the detector ``face_alignment``. The module does not import torch."""

from __future__ import annotations

from typing import Final

from pydantic import Field
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint


class FaceAlignmentConfig(StageConfig):
    """Options of the detector ``face_alignment``."""

    longest_side: int = Field(default=640, ge=64, le=4096)
    """Longer side, in pixels, of the downscaled frame on which S3FD runs. Smaller frames are not upscaled. S3FD's time
    and memory requirements grow with the frame area. S3FD's smallest boxes are 16 pixels wide. Landmarks are always
    fitted at the frame's original resolution.
    """
    largest_side: int = Field(default=1280, ge=64, le=4096)
    """Maximum longer side, in pixels, for repeated face detection. If no face is detected, the detector doubles the
    side and runs S3FD again until this limit is reached. S3FD requires about 1.2 GB of memory at 1280 pixels. Detection
    is not repeated if the limit does not exceed ``longest_side``.
    """
    min_score: float = Field(default=0.5, ge=0.05, lt=1.0)
    """Detection score that a face must exceed. The published pipeline uses 0.5."""
    max_faces: int = Field(default=4, ge=1, le=16)
    """Maximum number of faces per frame. The detector keeps the largest faces."""
    flip: bool = False
    """Whether to add the mirrored face's heat maps to the original heat maps before computing landmarks. The option
    doubles the heat map computation time. The published pipeline does not use mirrored faces.
    """


STAGES: Final = (
    StageSpec(
        api=2,
        kind=StageKind.DETECTOR,
        name="face_alignment",
        version="2",
        summary="S3FD face boxes and 68 FAN landmarks, as in the published pipeline",
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
_LICENCE: Final = "BSD-3-Clause (code and models, as stated by their author); not applicable to the training images"

CHECKPOINTS: Final = (
    Checkpoint(
        name="s3fd",
        summary="S3FD face detector from the face-alignment library",
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
        summary="2D-FAN landmark network with four hourglasses and 68 landmarks, from the face-alignment library",
        file="2DFAN4-11f355bf06.pth.tar",
        urls=(_PUBLISHER + "2DFAN4-11f355bf06.pth.tar",),
        licence=_LICENCE,
        commercial_use=None,
        shapes="retalkit_detectors.face_alignment.networks:fan_shapes",
        size=95_641_761,
        sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
    ),
)
