"""The one way in which stages and the runner report: progress, timing, notes and artefacts."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Observer(Protocol):
    """Hears what a run does. Implementations must be cheap: they are called for every batch."""

    def started(self, step: str, total: int | None) -> None:
        """A step begins; ``total`` counts its units (frames, or seconds of sound), None if unknown."""
        ...

    def advanced(self, step: str, done: int) -> None:
        """``done`` units of the step are finished so far."""
        ...

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        """The step ended after ``seconds`` of wall-clock time; ``cached`` if nothing was computed."""
        ...

    def note(self, text: str) -> None:
        """One sentence that the user should read, for instance how a short video was extended."""
        ...

    def artefact(self, name: str, path: Path) -> None:
        """A file that a stage leaves for whoever wants to look deeper, such as the mouth plan."""
        ...


class SilentObserver:
    """Hears everything and does nothing."""

    def started(self, step: str, total: int | None) -> None: ...

    def advanced(self, step: str, done: int) -> None: ...

    def finished(self, step: str, seconds: float, cached: bool) -> None: ...

    def note(self, text: str) -> None: ...

    def artefact(self, name: str, path: Path) -> None: ...
