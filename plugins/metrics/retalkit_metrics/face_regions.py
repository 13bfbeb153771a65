"""Where the face is in a frame: rectangles and masks from mesh landmarks, and the person in the head frame."""

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
"""Rows and columns."""

_ROWS: Final = 1024
_SAMPLES: Final = 256
"""Frames that are enough for the mean face of a person."""


def is_found(landmarks: Float) -> bool:
    """Whether landmarks [N, 3] are those of a face, not NaN."""
    return bool(np.isfinite(landmarks).all())


def window(points: Float, shape: tuple[int, ...], margin: float = 0.0) -> Window | None:
    """The rectangle around points [N, 2 or 3] in pixels, ``margin`` times its longer side larger on each side, cut off
    at the frame's borders; None where nothing is left."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    more = margin * float((high - low).max())
    left, top = np.maximum(np.floor(low - more), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + more) + 1, [shape[1], shape[0]]).astype(int)
    return (slice(int(top), int(bottom)), slice(int(left), int(right))) if left < right and top < bottom else None


def outside_face(faces: list[Float], shape: tuple[int, ...], enlarged: float) -> Image:
    """uint8 [H, W]: 255 outside the hull of all ``faces`` (landmarks [478, 3] in pixels; those that are NaN are left
    out) enlarged about its middle, 0 inside."""
    mask = np.full(shape[:2], 255, np.uint8)
    found = [face[: mesh478.MESH_COUNT, :2] for face in faces if is_found(face)]
    if found:
        points = np.concatenate(found)
        middle = (points.min(0) + points.max(0)) / 2
        hull = cv2.convexHull(np.round(middle + (points - middle) * enlarged).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, [0.0])
    return mask


def template_of(analysis: Analysis) -> Float | None:
    """The person in the head frame, float32 [478, 3], from frames spread over the clip; None where no face is."""
    count = analysis.source.info.frame_count
    kept: list[Float] = []
    step = max(1, -(-count // _SAMPLES))
    for first in range(0, count, _ROWS * step):
        rows = analysis.landmarks(first, min(first + _ROWS * step, count))[::step]
        kept.append(rows[np.isfinite(rows).all(axis=(1, 2))])
    good = np.concatenate(kept)
    return person_template(good) if len(good) else None


def pose_of(landmarks: Float, template: Float) -> HeadPose:
    """Pose (length 1) of the head with landmarks [478, 3] in pixels."""
    stable = list(mesh478.STABLE)
    return rigid_fit(landmarks[None, stable], template[stable])


def moved(pose: HeadPose, left: int, top: int) -> HeadPose:
    """The same pose in a picture whose first pixel was at (left, top)."""
    return HeadPose(pose.scale, pose.rotation, pose.translation - np.array([left, top, 0], np.float32))
