"""The lip syncer ``loudness``: the louder the speech, the further the mouth opens."""

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
"""Yaw in degrees at which the edit starts to fade, and at which the frame stays unchanged: there the far mouth corner
is too close to the outline of the face."""
NO_FACE, LARGE_YAW = "no face", "large yaw"


class LoudnessLipSyncer:
    """Built once per process. Holds no state of a clip."""

    def __init__(self, config: LoudnessLipSyncerConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: LipSyncClip, context: StageContext) -> Session:
        """Measure the loudness of the whole speech and the person's mouth in the whole clip."""
        return Session(
            MouthRange.measure(clip.analysis), opening_from_loudness(clip.speech, self._config), self._config
        )


class Session:
    """Lip-syncs the batches of one clip. Every frame is independent, so batches do not matter."""

    def __init__(self, mouth: MouthRange, openings: Float, config: LoudnessLipSyncerConfig) -> None:
        self._mouth = mouth
        self._openings = openings
        self._config = config

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """Return new pixels for each frame, or why it stays unchanged."""
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
        """Release what ``open`` acquired: nothing."""


def _frame_result(image: NDArray[np.uint8], landmarks: Float, eyes: float, yaw: float, gap: float) -> FrameResult:
    if not np.isfinite(landmarks).all():
        return PassedThrough(NO_FACE)
    confidence = float(np.clip((YAW_RANGE[1] - yaw) / (YAW_RANGE[1] - YAW_RANGE[0]), 0, 1))
    if confidence < 0.02:
        return PassedThrough(LARGE_YAW)
    return render_mouth(image, landmarks, float(eyes), float(gap), confidence, LARGE_YAW if confidence < 1 else "")
