"""Checks that run a lip syncer with silent speech and with short speech, and that verify the mapping from output
positions to speech times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retalkit.testing.checks.subject import Clips, FrameSubject, Indexes
from retalkit.testing.checks.values import Row, first_difference
from retalkit.testing.fixtures.clips import Clip

_POSITIONS = (
    "SyncBatch.positions and SyncBatch.times refer to the output and therefore to the speech. FrameBatch.indexes "
    "contains source frame indices."
)


def check_speeches(subject: FrameSubject, clips: Clips, *, slow: bool) -> None:
    """Check output frames with silent speech, and output frames after the end of short speech.

    If ``slow`` is set, only one frame is checked for each speech.
    """
    exam = subject.exam
    clip = clips.short_speech
    few = 1 if slow else 3
    late = np.arange(clip.output_count - few, clip.output_count)
    # The timeline plays the source backward after the last frame. These earlier positions, which are within the speech,
    # display the same source frames.
    early = np.sort(clip.timeline.sources(int(late[0]), int(late[-1]) + 1))
    silent: list[Row] = []
    with exam.check("silence"):
        silent = _rows(subject, "silence", clips.silent, [early])
    with exam.check("short_speech"):
        rows = _rows(subject, "short_speech", clip, [late] if slow else [early, late])
        if slow:
            return
        spoken, after = rows[:few], rows[few:][::-1]
        numbers = early.tolist()
        pairs = zip(spoken, silent, strict=True)
        depends_on_speech = silent and all(first_difference([one], [two], [0]) for one, two in pairs)
        edited = all(row["result"] == "edit" for row in spoken)
        if depends_on_speech and edited and not first_difference(spoken, after, numbers):
            words = (
                f"position {late[-1]}, which is after the end of the speech, has the same edit as position {early[0]}, "
                "which is within the speech; both positions display the same source frame"
            )
            exam.problem("short_speech", words, _POSITIONS)


def _rows(subject: FrameSubject, check: str, clip: Clip, batches: Sequence[Indexes]) -> list[Row]:
    session = subject.open(check, clip, check)
    try:
        return [row for batch in batches for row in subject.request(check, session, clip, batch)]
    finally:
        subject.exam.close(check, session)
