"""How a lip syncer takes speech that is silent or short, and whether it looks at the right moment of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retalkit.testing.checks.subject import Clips, FrameSubject, Indexes
from retalkit.testing.checks.values import Row, difference
from retalkit.testing.fixtures.clips import Clip

_POSITIONS = (
    "SyncBatch.positions and .times say where in the output, and so where in the speech, a frame is shown; "
    "FrameBatch.indexes says which source frame it is."
)


def look_at_speeches(subject: FrameSubject, clips: Clips, *, slow: bool) -> None:
    """Frames with a silent speech, and behind the end of a short one; one of each where the stage is slow."""
    exam = subject.exam
    clip = clips.short_speech
    few = 1 if slow else 3
    late = np.arange(clip.output_count - few, clip.output_count)
    # Past its end the source is shown backward, so that these positions show the same frames while somebody speaks.
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
        heard = silent and all(difference([one], [two], [0]) for one, two in zip(spoken, silent, strict=True))
        edited = all(row["result"] == "edit" for row in spoken)
        if heard and edited and not difference(spoken, after, numbers):
            words = (
                f"position {late[-1]}, where the speech is over, got the edit of position {early[0]}, where somebody "
                "speaks; both show the same source frame"
            )
            exam.problem("short_speech", words, _POSITIONS)


def _rows(subject: FrameSubject, check: str, clip: Clip, batches: Sequence[Indexes]) -> list[Row]:
    session = subject.open(check, clip, check)
    try:
        return [row for batch in batches for row in subject.served(check, session, clip, batch)]
    finally:
        subject.exam.close(check, session)
