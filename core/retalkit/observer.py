"""The interface through which stages and the runner report progress, timing, notes and artefacts."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Observer(Protocol):
    """Receives the events of a run. Methods must be fast: they are called for every batch."""

    def started(self, step: str, total: int | None) -> None:
        """A step has started; ``total`` is its number of units (frames, or seconds of sound), None if unknown."""
        ...

    def advanced(self, step: str, done: int) -> None:
        """``done`` units of the step are finished."""
        ...

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        """The step has ended after ``seconds`` of wall-clock time; ``cached`` if its result was in the cache."""
        ...

    def note(self, text: str) -> None:
        """One sentence for the user, for instance how a short video was extended."""
        ...

    def artefact(self, name: str, path: Path) -> None:
        """A file of a stage for inspection, such as the mouth plan."""
        ...


class SilentObserver:
    """Ignores every event."""

    def started(self, step: str, total: int | None) -> None: ...

    def advanced(self, step: str, done: int) -> None: ...

    def finished(self, step: str, seconds: float, cached: bool) -> None: ...

    def note(self, text: str) -> None: ...

    def artefact(self, name: str, path: Path) -> None: ...
