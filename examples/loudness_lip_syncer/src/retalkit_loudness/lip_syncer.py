"""Lip syncer ``loudness``, which opens the mouth in proportion to speech loudness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import FrameResult, LipSyncClip, PassedThrough, Runtime, StageContext, SyncBatch

from retalkit_loudness.face import MouthRange, eye_distance, yaw_degrees
from retalkit_loudness.loudness import opening_at, opening_from_loudness
from retalkit_loudness.plugin import LoudnessLipSyncerConfig
from retalkit_loudness.rendering import render_mouth

Float = NDArray[np.float32]

YAW_RANGE = (30.0, 42.0)
"""Head yaw in degrees at which the edit starts to fade out, and yaw at which the edit has faded out completely. At
larger yaw, the far mouth corner is too close to the face outline.
"""
NO_FACE, LARGE_YAW = "no face", "large yaw"


class LoudnessLipSyncer:
    """Lip syncer stage ``loudness``. It is created once per process and stores no clip-specific state."""

    def __init__(self, config: LoudnessLipSyncerConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: LipSyncClip, context: StageContext) -> Session:
        """Compute the speech loudness and the clip's range of mouth opening, and return a session."""
        return Session(
            MouthRange.measure(clip.analysis), opening_from_loudness(clip.speech, self._config), self._config
        )


class Session:
    """Session that lip-syncs one clip.

    Frames are processed independently, so the batch size does not affect the results.
    """

    def __init__(self, mouth: MouthRange, openings: Float, config: LoudnessLipSyncerConfig) -> None:
        self._mouth = mouth
        self._openings = openings
        self._config = config

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """Return an edit for each frame, or the reason why the frame is left unedited."""
        landmarks = batch.faces.landmarks
        gaps = self._mouth.gap(self._config.opening * opening_at(self._openings, batch.times + self._config.lead))
        frames = zip(
            batch.faces.frames.images,
            landmarks,
            eye_distance(landmarks),
            yaw_degrees(landmarks),
            gaps,
            strict=True,
        )
        return [_frame_result(*frame) for frame in frames]

    def close(self) -> None:
        """Do nothing, because the session holds no resources that must be released."""


def _frame_result(image: NDArray[np.uint8], landmarks: Float, eyes: float, yaw: float, gap: float) -> FrameResult:
    if not np.isfinite(landmarks).all():
        return PassedThrough(NO_FACE)
    confidence = float(np.clip((YAW_RANGE[1] - yaw) / (YAW_RANGE[1] - YAW_RANGE[0]), 0, 1))
    if confidence < 0.02:
        return PassedThrough(LARGE_YAW)
    return render_mouth(image, landmarks, float(eyes), float(gap), confidence, LARGE_YAW if confidence < 1 else "")
