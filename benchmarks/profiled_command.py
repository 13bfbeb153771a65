"""Run the command ``retalkit`` and write the CPU time of its threads, steps and functions to a JSON file.

A thread reads the CPU time of all threads and child processes from /proc at a fixed interval, so the profiler requires
Linux. The CPU time of a thread since the last reading is added to the current step of the main thread and to the
innermost function of Retalkit that the thread executes.

Run: python benchmarks/profiled_command.py PROFILE.json SECONDS dub VIDEO SPEECH -o OUTPUT

``SECONDS`` is the time of ``time.monotonic`` at which the process was started.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

INTERVAL = 0.02
"""Seconds between two readings."""
START, BETWEEN, END = "start-up", "between", "end"
"""Phases in which no step is executed: before the first step, between two steps, and after the last step."""
ENDED = "(ended threads)"
"""CPU time of threads after their last reading."""
OWN = "profiler"


class Profiler:
    """Profiler of this process. ``cpu`` and ``functions`` contain CPU times in seconds."""

    def __init__(self) -> None:
        self.cpu: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        """Mapping from phase and thread to CPU time. Child processes are listed like threads."""
        self.functions: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        """Mapping from thread and function to CPU time."""
        self.steps: list[dict[str, Any]] = []
        """Steps with the name of their thread, and their start and end in seconds of ``time.monotonic``."""
        self._phase = START
        self._last: dict[int, float] = {}
        self._accounted = 0.0
        self._patched = self._main_ended = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name=OWN, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self._patch_steps()
            self._read()
        self._read()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        seen = sum(value for phase in self.cpu.values() for name, value in phase.items() if name.startswith("process "))
        self.cpu[END]["process (ended)"] = max(0.0, children.ru_utime + children.ru_stime - seen)

    def _patch_steps(self) -> None:
        """Measure the steps of the pipeline. The pipeline is patched as soon as it has been imported, because importing
        it earlier would change the measured start-up."""
        timing = sys.modules.get("retalkit.pipeline.timing")
        timer = getattr(timing, "StepTimer", None)
        if self._patched or timer is None:
            return
        self._patched = True
        measured = timer.step

        @contextmanager
        def step(own: Any, name: str, *arguments: Any, **options: Any) -> Iterator[Any]:
            thread = threading.current_thread()
            entry = {"name": name, "thread": thread_name(thread.name), "start": time.monotonic()}
            if main := thread is threading.main_thread():
                self._phase = name
            try:
                with measured(own, name, *arguments, **options) as running:
                    yield running
            finally:
                self.steps.append({**entry, "stop": time.monotonic(), "main": main})
                if main:
                    self._phase = END if name == "join" else BETWEEN

        timer.step = step

    def _read(self) -> None:
        """Add the CPU times since the last reading to the current phase."""
        phase = self.cpu[self._phase]
        names = {thread.native_id: thread_name(thread.name) for thread in threading.enumerate()}
        frames = {thread.native_id: sys._current_frames().get(thread.ident or 0) for thread in threading.enumerate()}
        process = time.process_time()
        accounted = 0.0
        for identifier, seconds in thread_times(os.getpid()).items():
            used = seconds - self._last.get(identifier, 0.0)
            self._last[identifier] = seconds
            if used <= 0:
                continue
            name = names.get(identifier) or thread_name(comm(os.getpid(), identifier))
            phase[name] += used
            accounted += used
            if name != OWN:
                self.functions[name][function_name(frames.get(identifier))] += used
        self._accounted += accounted
        rest = process - self._accounted
        if rest > 0:
            phase[ENDED] += rest
            self._accounted += rest
        known = {child.pid: child.name for child in multiprocessing.active_children()}
        for child in descendants(os.getpid()):
            label = "process " + thread_name(known.get(child) or comm(child, child))
            for identifier, seconds in thread_times(child).items():
                used = seconds - self._last.get(identifier, 0.0)
                self._last[identifier] = seconds
                phase[label] += max(0.0, used)


def thread_times(process: int) -> dict[int, float]:
    """Return the CPU time in seconds of each thread of a process."""
    times: dict[int, float] = {}
    for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
        try:
            times[int(path.parent.name)] = int(path.read_text().split()[0]) / 1e9
        except (OSError, ValueError, IndexError):
            continue  # The thread has ended.
    return times


def descendants(process: int) -> list[int]:
    """Return the ids of the child processes of a process, including indirect child processes."""
    found: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(word) for word in path.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def comm(process: int, thread: int) -> str:
    """Return the name that the operating system stores for a thread, or ``native`` if the thread has no own name."""
    try:
        name = Path(f"/proc/{process}/task/{thread}/comm").read_text().strip()
    except OSError:
        return "native"
    return "native" if process == os.getpid() and name == _PROCESS_NAME else name


_PROCESS_NAME = Path("/proc/self/comm").read_text().strip() if Path("/proc/self/comm").exists() else ""


def thread_name(name: str) -> str:
    """Return the common name of the numbered threads of a pool."""
    return re.sub(r"[-_ :/]*\d+(?=$| \()", "", name) or name


def function_name(frame: FrameType | None) -> str:
    """Return the innermost function of Retalkit on a thread's stack."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("retalkit"):
            return f"{module}:{frame.f_code.co_qualname}"
        frame = frame.f_back
    return "(no function of Retalkit)"


def main() -> None:
    target, started = Path(sys.argv[1]), float(sys.argv[2])
    profiler = Profiler()
    profiler.start()
    try:
        from retalkit.cli.main import main as retalkit

        sys.argv = ["retalkit", *sys.argv[3:]]
        retalkit()
    finally:
        profiler.stop()
        facts = {"started": started, "ended": time.monotonic(), "steps": profiler.steps}
        target.write_text(json.dumps({**facts, "cpu": profiler.cpu, "functions": profiler.functions}))


if __name__ == "__main__":
    main()
