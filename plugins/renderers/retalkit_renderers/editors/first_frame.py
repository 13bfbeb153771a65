"""Expression editor ``first_frame``, which uses the clip's first face for every frame.

Third-party reimplementations of VideoReTalking use this simplification.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import HeadPose, to_head_frame, to_pixels
from retalkit.stages import Analysis, ExpressionEditClip, FaceBatch, ReferenceBatch, Runtime, StageContext

from retalkit_renderers.editors.config import FirstFrameConfig
from retalkit_renderers.editors.mouth_shapes import transfer_lower_face
from retalkit_renderers.editors.track_shapes import first_face_frame, head_shapes
from retalkit_renderers.mesh_warp import fit_mouth_weights

Float = NDArray[np.float32]

FEATHER = 0.03
"""Blur of the face outline when the first face is pasted into a frame, in face heights."""


def plane_matrix(pose: HeadPose, depth: float) -> NDArray[np.float64]:
    """Return the matrix from the head-frame plane z = ``depth`` (x, y, 1) to pixels, float64 [3, 3].

    ``pose``: head pose (T = 1).
    """
    corners = np.array([[0, 0, depth], [1, 0, depth], [0, 1, depth]], np.float32)
    origin, right, down = to_pixels(corners, pose)[0, :, :2].astype(np.float64)
    return np.vstack([np.column_stack([right - origin, down - origin, origin]), [0, 0, 1]])


class FirstFrameSession:
    """Editor session that warps the first face to the pose of every frame."""

    def __init__(self, analysis: Analysis, context: StageContext) -> None:
        self._images_requested = "reference:image" in context.requested_ports
        self._index = first_face_frame(analysis)
        self._shape: Float | None = None
        self._image: NDArray[np.uint8] | None = None
        if self._index is None:
            return
        shape = head_shapes(analysis, self._index, self._index + 1)[0]
        self._shape, self._weights = shape, fit_mouth_weights(shape)
        if self._images_requested:
            self._pose = mesh_space.unpack_pose(analysis.coefficients(self._index, self._index + 1))
            self._landmarks = analysis.landmarks(self._index, self._index + 1)[0]
            self._image = next(iter(analysis.source.read([self._index])))[1]

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """Return landmarks with the first frame's lower face and, if images are requested, whole frames."""
        if self._shape is None:
            images = faces.frames.images.copy() if self._images_requested else None
            return ReferenceBatch(np.full_like(faces.landmarks, np.nan), images)
        pose = mesh_space.unpack_pose(faces.coefficients)
        landmarks = transfer_lower_face(self._shape, to_head_frame(faces.landmarks, pose), pose, self._weights)
        return ReferenceBatch(landmarks, self._images(faces, pose) if self._images_requested else None)

    def _images(self, faces: FaceBatch, pose: HeadPose) -> NDArray[np.uint8]:
        assert self._shape is not None and self._image is not None
        depth = float(self._shape[13, 2])
        first = plane_matrix(self._pose, depth)
        images = faces.frames.images.copy()
        high, wide = images.shape[1:3]
        oval = self._face_mask(self._image.shape)
        for row in range(len(images)):
            if not np.isfinite(pose.scale[row]):
                continue
            matrix = (plane_matrix(pose[row : row + 1], depth) @ np.linalg.inv(first))[:2]
            face = cv2.warpAffine(self._image, matrix, (wide, high), flags=cv2.INTER_LINEAR)
            mask = cv2.warpAffine(oval, matrix, (wide, high), flags=cv2.INTER_LINEAR)[..., None]
            images[row] = np.round(images[row] * (1 - mask) + face * mask).astype(np.uint8)
        return images

    def _face_mask(self, shape: tuple[int, ...]) -> Float:
        mask = np.zeros(shape[:2], np.uint8)
        outline = np.round(self._landmarks[list(mesh478.FACE_OVAL), :2] * 16).astype(np.int32)
        cv2.fillPoly(mask, [outline], (255.0,), cv2.LINE_AA, 4)
        height = float(np.linalg.norm(self._landmarks[mesh478.CHIN, :2] - self._landmarks[mesh478.FOREHEAD, :2]))
        shrink = max(1, int(FEATHER * height))
        mask = cv2.erode(mask, np.ones((2 * shrink + 1, 2 * shrink + 1), np.uint8))
        blurred = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), FEATHER * height / 2 + 0.1)
        return np.asarray(blurred, np.float32)

    def close(self) -> None:
        self._image = None


class FirstFrameEditor:
    """Expression editor that requires ``landmarks:mesh478`` and ``coefficients:mesh``.

    The editor provides ``reference:landmarks`` and, if requested, ``reference:image``.
    """

    def __init__(self, config: FirstFrameConfig, runtime: Runtime) -> None:
        self._config = config

    def open(self, clip: ExpressionEditClip, context: StageContext) -> FirstFrameSession:
        """Open a session with the first face of the clip. If no frame contains a face, all references are NaN."""
        return FirstFrameSession(clip.analysis, context)
