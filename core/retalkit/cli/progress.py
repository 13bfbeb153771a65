"""Progress output on stderr: one progress bar per step in a terminal, otherwise periodic lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from retalkit.observer import Observer, SilentObserver

LINE_SECONDS = 10.0
"""Minimum interval in seconds between two progress lines of one step if the output is not a terminal."""

_UNITS = {
    "clips": "clips",
    "speech": "s of audio",
    "videos": "videos",
    "jobs": "jobs",
    "previews": "videos",
    "fine previews": "videos",
}
"""Mapping from step to the unit of its count. Downloads count megabytes, all other steps count frames."""
_NARROW = 60
"""Width in characters below which bars leave too little space for the text."""
WHOLE_RUN = "total"
"""Label of the line with the time left in the whole run."""
_SPEECH = "speech"
_DOWNLOAD = "download "
"""Prefix of the steps that count megabytes."""


@contextmanager
def progress(*, quiet: bool = False, verbose: bool = False, stream: TextIO | None = None) -> Generator[Observer]:
    """Provide an observer for ``stream`` (default: stderr) that prints progress bars in a terminal, otherwise lines.

    ``verbose``: also print details and artefacts.
    """
    target = stream or sys.stderr
    if quiet:
        yield SilentObserver()
    elif not target.isatty():
        yield LineProgress(target, verbose=verbose)
    else:
        with make_bars(Console(file=target, highlight=False)) as bars:
            yield BarProgress(bars, verbose=verbose)


def make_bars(console: Console) -> Progress:
    """Return the progress display for a terminal. A narrow terminal shows only the text of each line."""
    if console.width < _NARROW:
        return Progress(TextColumn("{task.description}"), _Amount(), console=console)
    return Progress(TextColumn("{task.description:<12}"), BarColumn(bar_width=28), _Amount(), console=console)


def unit(step: str) -> str:
    """Return the unit of a step's count, such as ``frames``."""
    return "MB" if step.startswith(_DOWNLOAD) else _UNITS.get(step, "frames")


def rate_text(step: str, rate: float) -> str:
    """Format a rate as ``85.0 frames/s``, as ``44.1 s each`` for slow steps, or as ``10.0 x real time`` for speech."""
    if step == _SPEECH:
        return f"{rate:.1f} x real time"
    if 0 < rate < 0.1:
        return f"{1 / rate:.1f} s each"
    return f"{rate:.1f} {unit(step)}/s"


class BarProgress:
    """Observer that prints one progress bar per step with the rate, and the time left in the whole run below.

    Steps that run at the same time call the observer in different threads.
    """

    def __init__(self, bars: Progress, *, verbose: bool = False) -> None:
        self._bars = bars
        self._verbose = verbose
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, float] = {}
        """Mapping from step to its number of units."""
        self._whole: TaskID | None = None
        self._left: dict[str, Any] = {}
        """Fields of the line of the whole run."""
        self._completed = 0.0
        """Completed fraction of the whole run."""
        self._lock = threading.RLock()

    def started(self, step: str, total: int | None) -> None:
        with self._lock:
            self._tasks[step] = self._bars.add_task(step, total=total)
            self._totals[step] = 1.0 if total is None else float(total)
            if self._whole is not None:
                # The line of the whole run stays below the steps.
                self._bars.remove_task(self._whole)
                self._whole = self._bars.add_task(WHOLE_RUN, total=1.0, **self._left)
                self._bars.update(self._whole, completed=self._completed)

    def time_left(self, seconds: float, fraction: float) -> None:
        with self._lock:
            self._completed, self._left = min(fraction, 1.0), {"left": seconds, "at": time.monotonic()}
            if self._whole is None:
                self._whole = self._bars.add_task(WHOLE_RUN, total=1.0, **self._left)
            self._bars.update(self._whole, completed=self._completed, **self._left)

    def detail(self, text: str) -> None:
        if self._verbose:
            self._bars.console.print(text, markup=False, style="dim")

    def advanced(self, step: str, done: int) -> None:
        if step in self._tasks:
            self._bars.update(self._tasks[step], completed=done)

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        with self._lock:
            if step in self._tasks:
                total = self._totals[step]
                self._bars.update(self._tasks[step], total=total, completed=total, spent=seconds, cached=cached)

    def note(self, text: str) -> None:
        self._bars.console.print(f"note: {text}", markup=False)

    def artefact(self, name: str, path: Path) -> None:
        self.detail(f"{name}: {path}")


@dataclass(slots=True)
class _Step:
    total: int | None
    start: float
    last_line: float


class LineProgress:
    """Observer that prints one line at the end of each step and one line every ten seconds during the step.

    The lines during a step contain the time left in the whole run, or in the step if the former is unknown.
    """

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._steps: dict[str, _Step] = {}
        self._left: float | None = None

    def started(self, step: str, total: int | None) -> None:
        now = time.monotonic()
        self._steps[step] = _Step(total, now, now)

    def advanced(self, step: str, done: int) -> None:
        state = self._steps.get(step)
        now = time.monotonic()
        if state is None or now - state.last_line < LINE_SECONDS:
            return
        state.last_line = now
        rate = done / (now - state.start)
        text = f"{done} {unit(step)}"
        if state.total:
            text = f"{done} of {state.total} {unit(step)}"
            if self._left is None:
                left = (state.total - done) / rate if rate > 0 else float("inf")
                text = f"{text}, {duration_text(left)} left"
        whole = "" if self._left is None else f", {duration_text(self._left)} left in total"
        self._write(f"{step}: {text}, {rate_text(step, rate)}{whole}")

    def time_left(self, seconds: float, fraction: float) -> None:
        self._left = seconds

    def detail(self, text: str) -> None:
        if self._verbose:
            self._write(text)

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        state = self._steps.pop(step, None)
        if cached:
            self._write(f"{step}: from the cache")
        elif state is not None and state.total and seconds > 0:
            rate = state.total / seconds
            self._write(f"{step}: {state.total} {unit(step)} in {seconds:.1f} s, {rate_text(step, rate)}")
        else:
            self._write(f"{step}: done in {seconds:.1f} s")

    def note(self, text: str) -> None:
        self._write(f"note: {text}")

    def artefact(self, name: str, path: Path) -> None:
        self.detail(f"{name}: {path}")

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class _Amount(ProgressColumn):
    """Progress column such as ``120/300 frames, 85.0 frames/s``."""

    def render(self, task: Task) -> Text:
        step = task.description
        if step == WHOLE_RUN:
            left = max(float(task.fields["left"]) - (time.monotonic() - float(task.fields["at"])), 0.0)
            return Text("" if task.finished else f"{duration_text(_coarse(left))} left")
        if task.fields.get("cached"):
            return Text("from the cache")
        if task.finished and "spent" in task.fields:
            spent = float(task.fields["spent"])
            if task.total is not None and task.total > 1 and spent > 0:
                return Text(f"{task.total:.0f} {unit(step)} in {spent:.1f} s, {rate_text(step, task.total / spent)}")
            return Text(f"{spent:.1f} s")
        if task.total is None:
            return Text("")
        rate = f", {rate_text(step, task.speed)}" if task.speed else ""
        return Text(f"{task.completed:.0f}/{task.total:.0f} {unit(step)}{rate}")


def duration_text(seconds: float) -> str:
    """Format a duration as ``45 s``, ``3 min 20 s`` or ``1 h 5 min``."""
    if seconds == float("inf"):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _coarse(seconds: float) -> float:
    """Round a duration up to a precision that an estimate has: 1 s, 5 s above a minute, and 1 min above ten minutes."""
    step = 1 if seconds < 60 else 5 if seconds < 600 else 60
    return -(-seconds // step) * step
