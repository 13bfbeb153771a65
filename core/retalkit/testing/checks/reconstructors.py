"""Checks of a reconstructor."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from retalkit.stages import ReconstructionClip
from retalkit.testing.checks.subject import FrameSubject, Indexes
from retalkit.testing.checks.values import Row, misfit, taken
from retalkit.testing.examination import Examination, StopCheckError
from retalkit.testing.fixtures.clips import Clip, Float
from retalkit.testing.fixtures.upstream import SPACES

_NO_FACE = "A row of NaN, and only that, says that there is no face."


class ReconstructorSubject(FrameSubject):
    """``reconstruct()`` of one reconstructor."""

    serial = True
    method = "reconstruct"
    contract = "reconstruct() gives float32 [T, C] in the space that the spec's `gives` names."

    def __init__(self, exam: Examination, stage: Any, space: str, reads_frames: bool) -> None:
        super().__init__(exam, stage)
        self._space = space
        self._reads_frames = reads_frames
        self._width = SPACES.get(space)
        self._fitted = 0

    def opened(self, clip: Clip, cache: str) -> Any:
        return self.stage.open(ReconstructionClip(analysis=clip.without_coefficients().analysis), self.context(cache))

    def served(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        faces = clip.faces(numbers, images=self._reads_frames, coefficients=False)
        given = self.asked(check, clip, numbers, session, faces)
        space = f" (space {self._space})" if self._width is not None and self._space in SPACES else ""
        if wrong := misfit(given, np.float32, (len(numbers), self._width), "[T, C]"):
            self.exam.problem(check, f"the result{space} {wrong}", self.contract)
            raise StopCheckError
        rows = cast(Float, given)
        if len(rows):
            self._width = rows.shape[1]
        for number, row in zip(numbers, rows, strict=True):
            seen = bool(np.isfinite(clip.analysis.all_landmarks[number]).all())
            if not seen and not np.isnan(row).all():
                self.exam.problem(check, f"frame {number} has no face, but its row is not NaN", _NO_FACE)
            elif np.isnan(row).any() and not np.isnan(row).all():
                self.exam.problem(check, f"the row of frame {number} is NaN in a part", _NO_FACE)
            elif np.isinf(row).any():
                self.exam.problem(check, f"the row of frame {number} has infinite values", self.contract)
            self._fitted += int(np.isfinite(row).all())
        return [taken({"row": row}) for row in rows]

    def finished(self) -> None:
        if not self._fitted:
            self.exam.skip("faces", "every row of the kit's clip is NaN, so that no coefficients were looked at")
