"""Observer interface for the progress, timings, messages and artefacts of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable


class Observer(Protocol):
    """Receiver of a run's events. Some methods are called for every batch, so all methods must return quickly."""

    def started(self, step: str, total: int | None) -> None:
        """Called when a step starts. ``total`` is the number of units (frames or seconds of audio), or None if the
        number of units is unknown."""
        ...

    def advanced(self, step: str, done: int) -> None:
        """Called on progress, when ``done`` units of the step are complete."""
        ...

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        """Called when a step ends after ``seconds`` of wall-clock time. ``cached`` is True if the result was read from
        the cache."""
        ...

    def note(self, text: str) -> None:
        """Called with a one-sentence message for the user, such as a note that a short video was extended."""
        ...

    def artefact(self, name: str, path: Path) -> None:
        """Called when a stage has written an output file for inspection, such as the mouth plan."""
        ...


@runtime_checkable
class TimeLeftReceiver(Protocol):
    """Optional addition to ``Observer`` for observers that show the time left in the whole run."""

    def time_left(self, seconds: float, fraction: float) -> None:
        """Called several times per second at most. ``seconds`` is the estimated time left, and ``fraction`` is the
        completed part of the run's total time, in [0, 1]."""
        ...


@runtime_checkable
class DetailReceiver(Protocol):
    """Optional addition to ``Observer`` for observers that show details, such as the selected encoder."""

    def detail(self, text: str) -> None:
        """Called with a one-line description of a decision of the run."""
        ...


def report_time_left(observer: Observer, seconds: float, fraction: float) -> None:
    """Report the time left if the observer shows it."""
    if isinstance(observer, TimeLeftReceiver):
        observer.time_left(seconds, fraction)


def report_detail(observer: Observer, text: str) -> None:
    """Report a detail if the observer shows details."""
    if isinstance(observer, DetailReceiver):
        observer.detail(text)


class SilentObserver:
    """Observer that ignores all events."""

    def started(self, step: str, total: int | None) -> None: ...

    def advanced(self, step: str, done: int) -> None: ...

    def finished(self, step: str, seconds: float, cached: bool) -> None: ...

    def note(self, text: str) -> None: ...

    def artefact(self, name: str, path: Path) -> None: ...
