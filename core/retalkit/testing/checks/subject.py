"""Base class for sessions that process frames: opening, calling and failure description."""

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
_NO_FACE = (
    "A row of NaN means that there is no face in a frame. A run passes such rows to reconstructors and to what reads "
    "the analysis in open(). It requests no such frame from lip syncers and enhancers, but other callers may."
)
_SHORT_SPEECH = "A speech may end before the output does; then there is silence."
_SITUATIONS: Final = {
    "empty": ("a batch without frames", EMPTY),
    "no_face": ("a clip without a face: all rows of landmarks, coefficients and boxes are NaN", _NO_FACE),
    "odd_size": ("frames of 167 x 121 pixels, with half of the face outside", "Frames have any size, also odd ones."),
    "one_pixel": ("frames of 1 x 1 pixel without a face", "Frames have any size, also a single pixel."),
    "one_frame": ("a clip of a single frame", "A clip may have a single frame: a photo has one."),
    "silence": ("a silent speech: zeros without voice activity", "A speech may be silent, as a whole or in part."),
    "short_speech": ("a speech of one second, shorter than the output", _SHORT_SPEECH),
    "end": (
        "the end of the clip and of the output",
        "The output may be longer than the source, which then runs back and forth: a position in the output "
        "(SyncBatch.positions) is not the index of a source frame (FrameBatch.indexes).",
    ),
    "undeclared": (
        "landmarks of the scheme ibug68, since its needs name no `landmarks:`",
        "A stage names what it reads in `needs`; without that it receives any scheme.",
    ),
    "seed": ("another StageContext.seed than 0", "Every integer is a valid seed."),
    "long_clip": ("a long clip", "A clip may have any length."),
}
"""Mapping from check name to the special property of the check's input and the contract rule for this property."""


@dataclass(frozen=True)
class Clips:
    """Clips for the checks, with the landmark scheme and coefficient space that the stage requires."""

    whole: Clip
    odd: Clip
    one_pixel: Clip
    one_frame: Clip
    faceless: Clip
    silent: Clip
    short_speech: Clip
    long: Callable[[int], Clip]
    """Function that creates a clip with the given number of small frames."""
    undeclared: Clip | None = None
    """Clip with a landmark scheme that the stage does not declare, or None if the stage declares a scheme."""


class FrameSubject(ABC):
    """Stage that is opened for a clip and returns one result per frame."""

    serial = False
    """Whether every run starts with the first frame."""
    any_order = False
    """Whether frames may be requested in any order and more than once."""
    positions = False
    """Whether the method receives output positions instead of source frame indexes."""
    uses_speech = False
    """Whether the stage receives the speech."""
    method = ""
    """Name of the method that processes frames."""
    contract = ""
    """Contract rule for the method's return value."""

    def __init__(self, exam: Examination, stage: Any) -> None:
        self.exam = exam
        self.stage = stage
        self.seed = 0
        self.omitted_inputs = ""
        """Sentence that lists the inputs that are missing in the spec and are therefore not passed to the stage, or an
        empty string."""
        self.results: list[object] | None = None
        """List that collects the method's results, or None if the results are not collected."""
        self._raise_call_errors = False

    @property
    def call(self) -> str:
        """Method name in messages, such as ``sync()``."""
        return f"{self.method}()"

    @abstractmethod
    def open_session(self, clip: Clip, cache: str) -> Any:
        """Open a session for the clip. ``cache`` is the name of the session's cache."""

    @abstractmethod
    def request(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        """Call the session for the given frames and check the result. Raises StopCheckError if the result is
        unusable."""

    def finish(self) -> None:
        """Record problems that can only be determined after all calls."""
        return

    def count(self, clip: Clip) -> int:
        """Return the number of frames that can be requested."""
        return clip.output_count if self.positions else clip.count

    def context(self, cache: str, requested: frozenset[str] = frozenset()) -> StageContext:
        """Return the context for ``open_session``."""
        return self.exam.context(cache, requested, self.seed)

    def open(self, check: str, clip: Clip, cache: str) -> Any:
        """Open a session, record exceptions, and check that the session has the required methods."""
        where, contract = _SITUATIONS.get(check, ("", f"{_OPEN} {self.omitted_inputs}".strip()))
        try:
            session = self.exam.call_open("open()", lambda: self.open_session(clip, cache))
        except CallError as failed:
            self.exam.record_exception(check, "open()", failed, f" for {where}" if where else "", contract)
            raise StopCheckError from failed
        self.exam.require_methods(check, "the session", session, (self.method, "close"), self.contract)
        return session

    def check_late_loading(self, clip: Clip) -> None:
        """Check that a session does not read weight files, because networks must be loaded by the stage's
        constructor."""

        def request_one(scratch: Examination) -> None:
            exam, self.exam = self.exam, scratch
            self._raise_call_errors = True
            try:
                session = scratch.run("open()", lambda: self.open_session(clip, "networks"))
                self.request("networks", session, clip, np.arange(1))
                scratch.close("networks", session)
            finally:
                self.exam = exam
                self._raise_call_errors = False

        self.exam.check_late_loading(request_one)

    def call_method(
        self,
        check: str,
        clip: Clip,
        numbers: Indexes,
        session: Any,
        *arguments: Any,
        inputs: Mapping[str, object] | None = None,
    ) -> object:
        """Return the result of the session's method. If the method raises an exception, record the exception and the
        frame that caused the exception."""
        try:
            result = self.exam.run(self.call, getattr(session, self.method), *arguments, inputs=inputs)
        except CallError as failed:
            if self._raise_call_errors:
                raise
            where, contract = self._describe_failure(check, clip, numbers)
            self.exam.record_exception(check, self.call, failed, where, contract)
            raise StopCheckError from failed
        if self.results is not None:
            self.results.append(result)
        return result

    def _describe_failure(self, check: str, clip: Clip, numbers: Indexes) -> tuple[str, str]:
        """Return a description of the input for which the method failed, and the corresponding contract rule."""
        situation, contract = _SITUATIONS.get(check, ("", f"{self.contract} {self.omitted_inputs}".strip()))
        if not len(numbers):
            return f" for {situation or 'a batch without frames'}", EMPTY
        around = f" ({situation})" if situation else ""
        number = self._first_failing(check, clip, numbers)
        if number is None:
            frames = f"frames {numbers[0]} to {numbers[-1]} in one batch, but not for each of them separately"
            return f" for {frames if len(numbers) > 1 else f'frame {numbers[0]}'}{around}", contract
        source = int(clip.timeline.sources(number, number + 1)[0]) if self.positions else number
        if not situation and not np.isfinite(clip.analysis.all_boxes[source]).all():
            return f" for frame {number}, which has no face: its rows are NaN", _NO_FACE
        return f" for frame {number}{around}", contract

    def _first_failing(self, check: str, clip: Clip, numbers: Iterable[int]) -> int | None:
        """Return the first frame for which a new session fails when the frames are passed one by one."""
        self._raise_call_errors = True
        session: Any = None
        number = None
        try:
            session = self.open_session(clip, f"{check}-single")
            for number in numbers:
                self.request(check, session, clip, np.array([number]))
        except CallError:
            return None if number is None else int(number)
        except Exception:  # a different failure does not identify the frame
            return None
        finally:
            self._raise_call_errors = False
            with suppress(Exception):
                session.close()
        return None
