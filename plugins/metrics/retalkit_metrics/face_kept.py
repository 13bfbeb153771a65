"""The metric ``face``: whether the face is still there.

Metrics that look at the face see only frames in which it is found, so that a method that destroys the face in the hard
frames would be scored on the easy ones. This one counts.
"""

from __future__ import annotations

from retalkit.metrics import Scores
from retalkit.metrics.scene import MetricSession, Scene, faces_kept

from retalkit_metrics.sessions import WithoutFrames


class FaceKeptMetric:
    """Reads where faces were found; looks at no frame."""

    def open(self, scene: Scene) -> MetricSession:
        return WithoutFrames(lambda: kept_scores(scene))


def kept_scores(scene: Scene) -> Scores:
    """The measure of ``face``; NaN where the unedited clip shows no face."""
    there, kept = faces_kept(scene)
    return {"face_kept": float(kept.sum() / there.sum()) if there.any() else float("nan")}
