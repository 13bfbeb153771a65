"""Timing of steps, including the cost of cached results.

The computation time and the peak memory of a step are stored next to its result. The full costs of variants that share
cached steps can therefore be compared.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from retalkit.observer import Observer
from retalkit.storage.cache import Folder

_PEAK = "cost-memory.json"


def stored_cost(folder: Folder, name: str, seconds: float, done: int, total: int) -> float | None:
    """Return the cost in seconds of ``total`` units of work, or None if the cost is unknown.

    The current run spent ``seconds`` on ``done`` units. The first measurement that covers at least half of the units is
    stored in ``folder`` and reused in later runs. A partial measurement is scaled to ``total``.
    """
    file = f"cost-{name}.json"
    path = folder.path(file)
    if path is not None:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return float(kept["seconds"]) * total / max(int(kept["total"]), 1)
    if done <= 0:
        return None
    cost = seconds * total / done
    if 2 * done >= total:
        with folder.write(file) as written:
            written.write_text(json.dumps({"seconds": round(cost, 4), "total": total}), encoding="utf-8")
    return cost


def stored_peak(folder: Folder, fresh: bool) -> int | None:
    """Return the peak memory of the process in bytes up to the end of a step's computation, or None if the peak is
    unknown.

    ``fresh`` indicates that the current run computed the step. The first measurement is stored in ``folder`` and reused
    in later runs.
    """
    path = folder.path(_PEAK)
    if path is not None:
        return int(json.loads(path.read_text(encoding="utf-8"))["bytes"])
    peak = peak_memory_bytes()
    if not fresh or not peak:
        return None
    with folder.write(_PEAK) as written:
        written.write_text(json.dumps({"bytes": peak}), encoding="utf-8")
    return peak


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process in bytes, or 0 if the operating system does not report the
    peak."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


class Stopwatch:
    """Stopwatch that accumulates the time in seconds of named tasks. Each name must be used in only one thread."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.units: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def timing(self, name: str, units: int) -> Generator[None]:
        """Measure the time of the block, which processes ``units`` units of work."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start
        self.units[name] += units


class RunningStep:
    """Pipeline step in progress."""

    def __init__(self) -> None:
        self.was_cached = False

    def cached(self) -> None:
        """Record that the step's result was read from the cache."""
        self.was_cached = True


class StepTimer:
    """Timer that measures the time of each step, reports steps to the observer, and collects their cost and peak
    memory."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._counted: set[tuple[str, Path]] = set()
        self.seconds: dict[str, float] = {}
        """Mapping from step to wall-clock time in seconds."""
        self.cached_steps: list[str] = []
        self.cost: dict[str, float] = {}
        """Mapping from step to computation time in seconds, measured when the step was computed."""
        self.peaks: dict[str, int | None] = {}
        """Mapping from step to the peak memory of the process in bytes up to the end of the step's computation, or None
        if the peak is unknown."""

    @contextmanager
    def step(
        self, name: str, total: int | None, folder: Folder | None = None, *, store_cost: bool = True
    ) -> Generator[RunningStep]:
        """Measure the time of a step that has ``total`` units.

        The step's peak memory is stored in ``folder`` next to its result. The step's cost is also stored if
        ``store_cost`` is True. A caller that measures the cost more precisely sets ``store_cost`` to False and stores
        its own measurement.
        """
        running = RunningStep()
        self._observer.started(name, total)
        start = time.perf_counter()
        yield running
        seconds = time.perf_counter() - start
        # Only the runner's own steps are recorded. Steps that a stage reports may be parts of the runner's steps and
        # would be counted twice.
        # A step that is executed for several persons or speeches is cached if it was cached every time.
        repeated = name in self.seconds
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 4)
        if not running.was_cached and name in self.cached_steps:
            self.cached_steps.remove(name)
        elif running.was_cached and not repeated:
            self.cached_steps.append(name)
        if folder is not None:
            peak = stored_peak(folder, not running.was_cached)
            known = self.peaks.get(name, 0)
            self.peaks[name] = None if peak is None or known is None else max(peak, known)
        if folder is None or not store_cost:
            cost: float | None = seconds
        else:
            cost = stored_cost(folder, "open", seconds, int(not running.was_cached), 1)
        # A cached result that is read again, such as the faces of a run with cues, was computed only once.
        counted = folder is not None and (name, folder.folder) in self._counted
        if cost is not None and not counted:
            self.cost[name] = round(self.cost.get(name, 0.0) + cost, 4)
        if folder is not None:
            self._counted.add((name, folder.folder))
        self._observer.finished(name, seconds, running.was_cached)
