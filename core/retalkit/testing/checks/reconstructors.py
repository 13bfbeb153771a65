"""Checks for reconstructors."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from retalkit.stages import ReconstructionClip
from retalkit.testing.checks.subject import FrameSubject, Indexes
from retalkit.testing.checks.values import Row, array_error, copy_row
from retalkit.testing.examination import Examination, StopCheckError
from retalkit.testing.fixtures.clips import Clip, Float
from retalkit.testing.fixtures.upstream import SPACES

_NO_FACE = "A row must be NaN if the frame has no face. All other rows must not contain NaN."


class ReconstructorSubject(FrameSubject):
    """Test subject that calls a reconstructor's ``reconstruct()`` method."""

    serial = True
    method = "reconstruct"
    contract = "reconstruct() must return float32 [T, C] in the coefficient space declared in StageSpec.gives."

    def __init__(self, exam: Examination, stage: Any, space: str, reads_frames: bool) -> None:
        super().__init__(exam, stage)
        self._space = space
        self._reads_frames = reads_frames
        self._width = SPACES.get(space)
        self._fitted = 0

    def open_session(self, clip: Clip, cache: str) -> Any:
        return self.stage.open(ReconstructionClip(analysis=clip.without_coefficients().analysis), self.context(cache))

    def request(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        faces = clip.faces(numbers, images=self._reads_frames, coefficients=False)
        result = self.call_method(check, clip, numbers, session, faces)
        space = f" (space {self._space})" if self._width is not None and self._space in SPACES else ""
        if wrong := array_error(result, np.float32, (len(numbers), self._width), "[T, C]"):
            self.exam.problem(check, f"the result{space} {wrong}", self.contract)
            raise StopCheckError
        rows = cast(Float, result)
        if len(rows):
            self._width = rows.shape[1]
        for number, row in zip(numbers, rows, strict=True):
            has_face = bool(np.isfinite(clip.analysis.all_landmarks[number]).all())
            if not has_face and not np.isnan(row).all():
                self.exam.problem(check, f"frame {number} has no face, but its coefficients are not NaN", _NO_FACE)
            elif np.isnan(row).any() and not np.isnan(row).all():
                self.exam.problem(check, f"only some coefficients of frame {number} are NaN", _NO_FACE)
            elif np.isinf(row).any():
                self.exam.problem(check, f"the coefficients of frame {number} contain infinite values", self.contract)
            self._fitted += int(np.isfinite(row).all())
        return [copy_row({"row": row}) for row in rows]

    def finish(self) -> None:
        if not self._fitted:
            self.exam.skip("faces", "the coefficients are NaN for every frame of the kit's clip and were not validated")
