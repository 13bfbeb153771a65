"""Progress events as JSON lines on stdout, for programs that start ``retalkit``.

Every line is a JSON object with the key ``event``. ``docs/json-events.md`` describes the events. Later versions may add
events and keys, so readers should ignore unknown ones.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from retalkit.cli.progress import unit

if TYPE_CHECKING:
    from retalkit.batch.outcome import JobOutcome

VERSION: Final = 1
_INTERVAL: Final = 0.5
"""Minimum interval in seconds between two events ``advanced`` of one step, or two events ``time_left``."""


class JsonProgress:
    """Observer that writes every event as a JSON line."""

    def __init__(self, stream: TextIO, command: str, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._lock = threading.Lock()
        self._written: dict[str, float] = {}
        self._totals: dict[str, int | None] = {}
        self.write("begin", version=VERSION, command=command)

    def write(self, event: str, **values: Any) -> None:
        """Write one event."""
        line = json.dumps({"event": event, **values}, ensure_ascii=False, default=str)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def started(self, step: str, total: int | None) -> None:
        self._totals[step] = total
        self.write("started", step=step, total=total, unit=unit(step))

    def advanced(self, step: str, done: int) -> None:
        if done == self._totals.get(step) or self._is_due(step):
            self.write("advanced", step=step, done=done)

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        self.write("finished", step=step, seconds=round(seconds, 3), cached=cached)

    def note(self, text: str) -> None:
        self.write("note", text=text)

    def artefact(self, name: str, path: Path) -> None:
        self.write("artefact", name=name, path=str(path))

    def job(self, outcome: JobOutcome) -> None:
        """Write the result of one job of a batch."""
        values = {"reason": outcome.problem} if outcome.problem else {}
        self.write("job", output=str(outcome.job.output), state=outcome.state, **values)

    def time_left(self, seconds: float, fraction: float) -> None:
        if self._is_due(""):
            self.write("time_left", seconds=round(seconds, 1), fraction=round(min(fraction, 1.0), 4))

    def detail(self, text: str) -> None:
        if self._verbose:
            self.write("detail", text=text)

    def _is_due(self, name: str) -> bool:
        now = time.monotonic()
        if now - self._written.get(name, -_INTERVAL) < _INTERVAL:
            return False
        self._written[name] = now
        return True
