"""Image rectangles and masks derived from face mesh landmarks, and the mean face in the head frame."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478
from retalkit.geometry.pose import HeadPose, person_template, rigid_fit
from retalkit.stages import Analysis

Float = NDArray[np.float32]
Image = NDArray[np.uint8]
Window = tuple[slice, slice]
"""Row slice and column slice that select an image rectangle."""

_ROWS: Final = 1024
_SAMPLES: Final = 256
"""Maximum number of frames from which the mean face is computed."""


def is_found(landmarks: Float) -> bool:
    """Return whether a face was detected, which is the case if all values of ``landmarks`` [N, 3] are finite."""
    return bool(np.isfinite(landmarks).all())


def bounding_window(points: Float, shape: tuple[int, ...], margin: float = 0.0) -> Window | None:
    """Return the bounding rectangle of points [N, 2 or 3] in pixels, or None if the rectangle is empty.

    The rectangle is extended on each side by ``margin`` times its longer side and clipped to the frame.
    """
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    border = margin * float((high - low).max())
    left, top = np.maximum(np.floor(low - border), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + border) + 1, [shape[1], shape[0]]).astype(int)
    return (slice(int(top), int(bottom)), slice(int(left), int(right))) if left < right and top < bottom else None


def outside_face(faces: list[Float], shape: tuple[int, ...], enlarged: float) -> Image:
    """Return a mask, uint8 [H, W]: 0 inside the convex hull of any face, scaled by ``enlarged``, and 255 outside.

    ``faces``: landmarks [478, 3] in pixels. Faces with NaN landmarks are ignored.
    """
    mask = np.full(shape[:2], 255, np.uint8)
    found = [face[: mesh478.MESH_COUNT, :2] for face in faces if is_found(face)]
    if found:
        points = np.concatenate(found)
        centre = (points.min(0) + points.max(0)) / 2
        hull = cv2.convexHull(np.round(centre + (points - centre) * enlarged).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, [0.0])
    return mask


def mean_face(analysis: Analysis) -> Float | None:
    """Return the mean face in the head frame, float32 [478, 3], or None if the clip contains no face.

    The mean is computed from frames that are distributed across the clip.
    """
    count = analysis.source.info.frame_count
    chunks: list[Float] = []
    step = max(1, -(-count // _SAMPLES))
    for first in range(0, count, _ROWS * step):
        rows = analysis.landmarks(first, min(first + _ROWS * step, count))[::step]
        chunks.append(rows[np.isfinite(rows).all(axis=(1, 2))])
    found = np.concatenate(chunks)
    return person_template(found) if len(found) else None


def head_pose(landmarks: Float, template: Float) -> HeadPose:
    """Return the head pose (T = 1) fitted to ``landmarks`` [478, 3] in pixels."""
    stable = list(mesh478.STABLE)
    return rigid_fit(landmarks[None, stable], template[stable])


def translate_pose(pose: HeadPose, left: int, top: int) -> HeadPose:
    """Return ``pose`` relative to a crop with the origin (``left``, ``top``)."""
    return HeadPose(pose.scale, pose.rotation, pose.translation - np.array([left, top, 0], np.float32))
