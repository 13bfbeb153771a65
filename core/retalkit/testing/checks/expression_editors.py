"""Checks of an expression editor."""

from __future__ import annotations

from typing import Any

import numpy as np

from retalkit.stages import ExpressionEditClip, ReferenceBatch
from retalkit.testing.checks.subject import FrameSubject
from retalkit.testing.checks.values import Row, misfit, taken
from retalkit.testing.examination import Examination, StopCheckError
from retalkit.testing.fixtures.clips import Clip, Indexes

IMAGES = "reference:image"


class EditorSubject(FrameSubject):
    """``edit()`` of one expression editor."""

    any_order = True
    method = "edit"
    contract = (
        "edit() gives a ReferenceBatch whose landmarks are float32 [T, N, 3] like the input's, NaN without a face."
    )

    def __init__(self, exam: Examination, stage: Any, gives: frozenset[str]) -> None:
        super().__init__(exam, stage)
        self._gives = gives
        self._seen = 0

    def opened(self, clip: Clip, cache: str) -> Any:
        return self.stage.open(ExpressionEditClip(analysis=clip.analysis), self.context(cache, self._wanted(cache)))

    def _wanted(self, cache: str) -> frozenset[str]:
        # One of the checks asks for no images, as most runs do.
        without = {IMAGES} if cache == "one_frame" else set[str]()
        return frozenset(port for port in self._gives if port not in without)

    def served(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        faces = clip.faces(numbers)
        given = self.asked(check, clip, numbers, session, faces)
        if not isinstance(given, ReferenceBatch):
            self.exam.problem(check, f"{self.call} gave {type(given).__name__}", self.contract)
            raise StopCheckError
        landmarks: object = given.landmarks
        if wrong := misfit(landmarks, np.float32, faces.landmarks.shape, "[T, N, 3]"):
            self.exam.problem(check, f"landmarks {wrong}", self.contract)
            raise StopCheckError
        for number, row, points in zip(numbers, given.landmarks, faces.landmarks, strict=True):
            if np.isnan(points).all() and not np.isnan(row).all():
                self.exam.problem(check, f"frame {number} has no face, but its landmarks are not NaN", self.contract)
            elif np.isfinite(points).all() and np.isnan(row).any() and not np.isnan(row).all():
                self.exam.problem(check, f"the landmarks of frame {number} are NaN in a part", self.contract)
            self._seen += int(np.isfinite(row).all())
        images: object = given.images
        if images is not None:
            shape = faces.frames.images.shape
            if wrong := misfit(images, np.uint8, shape, "[T, H, W, 3]"):
                self.exam.problem(
                    check, f"images {wrong}", "ReferenceBatch.images are whole frames, RGB uint8 [T, H, W, 3]."
                )
                raise StopCheckError
        elif IMAGES in self._wanted(check):
            self.exam.problem(
                check,
                f"gave no images, though {IMAGES} is wanted",
                f"A spec that gives {IMAGES} makes whole frames when StageContext.wanted names it.",
            )
        pictures = [None] * len(numbers) if given.images is None else list(given.images)
        return [
            taken({"landmarks": row, "image": picture}) for row, picture in zip(given.landmarks, pictures, strict=True)
        ]

    def finished(self) -> None:
        if not self._seen:
            self.exam.skip("faces", "it gave no landmarks for any frame of the kit's clip")
