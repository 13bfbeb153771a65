"""Base class for test subjects, which open a session, process frames and describe failures."""

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

EMPTY: Final = "A batch may contain no frames. Return an empty result for an empty batch."
_OPEN = "open() must accept every clip, including a clip without a face."
_NO_FACE = (
    "A row of NaN values represents a frame without a face. A run passes such rows to reconstructors and to stages "
    "that read the analysis in open(). Lip syncers and enhancers must also accept such rows, although runs omit them."
)
_SHORT_SPEECH = "The speech may be shorter than the output. The rest of the output is silent."
_SITUATIONS: Final = {
    "empty": ("a batch without frames", EMPTY),
    "no_face": ("a clip without a face: all rows of landmarks, coefficients and boxes are NaN", _NO_FACE),
    "odd_size": (
        "167 x 121-pixel frames with half of the face outside the frame",
        "Frames may have any size, including odd widths and heights.",
    ),
    "one_pixel": ("1 x 1-pixel frames without a face", "Frames may have any size, including a single pixel."),
    "one_frame": ("a clip with a single frame", "A clip may contain a single frame, such as a still image."),
    "silence": (
        "silent speech, whose samples and voice activity are zero",
        "The speech may be silent, entirely or in part.",
    ),
    "short_speech": ("one second of speech, which is shorter than the output", _SHORT_SPEECH),
    "end": (
        "the end of the clip and of the output",
        "The output may be longer than the source, which is then played backward and forward. An output position "
        "(SyncBatch.positions) is therefore not a source frame index (FrameBatch.indexes).",
    ),
    "undeclared": (
        "landmarks in the scheme ibug68, because StageSpec.needs contains no `landmarks:` port",
        "StageSpec.needs must declare the landmark scheme. A stage without a `landmarks:` port receives any scheme.",
    ),
    "seed": ("a StageContext.seed other than 0", "Every integer is a valid seed."),
    "long_clip": ("a long clip", "A clip may have any length."),
}
"""Mapping from check name to a description of the check's input and the contract rule that applies to this input."""


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
    """Clip with a landmark scheme that the stage does not declare, or None if the stage declares its scheme."""


class FrameSubject(ABC):
    """Test subject that opens a stage for a clip and requests one result per frame."""

    serial = False
    """Whether sessions always start with the first frame."""
    any_order = False
    """Whether frames may be requested in any order and more than once."""
    positions = False
    """Whether the method receives output positions instead of source frame indices."""
    uses_speech = False
    """Whether the stage receives speech."""
    method = ""
    """Name of the method that processes frames."""
    contract = ""
    """Contract rule for the method's return value."""

    def __init__(self, exam: Examination, stage: Any) -> None:
        self.exam = exam
        self.stage = stage
        self.seed = 0
        self.omitted_inputs = ""
        """Sentence that lists the inputs withheld from the stage because the spec does not declare them, or an empty
        string."""
        self.results: list[object] | None = None
        """List to which the method's results are appended, or None to discard the results."""
        self._raise_call_errors = False

    @property
    def call(self) -> str:
        """Method name for messages, such as ``sync()``."""
        return f"{self.method}()"

    @abstractmethod
    def open_session(self, clip: Clip, cache: str) -> Any:
        """Open a session for the clip. ``cache`` is the name of the session's cache."""

    @abstractmethod
    def request(self, check: str, session: Any, clip: Clip, numbers: Indexes) -> list[Row]:
        """Process the given frames with the session and validate the result. Raises StopCheckError if the result is
        unusable."""

    def finish(self) -> None:
        """Record problems that can only be detected after all calls."""
        return

    def count(self, clip: Clip) -> int:
        """Return the number of frames that can be requested."""
        return clip.output_count if self.positions else clip.count

    def context(self, cache: str, requested: frozenset[str] = frozenset()) -> StageContext:
        """Return the stage context for ``open_session``."""
        return self.exam.context(cache, requested, self.seed)

    def open(self, check: str, clip: Clip, cache: str) -> Any:
        """Open and return a session. Record exceptions and missing methods."""
        where, contract = _SITUATIONS.get(check, ("", f"{_OPEN} {self.omitted_inputs}".strip()))
        try:
            session = self.exam.call_open("open()", lambda: self.open_session(clip, cache))
        except CallError as failed:
            self.exam.record_exception(check, "open()", failed, f" for {where}" if where else "", contract)
            raise StopCheckError from failed
        self.exam.require_methods(check, "the session", session, (self.method, "close"), self.contract)
        return session

    def check_late_loading(self, clip: Clip) -> None:
        """Check that a session does not read weight files. Networks must be loaded in the stage's constructor."""

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
        """Call the session's method and return the result. An exception is recorded together with the frame that caused
        the exception."""
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
        """Return a description of the input for which the method failed, and the contract rule that applies."""
        situation, contract = _SITUATIONS.get(check, ("", f"{self.contract} {self.omitted_inputs}".strip()))
        if not len(numbers):
            return f" for {situation or 'a batch without frames'}", EMPTY
        around = f" ({situation})" if situation else ""
        number = self._first_failing(check, clip, numbers)
        if number is None:
            frames = f"frames {numbers[0]} to {numbers[-1]} in one batch, but not for single-frame batches"
            return f" for {frames if len(numbers) > 1 else f'frame {numbers[0]}'}{around}", contract
        source = int(clip.timeline.sources(number, number + 1)[0]) if self.positions else number
        if not situation and not np.isfinite(clip.analysis.all_boxes[source]).all():
            return f" for frame {number}, which has no face and therefore has rows of NaN", _NO_FACE
        return f" for frame {number}{around}", contract

    def _first_failing(self, check: str, clip: Clip, numbers: Iterable[int]) -> int | None:
        """Return the first frame for which a new session fails if each frame is passed in a separate batch."""
        self._raise_call_errors = True
        session: Any = None
        number = None
        try:
            session = self.open_session(clip, f"{check}-single")
            for number in numbers:
                self.request(check, session, clip, np.array([number]))
        except CallError:
            return None if number is None else int(number)
        except Exception:  # any other failure does not identify the frame
            return None
        finally:
            self._raise_call_errors = False
            with suppress(Exception):
                session.close()
        return None
