"""Options of the detector ``mediapipe``. The module does not import MediaPipe or any other face library."""

from __future__ import annotations

from pydantic import Field
from retalkit.plugins import StageConfig


class MediaPipeConfig(StageConfig):
    """Options of the detector ``mediapipe``."""

    max_faces: int = Field(default=4, ge=1, le=16)
    """Maximum number of simultaneously tracked faces."""
    min_confidence: float = Field(default=0.3, ge=0.0, le=1.0)
    """Box detector score that a face must exceed before the detector fits a mesh."""
    min_presence: float = Field(default=0.5, ge=0.0, le=1.0)
    """Minimum face presence score from the mesh network."""
    detect_every: int = Field(default=5, ge=1)
    """Interval in frames between searches for additional faces while the detector tracks at least one face."""
