"""Checks of detected faces against the image.

The landmarks of a face are well-formed even if the mouth is covered. Frames in which the image does not show the mouth
are not edited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.face_tracker import SAME_PERSON, intersection_over_union
from retalkit.geometry.mouth_visibility import shows_mouth
from retalkit.geometry.schemes import COUNTS, IBUG68, convert, convertible
from retalkit.stages import Face, FrameBatch

MOUTH_NOT_VISIBLE: Final = "mouth not visible"
_INTERVAL: Final = 15
"""Maximum number of frames between two checks of one face."""
_CHANGE: Final = 0.2
"""Relative change of the skin colour around the mouth since the last check, above which a face is checked again."""


@dataclass(frozen=True, slots=True)
class _Checked:
    box: NDArray[np.float32]
    colour: NDArray[np.float64]
    """Mean colour of a few pixels around the lips at the last check, float64 [3]."""
    age: int
    """Number of frames since the last check."""
    shown: bool


class FaceChecker:
    """Checks whether the mouths of a clip's faces are visible. Frames must be passed in order.

    To save time, a face is checked in every 15th frame and whenever the colour around its mouth changes.
    """

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme if IBUG68 in convertible(scheme) else ""
        self._previous: list[_Checked] = []

    def check(self, frames: FrameBatch, row: int, faces: Sequence[Face]) -> list[Face]:
        """Return the faces of the next frame, which is in ``row`` of the batch. Faces without a visible mouth have a
        reason."""
        if not self._scheme:
            return list(faces)
        checked: list[_Checked] = []
        results: list[Face] = []
        for face in faces:
            usable = len(face.landmarks) == COUNTS[self._scheme] and np.isfinite(face.landmarks).all()
            if face.reason or not usable:
                results.append(face)
                continue
            state = self._state(frames, row, face)
            checked.append(state)
            results.append(face if state.shown else replace(face, reason=MOUTH_NOT_VISIBLE))
        self._previous = checked
        return results

    def _state(self, frames: FrameBatch, row: int, face: Face) -> _Checked:
        points = convert(face.landmarks, self._scheme, IBUG68)[:, :2]
        colour = _mouth_colour(frames, row, points)
        near = [each for each in self._previous if intersection_over_union(each.box, face.box) >= SAME_PERSON]
        if near and near[0].age + 1 < _INTERVAL:
            change = np.abs(colour - near[0].colour).max() / max(float(near[0].colour.mean()), 8.0)
            if change <= _CHANGE:
                return _Checked(face.box, near[0].colour, near[0].age + 1, near[0].shown)
        return _Checked(face.box, colour, 0, shows_mouth(*_crop_around(frames, row, points)))


def _crop_around(
    frames: FrameBatch, row: int, points: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the part of the frame around the points [N, 2], and the points in pixels of this part."""
    width, height = frames.size
    left, top = (int(each) for each in np.clip(np.floor(points.min(0)), 0, (width - 1, height - 1)))
    last = np.clip(np.ceil(points.max(0)) + 1, (left + 1, top + 1), (width, height))
    right, bottom = (int(each) for each in last)
    crop = frames.crop(row, left, top, right - left, bottom - top)
    return crop, points - np.array([left, top], np.float32)


_PLACES: Final = (((33, 51), 0.5), ((57, 8), 0.5), ((48, 5), 0.4), ((54, 11), 0.4), ((59, 7), 0.4), ((55, 9), 0.4))
"""Pairs of ibug68 points and the weight of the second point."""
_PAIRS: Final = np.array([pair for pair, _ in _PLACES])
_WEIGHTS: Final = np.array([(1 - weight, weight) for _, weight in _PLACES], np.float32)[..., None]


def _mouth_colour(frames: FrameBatch, row: int, points: NDArray[np.float32]) -> NDArray[np.float64]:
    width, height = frames.size
    places = (points[_PAIRS] * _WEIGHTS).sum(1)
    columns, rows = np.clip(places, 0, (width - 1, height - 1)).astype(np.intp).T
    left, top = int(columns.min()), int(rows.min())
    crop = frames.crop(row, left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)
    return crop[rows - top, columns - left].mean(0)
