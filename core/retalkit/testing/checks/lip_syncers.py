"""Checks of a lip syncer."""

from __future__ import annotations

from typing import Any

import numpy as np

from retalkit.stages import FaceEdit, LipSyncClip
from retalkit.testing.checks.edits import as_row, looked_at
from retalkit.testing.checks.subject import FrameSubject
from retalkit.testing.checks.values import Row
from retalkit.testing.examination import Examination
from retalkit.testing.fixtures.clips import Clip, Indexes, PlainReferences

_NO_FACE = "A row of NaN says that there is no face in a frame: PassedThrough."


class LipSyncerSubject(FrameSubject):
    """``sync()`` of one lip syncer."""

    positions = True
    hears = True
    method = "sync"
    contract = "sync() gives one FaceEdit or PassedThrough for each position."

    def __init__(self, exam: Examination, stage: Any, images: bool) -> None:
        super().__init__(exam, stage)
        self._images = images
        self._reasons: dict[str, int] = {}
        self._edits = 0

    def opened(self, clip: Clip, cache: str) -> Any:
        references = PlainReferences(self._images)
        what = LipSyncClip(analysis=clip.analysis, references=references, timeline=clip.timeline, speech=clip.speech)
        return self.stage.open(what, self.context(cache))

    def served(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        batch = clip.sync_batch(numbers, references=self._images)
        given = self.asked(check, clip, numbers, session, batch)
        scheme = clip.analysis.landmark_scheme
        results = looked_at(self.exam, check, self.call, given, numbers.tolist(), batch.faces, scheme)
        for result, number, points in zip(results, numbers, batch.faces.landmarks, strict=True):
            if not isinstance(result, FaceEdit):
                if np.isfinite(points).all():
                    self._reasons[result.reason] = self._reasons.get(result.reason, 0) + 1
                continue
            self._edits += 1
            if not np.isfinite(points).all():
                self.exam.problem(check, f"frame {number} has no face, but it was edited", _NO_FACE)
        return [as_row(result) for result in results]

    def finished(self) -> None:
        if not self._edits:
            reasons = ", ".join(self._reasons)
            self.exam.skip("edits", f"every face of the kit's clip passed through ({reasons}): no edit was looked at")
