"""Metric ``face``, which is the share of frames in which the face is still detected.

The other face metrics evaluate only frames with a detected face. A method that destroys the face in difficult frames
would therefore be evaluated only on easy frames. This metric therefore measures how often the face is lost.
"""

from __future__ import annotations

from retalkit.metrics import Scores
from retalkit.metrics.scene import MetricSession, Scene, faces_kept

from retalkit_metrics.sessions import FramelessSession


class FacePresenceMetric:
    """Metric ``face``, which requires only the face tracks and no frames."""

    def open(self, scene: Scene) -> MetricSession:
        return FramelessSession(lambda: presence_scores(scene))


def presence_scores(scene: Scene) -> Scores:
    """Return the measure of ``face``. The value is NaN if the unedited clip contains no face."""
    expected, kept = faces_kept(scene)
    return {"face_kept": float(kept.sum() / expected.sum()) if expected.any() else float("nan")}
