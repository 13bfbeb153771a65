"""Checks for detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.schemes import COUNTS
from retalkit.stages import DetectionClip, Face
from retalkit.testing.checks.subject import FrameSubject, Indexes
from retalkit.testing.checks.values import Row, array_error, copy_row, range_error
from retalkit.testing.examination import Examination, StopCheckError
from retalkit.testing.fixtures.clips import Clip

_BOX = "Face.box must be float32 [4]: left, top, right and bottom in pixels."
_LANDMARKS = "Face.landmarks must be float32 [N, 3] in pixels, in the landmark scheme declared in StageSpec.gives."
_SCORE = "Face.score must be a number in [0, 1]."
_SMALLEST: Final = 2.0


class DetectorSubject(FrameSubject):
    """Test subject that calls a detector's ``detect()`` method."""

    serial = True
    method = "detect"
    contract = "detect() must return one list of faces per frame, which is empty for a frame without a face."

    def __init__(self, exam: Examination, stage: Any, scheme: str) -> None:
        super().__init__(exam, stage)
        self._scheme = scheme
        self._faces = 0

    def open_session(self, clip: Clip, cache: str) -> Any:
        return self.stage.open(DetectionClip(source=clip.source.info), self.context(cache))

    def request(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        frames = clip.frames(numbers)
        result = self.call_method(check, clip, numbers, session, frames)
        if not isinstance(result, list) or not all(isinstance(faces, list) for faces in cast("list[object]", result)):
            self.exam.problem(check, f"{self.call} did not return a list of lists of faces", self.contract)
            raise StopCheckError
        results = cast("list[list[object]]", result)
        if len(results) != len(numbers):
            self.exam.problem(
                check, f"{self.call} returned {len(results)} results for {len(numbers)} frames", self.contract
            )
            raise StopCheckError
        return [self._row(check, faces, clip) for faces in results]

    def finish(self) -> None:
        if not self._faces:
            self.exam.skip("faces", "the detector found no face in the kit's clip, so no face was validated")

    def _row(self, check: str, faces: Sequence[object], clip: Clip) -> Row:
        row: dict[str, Any] = {"number of faces": len(faces)}
        for number, face in enumerate(faces):
            if not isinstance(face, Face):
                self.exam.problem(
                    check,
                    f"{self.call} returned an element of type {type(face).__name__}, expected Face",
                    self.contract,
                )
                raise StopCheckError
            self._faces += 1
            self._check_face(check, face, clip)
            row |= {f"{name} {number}": getattr(face, name) for name in ("box", "landmarks", "score")}
        return copy_row(row)

    def _check_face(self, check: str, face: Face, clip: Clip) -> None:
        box: object = face.box
        points: object = face.landmarks
        if wrong := array_error(box, np.float32, (4,), "[4]"):
            self.exam.problem(check, f"box {wrong}", _BOX)
        else:
            self._check_box(check, face.box, clip)
        count = COUNTS.get(self._scheme)
        if wrong := array_error(points, np.float32, (count, 3), "[N, 3]"):
            self.exam.problem(check, f"landmarks ({self._scheme or 'no scheme'}) {wrong}", _LANDMARKS)
        elif not np.isfinite(face.landmarks).all():
            self.exam.problem(check, "the landmarks of a detected face contain NaN or infinite values", _LANDMARKS)
        elif float(np.ptp(face.landmarks[:, :2], axis=0).max()) < _SMALLEST < clip.source.info.width:
            self.exam.problem(
                check,
                "all landmarks lie within 2 pixels of each other: convert fractions of the frame size to pixels",
                _LANDMARKS,
            )
        if (wrong := _number_error(face.score)) or (wrong := range_error(np.asarray(face.score, np.float64), 0.0, 1.0)):
            self.exam.problem(check, f"score {wrong}", _SCORE)

    def _check_box(self, check: str, box: NDArray[np.float32], clip: Clip) -> None:
        width, height = float(box[2] - box[0]), float(box[3] - box[1])
        if not np.isfinite(box).all():
            self.exam.problem(check, "box contains NaN or infinite values", _BOX)
        elif width <= 0 or height <= 0:
            self.exam.problem(
                check,
                f"box {[round(float(value), 1) for value in box]} has no area: return left, top, right, bottom",
                _BOX,
            )
        elif max(width, height) < _SMALLEST < clip.source.info.width:
            self.exam.problem(
                check, f"box is {width:.2f} pixels wide: convert fractions of the frame size to pixels", _BOX
            )


def _number_error(value: object) -> str:
    is_number = isinstance(value, float | int | np.floating) and not isinstance(value, bool)
    return "" if is_number else f"has type {type(value).__name__}, expected a number"
