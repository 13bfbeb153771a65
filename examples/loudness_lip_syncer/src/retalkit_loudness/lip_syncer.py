"""The lip syncer ``loudness``: the louder the speech, the further the mouth opens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import (
    Analysis,
    ExpressionEditorSession,
    FrameResult,
    PassedThrough,
    Speech,
    StageContext,
    SyncBatch,
    Timeline,
)

from retalkit_loudness.drawing import draw_mouth
from retalkit_loudness.face import Mouth, eye_distance, turned_degrees
from retalkit_loudness.loudness import at_times, mouth_by_loudness
from retalkit_loudness.plugin import LoudnessLipSyncerConfig

Float = NDArray[np.float32]

TURNED = (30.0, 42.0)
"""Degrees at which the edit begins to fade and at which the frame stays as it was: the far corner of the mouth is then
too near to the outline of the face."""
NO_FACE, FAR_TURNED = "no face", "turned away"


class LoudnessLipSyncer:
    """Made once from its options; holds nothing of a clip."""

    def __init__(self, config: LoudnessLipSyncerConfig) -> None:
        self._config = config

    def open(
        self,
        analysis: Analysis,
        references: ExpressionEditorSession,
        timeline: Timeline,
        speech: Speech,
        context: StageContext,
    ) -> Session:
        """Hears the whole speech and measures the person's mouth in the whole clip."""
        return Session(Mouth.of(analysis), mouth_by_loudness(speech, self._config), self._config)


class Session:
    """Serves the batches of one clip. Each frame is made by itself, so batches change nothing."""

    def __init__(self, mouth: Mouth, loudness: Float, config: LoudnessLipSyncerConfig) -> None:
        self._mouth = mouth
        self._loudness = loudness
        self._config = config

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """For each frame new pixels, or why it stays as it is."""
        landmarks = batch.faces.landmarks
        wanted = self._mouth.gap(self._config.opening * at_times(self._loudness, batch.times + self._config.lead))
        frames = zip(
            batch.faces.frames.images,
            landmarks,
            eye_distance(landmarks),
            turned_degrees(landmarks),
            wanted,
            strict=True,
        )
        return [_one(*frame) for frame in frames]

    def close(self) -> None:
        """Frees what ``open`` took: nothing."""


def _one(image: NDArray[np.uint8], landmarks: Float, eyes: float, turned: float, gap: float) -> FrameResult:
    if not np.isfinite(landmarks).all():
        return PassedThrough(NO_FACE)
    confidence = float(np.clip((TURNED[1] - turned) / (TURNED[1] - TURNED[0]), 0, 1))
    if confidence < 0.02:
        return PassedThrough(FAR_TURNED)
    return draw_mouth(image, landmarks, float(eyes), float(gap), confidence, FAR_TURNED if confidence < 1 else "")
