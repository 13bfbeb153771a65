"""The metric ``face``: the share of frames in which the face is still detected.

The other face metrics only score frames with a detected face. A method that destroys the face in difficult frames would
therefore be scored on easy frames only. This metric counts the lost faces.
"""

from __future__ import annotations

from retalkit.metrics import Scores
from retalkit.metrics.scene import MetricSession, Scene, faces_kept

from retalkit_metrics.sessions import FramelessSession


class FacePresenceMetric:
    """The ``face`` metric. It uses only the face tracks and no frames."""

    def open(self, scene: Scene) -> MetricSession:
        return FramelessSession(lambda: presence_scores(scene))


def presence_scores(scene: Scene) -> Scores:
    """Return the measure of ``face``, or NaN if the unedited clip shows no face."""
    expected, kept = faces_kept(scene)
    return {"face_kept": float(kept.sum() / expected.sum()) if expected.any() else float("nan")}
