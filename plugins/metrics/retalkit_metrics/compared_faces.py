"""The face in the unedited frame and in the video's, cut out of both, for meters that compare the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose
from retalkit.metrics.scene import Scene, ScoredFrame

from retalkit_metrics.face_regions import is_found, moved, pose_of, template_of, window
from retalkit_metrics.sessions import frame_pair

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

MARGIN: Final = 0.35
"""Of the face's longer side: what is kept around it, so that no measure feels where the picture was cut."""


@dataclass(frozen=True, slots=True)
class FacePair:
    """One frame's face; pixels count from the cut-out's first one."""

    original: Image
    output: Image
    """RGB uint8 [h, w, 3] both."""
    landmarks: Float
    """float32 [478, 3] of the original."""
    output_landmarks: Float | None
    """float32 [478, 3] of the output; None where no face was found in it."""
    pose: HeadPose
    """Length 1, of the original."""


class FacePairs:
    """Cuts faces out: measures of whole frames would take several times as long and say the same."""

    def __init__(self, scene: Scene) -> None:
        analysis = scene.original_analysis
        self.template: Float | None = template_of(analysis) if scene.original and analysis else None
        """The person of the unedited clip in the head frame, float32 [478, 3]; None where there is none."""
        self._shot: int | None = None

    def starts_anew(self, frame: ScoredFrame) -> bool:
        """Whether the frame does not continue the one asked about before. Ask once for each frame."""
        last, self._shot = self._shot, frame.shot
        return last != frame.shot

    def pair(self, frame: ScoredFrame) -> FacePair | None:
        """The face of one frame, or None where the unedited frame shows none.

        Raises InputError where the frames differ in size.
        """
        if self.template is None:
            return None
        before, after = frame_pair(frame)
        if not is_found(frame.original_landmarks):
            return None
        shown = frame.landmarks if is_found(frame.landmarks) else None
        faces = [frame.original_landmarks] if shown is None else [frame.original_landmarks, shown]
        place = window(np.concatenate([face[: mesh478.MESH_COUNT] for face in faces]), after.shape, MARGIN)
        if place is None:
            return None
        left, top = place[1].start, place[0].start
        shift = np.array([left, top, 0], np.float32)
        return FacePair(
            original=np.ascontiguousarray(before[place]),
            output=np.ascontiguousarray(after[place]),
            landmarks=frame.original_landmarks - shift,
            output_landmarks=None if shown is None else shown - shift,
            pose=moved(pose_of(frame.original_landmarks, self.template), left, top),
        )
