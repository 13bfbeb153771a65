"""Metric ``steadiness``, which measures flicker, a seam, and changes outside the face that the edit adds to the clip.

The face region is the union of the convex hulls of the face mesh in both frames, enlarged by a quarter. It therefore
includes the moving jaw, a beard and the border of a pasted face. If neither frame contains a face, the face region is
empty.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from retalkit.metrics import Scores
from retalkit.metrics.scene import MetricSession, Scene, ScoredFrame

from retalkit_metrics.face_pairs import FacePairs
from retalkit_metrics.face_regions import outside_face
from retalkit_metrics.meters.flicker import FlickerMeter
from retalkit_metrics.meters.image_quality import ImageQualityMeter
from retalkit_metrics.meters.patches import Mean
from retalkit_metrics.sessions import frame_pair

ENLARGED: Final = 1.25
"""Scale factor of the region that an edit may change, relative to the convex hull of the face mesh."""
_NAN = float("nan")


class TemporalStabilityMetric:
    """Metric ``steadiness``, which evaluates every frame."""

    def open(self, scene: Scene) -> MetricSession:
        return _Session(scene)


class _Session:
    def __init__(self, scene: Scene) -> None:
        self._faces = FacePairs(scene)
        template = self._faces.template
        self._quality = None if template is None else ImageQualityMeter(template)
        # Lip motion that is caused by different speech is not flicker. The lips are excluded in every scene, so that
        # scenes are comparable.
        self._flicker = None if template is None else FlickerMeter(template, mouth=False)
        self._outside = Mean()

    def add(self, frame: ScoredFrame) -> None:
        self._add_outside(frame)
        pair = self._faces.pair(frame)
        cut = self._faces.is_new_track(frame) or pair is None
        if self._quality is None or self._flicker is None:
            return
        if cut:
            self._quality.cut()
            self._flicker.cut()
        if pair is not None:
            self._quality.add(pair.original, pair.output, pair.landmarks, pair.pose, pair.output_landmarks)
            self._flicker.add(pair.original, pair.output, pair.pose)

    def _add_outside(self, frame: ScoredFrame) -> None:
        original, image = frame_pair(frame)
        mask = outside_face([frame.original_landmarks, frame.landmarks], image.shape, ENLARGED)
        pixels = int(np.count_nonzero(mask))
        if pixels:
            difference = cv2.mean(cv2.absdiff(original, image), mask)[:3]
            self._outside.add(float(np.mean(difference)), float(pixels))

    def result(self) -> Scores:
        quality = None if self._quality is None else self._quality.result()
        flicker = None if self._flicker is None else self._flicker.result()
        return {
            "ring_flicker": _NAN if quality is None else quality.ring_flicker,
            "seam_energy": _NAN if quality is None else quality.seam_energy,
            "flicker_coarse": _NAN if flicker is None else flicker.added_coarse,
            "flicker_fine": _NAN if flicker is None else flicker.added_fine,
            "outside_change": self._outside.value,
        }
