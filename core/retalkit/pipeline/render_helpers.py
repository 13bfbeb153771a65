"""Sharing of a run's segments between several processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
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
    """Directory of the ``SegmentClaims``."""


class RenderHelpers(Protocol):
    """Processes that render segments of a run in addition to the process of the run.

    Python executes one thread at a time, so that one process cannot use all cores.
    """

    def prepare(self, frames: int, cheap_source: bool, registry: Registry) -> bool:
        """Start the processes if rendering ``frames`` output frames justifies them, and return whether they start.

        ``cheap_source``: whether decoding takes little time, so that each process can decode all frames. ``registry``:
        plugins of the run, which copies of this process can use.
        """
        ...

    def start(self, request: RenderRequest) -> None:
        """Let the processes render segments of a run. The helpers fill in ``claims``."""
        ...

    def share(self, missing: Iterable[int]) -> Iterator[int]:
        """Yield those of the ``missing`` segments that this process renders. A segment is assigned on demand."""
        ...

    def rendered(self) -> int:
        """Return the number of frames that the processes have rendered."""
        ...

    def wait(self) -> None:
        """Wait until the processes have ended or failed. Segments of a process that failed are missing."""
        ...


class SegmentClaims:
    """Assignment of segments to processes. A process claims a segment by creating a file."""

    def __init__(self, folder: Path) -> None:
        """Initialise the claims. ``folder``: existing directory that only the processes of one run use."""
        self.folder = folder

    def claimed(self, numbers: Iterable[int]) -> Iterator[int]:
        """Claim the segments ``numbers`` one after the other, and yield those that no other process has claimed."""
        for number in numbers:
            try:
                os.close(os.open(self.folder / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                continue
            yield number
