"""Checks for lip syncers."""

from __future__ import annotations

from typing import Any

import numpy as np

from retalkit.stages import FaceEdit, LipSyncClip
from retalkit.testing.checks.edits import as_row, check_edits
from retalkit.testing.checks.subject import FrameSubject
from retalkit.testing.checks.values import Row
from retalkit.testing.examination import Examination
from retalkit.testing.fixtures.clips import Clip, Indexes, PlainReferences

_NO_FACE = "A row of NaN values represents a frame without a face. Return PassedThrough for such a frame."


class LipSyncerSubject(FrameSubject):
    """Test subject that calls a lip syncer's ``sync()`` method."""

    positions = True
    uses_speech = True
    method = "sync"
    contract = "sync() must return one FaceEdit or PassedThrough per output position."

    def __init__(self, exam: Examination, stage: Any, images: bool) -> None:
        super().__init__(exam, stage)
        self._images = images
        self._reasons: dict[str, int] = {}
        self._edits = 0

    def open_session(self, clip: Clip, cache: str) -> Any:
        references = PlainReferences(self._images)
        opened = LipSyncClip(analysis=clip.analysis, references=references, timeline=clip.timeline, speech=clip.speech)
        return self.stage.open(opened, self.context(cache))

    def request(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        batch = clip.sync_batch(numbers, references=self._images)
        result = self.call_method(check, clip, numbers, session, batch)
        scheme = clip.analysis.landmark_scheme
        results = check_edits(self.exam, check, self.call, result, numbers.tolist(), batch.faces, scheme)
        for edit, number, points in zip(results, numbers, batch.faces.landmarks, strict=True):
            if not isinstance(edit, FaceEdit):
                if np.isfinite(points).all():
                    self._reasons[edit.reason] = self._reasons.get(edit.reason, 0) + 1
                continue
            self._edits += 1
            if not np.isfinite(points).all():
                self.exam.problem(
                    check, f"{self.call} returned an edit for frame {number}, which has no face", _NO_FACE
                )
        return [as_row(one) for one in results]

    def finish(self) -> None:
        if not self._edits:
            reasons = ", ".join(self._reasons)
            self.exam.skip(
                "edits", f"every face of the kit's clip was passed through ({reasons}), so no edit was validated"
            )
