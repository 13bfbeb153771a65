"""Options of the detector ``mediapipe``. The module does not import a face library."""

from __future__ import annotations

from pydantic import Field
from retalkit.plugins import StageConfig


class MediaPipeConfig(StageConfig):
    """Options of the detector ``mediapipe``."""

    max_faces: int = Field(default=4, ge=1, le=16)
    """Maximum number of faces tracked at a time."""
    min_confidence: float = Field(default=0.3, ge=0.0, le=1.0)
    """Score of the box detector above which a mesh is fitted."""
    min_presence: float = Field(default=0.5, ge=0.0, le=1.0)
    """Minimum face presence score of the mesh network."""
    detect_every: int = Field(default=5, ge=1)
    """Number of frames between two searches for additional faces while a face is tracked."""
