"""Face crops from unedited frames and output frames, for metrics that compare the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose
from retalkit.metrics.scene import Scene, ScoredFrame

from retalkit_metrics.face_regions import bounding_window, head_pose, is_found, mean_face, translate_pose
from retalkit_metrics.sessions import frame_pair

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

MARGIN: Final = 0.35
"""Margin around the face as a fraction of its longer side. The margin prevents crop borders from affecting the metrics.
"""


@dataclass(frozen=True, slots=True)
class FacePair:
    """Face crops from one frame. Pixel coordinates are relative to the crops."""

    original: Image
    output: Image
    """Crop from the output frame. Both crops are RGB uint8 [h, w, 3]."""
    landmarks: Float
    """Landmarks in the original frame, float32 [478, 3]."""
    output_landmarks: Float | None
    """Landmarks in the output frame, float32 [478, 3], or None if no face was detected."""
    pose: HeadPose
    """Head pose in the original frame (T = 1)."""


class FacePairs:
    """Face cropper for unedited frames and output frames.

    Cropping makes the metrics several times faster without changing their values.
    """

    def __init__(self, scene: Scene) -> None:
        analysis = scene.original_analysis
        self.template: Float | None = mean_face(analysis) if scene.original and analysis else None
        """Mean face of the unedited clip in the head frame, float32 [478, 3], or None if the clip contains no face."""
        self._track: int | None = None

    def is_new_track(self, frame: ScoredFrame) -> bool:
        """Return whether the frame belongs to a different track than the frame of the previous call.

        Call this method once per frame.
        """
        previous, self._track = self._track, frame.shot
        return previous != frame.shot

    def pair(self, frame: ScoredFrame) -> FacePair | None:
        """Return the face crops for one frame, or None if the unedited frame contains no face.

        Raises InputError if the frames differ in size.
        """
        if self.template is None:
            return None
        original, output = frame_pair(frame)
        if not is_found(frame.original_landmarks):
            return None
        output_landmarks = frame.landmarks if is_found(frame.landmarks) else None
        faces = [frame.original_landmarks, *([] if output_landmarks is None else [output_landmarks])]
        crop = bounding_window(np.concatenate([face[: mesh478.MESH_COUNT] for face in faces]), output.shape, MARGIN)
        if crop is None:
            return None
        left, top = crop[1].start, crop[0].start
        shift = np.array([left, top, 0], np.float32)
        return FacePair(
            original=np.ascontiguousarray(original[crop]),
            output=np.ascontiguousarray(output[crop]),
            landmarks=frame.original_landmarks - shift,
            output_landmarks=None if output_landmarks is None else output_landmarks - shift,
            pose=translate_pose(head_pose(frame.original_landmarks, self.template), left, top),
        )
