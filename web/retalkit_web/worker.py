"""Worker process, which runs the jobs of the page one after another and keeps its stages and networks loaded.

The server writes JSON lines to stdin: ``{"run": {...}}`` and ``{"cancel": JOB}``. The worker writes JSON lines to
stdout: ``ready``, progress events and one last event per job (``done``, ``failed`` or ``cancelled``). The worker exits
when stdin is closed, so that it never outlives the server.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

Send = Callable[..., None]
_INTERVAL: Final = 0.15
"""Minimum interval in seconds between two progress events of one step."""


class JobEvents:
    """Observer that sends the events of a run, and measures the rate of each step."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._totals: dict[str, int | None] = {}
        self._begin: dict[str, tuple[float, int]] = {}
        self._sent: dict[str, float] = {}

    def started(self, step: str, total: int | None) -> None:
        with self._lock:
            self._totals[step] = total
            self._begin.pop(step, None)
        self._send("progress", step=step, done=0, total=total, rate=None)

    def advanced(self, step: str, done: int) -> None:
        now = time.monotonic()
        with self._lock:
            begin, first = self._begin.setdefault(step, (now, done))
            total = self._totals.get(step)
            if done != total and now - self._sent.get(step, -_INTERVAL) < _INTERVAL:
                return
            self._sent[step] = now
        rate = (done - first) / (now - begin) if now - begin > 0.3 and done > first else None
        self._send("progress", step=step, done=done, total=total, rate=rate)

    def finished(self, step: str, seconds: float, cached: bool) -> None:
        self._send("finished", step=step, seconds=round(seconds, 3), cached=cached)

    def note(self, text: str) -> None:
        self._send("note", text=text)

    def artefact(self, name: str, path: Path) -> None:
        pass

    def time_left(self, seconds: float, fraction: float) -> None:
        now = time.monotonic()
        if now - self._sent.get("", -_INTERVAL) >= _INTERVAL:
            self._sent[""] = now
            self._send("left", seconds=round(seconds, 1), fraction=round(min(fraction, 1.0), 4))


def main() -> None:
    """Run jobs until stdin is closed."""
    # Libraries print to stdout, which would break the protocol.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    lock = threading.Lock()

    def write(event: str, **values: Any) -> None:
        line = json.dumps({"event": event, **values}, ensure_ascii=False, default=str)
        with lock:
            output.write(line + "\n")
            output.flush()

    waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
    cancellations: dict[str, threading.Event] = {}
    threading.Thread(target=_read, args=(sys.stdin, waiting, cancellations), daemon=True).start()
    plugins = [Path(each) for each in sys.argv[2:]]
    runner = _Runner(plugins)
    runner.warm_up(sys.argv[1:2] == ["interactive"])
    write("ready", pid=os.getpid())
    while (request := waiting.get()) is not None:
        job = str(request["job"])
        runner.run(request, cancellations[job], partial(write, job=job))
        cancellations.pop(job, None)


def _read(
    stream: TextIO, waiting: queue.Queue[dict[str, Any] | None], cancellations: dict[str, threading.Event]
) -> None:
    for line in stream:
        message = json.loads(line)
        if "cancel" in message:
            found = cancellations.get(message["cancel"])
            if found is not None:
                found.set()
        else:
            cancellations[message["run"]["job"]] = threading.Event()
            waiting.put(message["run"])
    for event in cancellations.values():
        event.set()
    waiting.put(None)
    # A run that does not reach its next batch must not keep the process alive.
    threading.Timer(10.0, os._exit, (0,)).start()


class _Runner:
    """Executor of jobs in this process."""

    def __init__(self, plugins: list[Path]) -> None:
        from retalkit.plugins.discovery import discover
        from retalkit.stages import ObjectPool

        self.registry = discover(plugins)
        self.pool = ObjectPool()

    def warm_up(self, interactive: bool) -> None:
        """Load the stages of the default preset, so that the first job starts at once."""
        if not interactive:
            return
        from importlib import import_module

        from retalkit.config.model import load
        from retalkit.pipeline.plan import plan

        import_module("retalkit.inspection.inspect")
        config = load(self.registry)
        for stage in plan(config, self.registry).stages:
            stage.make(config, self.pool)

    def run(self, request: dict[str, Any], cancellation: threading.Event, send: Send) -> None:
        """Run one job and send its last event."""
        from retalkit.errors import RetalkitError, RunCancelledError, StageError

        from retalkit_web.job_kinds import KINDS, RunningJob
        from retalkit_web.run_request import parse_request
        from retalkit_web.sessions import Session
        from retalkit_web.uploads import DISK_FULL, is_disk_full

        folder = Path(request["folder"])
        session = Session(folder.parent.parent)
        try:
            os.chdir(folder)
            job = RunningJob(
                parse_request(request["request"]),
                session,
                folder,
                self.registry,
                self.pool,
                cancellation,
                JobEvents(send),
            )
            result = KINDS[request["kind"]](job)
        except RunCancelledError:
            send("cancelled")
        except (RetalkitError, StageError) as error:
            send("failed", code=error.code, message=" ".join(str(error).split()))
        except Exception as error:
            import traceback

            traceback.print_exc()
            if is_disk_full(error):
                send("failed", code="disk-full", message=DISK_FULL)
            else:
                send("failed", code="internal-error", message=f"{type(error).__name__}: {error}")
        else:
            send("done", result=result)
        finally:
            os.chdir("/")
            _release_memory()


def _release_memory() -> None:
    """Return freed memory to the operating system. The allocator of glibc keeps it in one arena per thread otherwise,
    and the resident memory grows by tens of megabytes per run."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


if __name__ == "__main__":
    main()
