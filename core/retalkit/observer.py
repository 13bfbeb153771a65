"""Observer interface for the progress, timings, messages and artefacts of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Observer(Protocol):
    """Receiver of a run's events. The methods are called for every batch and must return quickly."""

    def started(self, step: str, total: int | None) -> None:
        """Handle the start of a step. ``total`` is the number of units (frames or seconds of audio), or None if the
        number is unknown."""
        ...

    def advanced(self, step: str, done: int) -> None:
        """Handle progress: ``done`` units of the step are complete."""
        ...

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        """Handle the end of a step after ``seconds`` of wall-clock time. ``cached`` is True if the cache contained the
        result."""
        ...

    def note(self, text: str) -> None:
        """Handle a one-sentence message for the user, for example a message that a short video was extended."""
        ...

    def artefact(self, name: str, path: Path) -> None:
        """Handle an output file that a stage wrote for inspection, such as the mouth plan."""
        ...


class SilentObserver:
    """Observer that ignores all events."""

    def started(self, step: str, total: int | None) -> None: ...

    def advanced(self, step: str, done: int) -> None: ...

    def finished(self, step: str, seconds: float, cached: bool) -> None: ...

    def note(self, text: str) -> None: ...

    def artefact(self, name: str, path: Path) -> None: ...
