"""Something that is opened for a clip and serves frames: how it is asked, and how it is told what it could not take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from retalkit.stages import StageContext
from retalkit.testing.checks.values import Row
from retalkit.testing.examination import CallError, Examination, StopCheckError
from retalkit.testing.fixtures.clips import Clip

Indexes = NDArray[np.int64]

EMPTY: Final = "A batch may have no frames; then the result has none."
_OPEN = "open() works for every clip, also for one without a face."
_NOBODY = (
    "A row of NaN says that there is no face in a frame. A run gives such rows to reconstructors and to whatever reads "
    "the analysis in open(); it asks lip syncers and enhancers for no such frame, but other callers may."
)
_SHORT_SPEECH = "A speech may end before the output does; then there is silence."
_SITUATIONS: Final = {
    "empty": ("a batch without frames", EMPTY),
    "no_face": ("a clip without a face: all rows of landmarks, coefficients and boxes are NaN", _NOBODY),
    "odd_size": ("frames of 167 x 121 pixels, with half of the face outside", "Frames have any size, odd ones, too."),
    "one_pixel": ("frames of 1 x 1 pixel without a face", "Frames have any size, also a single pixel."),
    "one_frame": ("a clip of a single frame", "A clip may have a single frame: a photo has one."),
    "silence": (
        "a speech that is silent: zeros, and nobody speaks",
        "A speech may be silent, as a whole or where a frame is.",
    ),
    "short_speech": ("a speech of one second, shorter than the output", _SHORT_SPEECH),
    "end": (
        "the end of the clip and of the output",
        "The output may be longer than the source, which is then shown back and forth: a position in the output "
        "(SyncBatch.positions) is no index of a source frame (FrameBatch.indexes).",
    ),
    "undeclared": (
        "landmarks of the scheme ibug68, since its needs name no `landmarks:`",
        "What a stage reads its spec names in `needs`: else it gets what happens to be there.",
    ),
    "seed": ("another StageContext.seed than 0", "Every whole number is a seed."),
    "long_clip": ("a long clip", "A clip may be of any length."),
}
"""Name of a check -> what is special in it, and what the contract says of that."""


@dataclass(frozen=True)
class Clips:
    """What a stage is tried on, each in landmarks and coefficients that the stage takes."""

    whole: Clip
    odd: Clip
    one_pixel: Clip
    one_frame: Clip
    faceless: Clip
    silent: Clip
    short_speech: Clip
    long: Callable[[int], Clip]
    """A clip of so many small frames."""
    undeclared: Clip | None = None
    """In landmarks that the stage did not ask for, where it asks for none."""


class FrameSubject(ABC):
    """Something that is opened for a clip and gives one result for each frame."""

    serial = False
    """Whether the runner always begins with the first frame."""
    any_order = False
    """Whether frames may be asked for in any order and again."""
    positions = False
    """Whether it is asked for positions in the output, not for source frames."""
    hears = False
    """Whether it is given the speech."""
    method = ""
    """Name of the method that serves frames."""
    contract = ""
    """What a result is."""

    def __init__(self, exam: Examination, stage: Any) -> None:
        self.exam = exam
        self.stage = stage
        self.seed = 0
        self.lacks = ""
        """What it is not given, since its spec does not name it: a sentence, or nothing."""
        self.given: list[object] | None = None
        """Where there is a list, all that the method gives is kept in it."""
        self._alone = False

    @property
    def call(self) -> str:
        """How messages call the method, such as ``sync()``."""
        return f"{self.method}()"

    @abstractmethod
    def opened(self, clip: Clip, cache: str) -> Any:
        """A session for the clip with the cache of that name, or an exception."""

    @abstractmethod
    def served(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        """Asks the session for frames; notes what is wrong with the result. Raises StopCheckError where it is of no
        use."""

    def finished(self) -> None:
        """Called when all is done: for what can only be said in the end."""
        return

    def count(self, clip: Clip) -> int:
        """Frames that can be asked for."""
        return clip.output_count if self.positions else clip.count

    def context(self, cache: str, wanted: frozenset[str] = frozenset()) -> StageContext:
        """What ``opened`` gives to the stage."""
        return self.exam.context(cache, wanted, self.seed)

    def open(self, check: str, clip: Clip, cache: str) -> Any:
        """``opened`` under watch."""
        where, contract = _SITUATIONS.get(check, ("", f"{_OPEN} {self.lacks}".strip()))
        try:
            session = self.exam.tried("open()", lambda: self.opened(clip, cache))
        except CallError as failed:
            self.exam.raised(check, "open()", failed, f" for {where}" if where else "", contract)
            raise StopCheckError from failed
        self.exam.has(check, "what open() gave", session, (self.method, "close"), self.contract)
        return session

    def asked(
        self,
        check: str,
        clip: Clip,
        numbers: Indexes,
        session: Any,
        *arguments: Any,
        inputs: Mapping[str, object] | None = None,
    ) -> object:
        """What the session's method gives; notes an exception with the frame that it came from."""
        try:
            given = self.exam.tried(self.call, getattr(session, self.method), *arguments, inputs=inputs)
        except CallError as failed:
            if self._alone:
                raise
            where, contract = self._told(check, clip, numbers)
            self.exam.raised(check, self.call, failed, where, contract)
            raise StopCheckError from failed
        if self.given is not None:
            self.given.append(given)
        return given

    def _told(self, check: str, clip: Clip, numbers: Indexes) -> tuple[str, str]:
        """With what it was that the method raised, and what the contract says of that."""
        situation, contract = _SITUATIONS.get(check, ("", f"{self.contract} {self.lacks}".strip()))
        if not len(numbers):
            return f" for {situation or 'a batch without frames'}", EMPTY
        around = f" ({situation})" if situation else ""
        number = self._first_that_fails(check, clip, numbers)
        if number is None:
            frames = f"frames {numbers[0]} to {numbers[-1]} together, for none of them alone"
            return f" for {frames if len(numbers) > 1 else f'frame {numbers[0]}'}{around}", contract
        source = int(clip.timeline.sources(number, number + 1)[0]) if self.positions else number
        if not situation and not np.isfinite(clip.analysis.all_boxes[source]).all():
            return f" for frame {number}, which has no face: its rows are NaN", _NOBODY
        return f" for frame {number}{around}", contract

    def _first_that_fails(self, check: str, clip: Clip, numbers: Iterable[int]) -> int | None:
        """The first of the frames that a new session does not take alone."""
        self._alone = True
        session: Any = None
        number = None
        try:
            session = self.opened(clip, f"{check}-alone")
            for number in numbers:
                self.served(check, session, clip, np.array([number]))
        except CallError:
            return None if number is None else int(number)
        except Exception:  # it fails in another way: nothing is known of frames
            return None
        finally:
            self._alone = False
            with suppress(Exception):
                session.close()
        return None
