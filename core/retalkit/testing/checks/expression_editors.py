"""Checks for expression editors."""

from __future__ import annotations

from typing import Any

import numpy as np

from retalkit.stages import ExpressionEditClip, ReferenceBatch
from retalkit.testing.checks.subject import FrameSubject
from retalkit.testing.checks.values import Row, array_error, copy_row
from retalkit.testing.examination import Examination, StopCheckError
from retalkit.testing.fixtures.clips import Clip, Indexes

IMAGES = "reference:image"


class EditorSubject(FrameSubject):
    """Test subject that calls an expression editor's ``edit()`` method."""

    any_order = True
    method = "edit"
    contract = (
        "edit() must return a ReferenceBatch with landmarks float32 [T, N, 3], which are NaN for frames without a face."
    )

    def __init__(self, exam: Examination, stage: Any, gives: frozenset[str]) -> None:
        super().__init__(exam, stage)
        self._gives = gives
        self._seen = 0

    def open_session(self, clip: Clip, cache: str) -> Any:
        return self.stage.open(ExpressionEditClip(analysis=clip.analysis), self.context(cache, self._requested(cache)))

    def _requested(self, cache: str) -> frozenset[str]:
        # One check does not request images, because most runs do not request images.
        without = {IMAGES} if cache == "one_frame" else set[str]()
        return frozenset(port for port in self._gives if port not in without)

    def request(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        faces = clip.faces(numbers)
        result = self.call_method(check, clip, numbers, session, faces)
        if not isinstance(result, ReferenceBatch):
            self.exam.problem(
                check, f"{self.call} returned {type(result).__name__}, expected ReferenceBatch", self.contract
            )
            raise StopCheckError
        landmarks: object = result.landmarks
        if wrong := array_error(landmarks, np.float32, faces.landmarks.shape, "[T, N, 3]"):
            self.exam.problem(check, f"landmarks {wrong}", self.contract)
            raise StopCheckError
        for number, row, points in zip(numbers, result.landmarks, faces.landmarks, strict=True):
            if np.isnan(points).all() and not np.isnan(row).all():
                self.exam.problem(check, f"frame {number} has no face, but its landmarks are not NaN", self.contract)
            elif np.isfinite(points).all() and np.isnan(row).any() and not np.isnan(row).all():
                self.exam.problem(check, f"only some landmarks of frame {number} are NaN", self.contract)
            self._seen += int(np.isfinite(row).all())
        images: object = result.images
        if images is not None:
            shape = faces.frames.images.shape
            if wrong := array_error(images, np.uint8, shape, "[T, H, W, 3]"):
                self.exam.problem(
                    check, f"images {wrong}", "ReferenceBatch.images must be whole RGB frames, uint8 [T, H, W, 3]."
                )
                raise StopCheckError
        elif IMAGES in self._requested(check):
            self.exam.problem(
                check,
                f"{self.call} returned no images, but {IMAGES} was requested",
                f"A stage that provides {IMAGES} must render whole frames if StageContext.requested_ports contains it.",
            )
        rendered = [None] * len(numbers) if result.images is None else list(result.images)
        return [
            copy_row({"landmarks": row, "image": image}) for row, image in zip(result.landmarks, rendered, strict=True)
        ]

    def finish(self) -> None:
        if not self._seen:
            self.exam.skip("faces", "edit() returned no landmarks for any frame of the kit's clip")
