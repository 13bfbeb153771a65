"""Checks that run a lip syncer with silent speech and with short speech, and that verify its mapping from positions to
speech times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retalkit.testing.checks.subject import Clips, FrameSubject, Indexes
from retalkit.testing.checks.values import Row, first_difference
from retalkit.testing.fixtures.clips import Clip

_POSITIONS = (
    "SyncBatch.positions and .times are the position of a frame in the output, and so in the speech; "
    "FrameBatch.indexes is the source frame."
)


def check_speeches(subject: FrameSubject, clips: Clips, *, slow: bool) -> None:
    """Check output frames for silent speech and output frames after the end of short speech.

    For a slow stage, only one frame of each speech is checked.
    """
    exam = subject.exam
    clip = clips.short_speech
    few = 1 if slow else 3
    late = np.arange(clip.output_count - few, clip.output_count)
    # The timeline reverses the source after its last frame. These earlier positions display identical source frames
    # during the speech.
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
                f"position {late[-1]}, after the end of the speech, has the edit of position {early[0]}, during the "
                "speech; both show the same source frame"
            )
            exam.problem("short_speech", words, _POSITIONS)


def _rows(subject: FrameSubject, check: str, clip: Clip, batches: Sequence[Indexes]) -> list[Row]:
    session = subject.open(check, clip, check)
    try:
        return [row for batch in batches for row in subject.request(check, session, clip, batch)]
    finally:
        subject.exam.close(check, session)
