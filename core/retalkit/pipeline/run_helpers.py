"""Sharing of a run's work between several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from retalkit.plugins.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """Description of a run, whose segments other processes render. All values are JSON-compatible."""

    configuration: dict[str, Any]
    video: str
    speech: str
    output: str
    cache: str
    """Cache directory, which contains the analysis of the video and the prepared speech."""
    layer: str | None = None
    claims: str = ""
    """Directory of the ``Claims``."""
    begin: float = 0.5
    """Position of the first segment that the process claims, as a fraction of the missing segments."""
    frame_memory: int = 0
    """Size in bytes of the decoded frames that the process may keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRequest:
    """Description of a detection, of which other processes process parts. All values are JSON-compatible."""

    configuration: dict[str, Any]
    video: str
    frames: int
    """Number of frames to analyse."""
    cache: str
    key: str
    """Cache key of the detections."""
    claims: str = ""
    """Directory of the ``Claims`` and of the detected parts."""
    frame_memory: int = 0
    """Size in bytes of the decoded frames that the process may keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest:
    """Description of a speech that another process denoises. All values are JSON-compatible."""

    configuration: dict[str, Any]
    speech: str
    cache: str
    key: str
    """Cache key of the denoised speech."""
    claims: str = ""
    """Directory of the ``Claims``. The speech is the only piece."""


class SharedWork(Protocol):
    """Numbered pieces of work, which this process and other processes do at the same time."""

    @property
    def folder(self) -> Path:
        """Directory of the claims."""
        ...

    def claimed(self, numbers: Iterable[int]) -> Iterator[int]:
        """Yield those of the pieces ``numbers`` that this process must do. A piece is assigned on demand."""
        ...

    def done(self) -> int:
        """Return the number of frames, or of seconds of speech, that the other processes have processed."""
        ...

    def wait(self, poll: Callable[[], None]) -> None:
        """Wait until the processes have ended or failed. The pieces of a process that failed are missing.

        ``poll`` is called several times per second, and its exceptions are propagated. A process that makes no progress
        for a long time has failed.
        """
        ...

    def close(self) -> None:
        """Remove the directory of the claims."""
        ...


class RunHelpers(Protocol):
    """Processes that help a run. Python executes one thread at a time, so that one process cannot use all cores."""

    @property
    def failures(self) -> Sequence[str]:
        """Reasons why processes have not done their work. The run has done this work itself."""
        ...

    def prepare(self, frames: int, size: tuple[int, int], cheap_source: bool, registry: Registry) -> int:
        """Start the processes if ``frames`` output frames justify them, and return their number.

        ``size``: width and height of the frames. ``cheap_source``: whether decoding takes little time, so that each
        process can decode all frames. ``registry``: plugins of the run, which copies of this process can use.
        """
        ...

    def speech(self, request: SpeechRequest) -> SharedWork:
        """Let another process denoise the speech. The helpers fill in ``claims``."""
        ...

    def detect(self, request: DetectionRequest) -> SharedWork:
        """Let the processes detect faces in parts of a clip. The helpers fill in ``claims``."""
        ...

    def prepare_rendering(self, request: RenderRequest) -> None:
        """Let the processes open the files and construct the stages of a later call of ``render``."""
        ...

    def render(self, request: RenderRequest) -> SharedWork:
        """Let the processes render segments of a run. The helpers fill in ``claims``."""
        ...


class Claims:
    """Assignment of pieces of work to processes. A process claims a piece by creating a file."""

    def __init__(self, folder: Path) -> None:
        """Initialise the claims. ``folder``: existing directory that is used only for this work."""
        self.folder = folder

    def claimed(self, numbers: Iterable[int]) -> Iterator[int]:
        """Claim the pieces ``numbers`` one after the other, and yield those that no other process has claimed."""
        for number in numbers:
            try:
                os.close(os.open(self.folder / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                continue
            yield number
