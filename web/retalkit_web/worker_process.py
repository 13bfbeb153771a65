"""Handle of a worker process: sends jobs and receives their events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_RECYCLED_BYTES: Final = 2_500_000_000
"""Resident memory after a job at which the process is replaced. Native libraries keep memory that they have freed."""


class WorkerProcess:
    """Process that runs one job at a time. A process that ended is started again for the next job."""

    def __init__(self, name: str, plugins: tuple[Path, ...] = ()) -> None:
        self.name = name
        self._plugins = plugins
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._job = ""

    def start(self) -> None:
        """Start the process if it is not running. Returns before the process is ready."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", "retalkit_web.worker", self.name, *map(str, self._plugins)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                bufsize=1,
                # Ctrl-C reaches the server, which stops the workers itself.
                start_new_session=True,
            )

    def run(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Run a job and yield its events. The last event is ``done``, ``failed`` or ``cancelled``."""
        self.start()
        process = self._process
        assert process is not None and process.stdout is not None
        self._job = str(request["job"])
        if not self._send({"run": request}):
            self._job = ""
            yield _crash(process)
            return
        for line in process.stdout:
            event = json.loads(line)
            if event.get("job") != request["job"]:
                continue
            if event["event"] in ("done", "failed", "cancelled"):
                self._job = ""
                yield event
                self._recycle()
                return
            yield event
        self._job = ""
        yield _crash(process)

    def cancel(self, job: str) -> None:
        """Stop a job between two batches."""
        self._send({"cancel": job})

    def close(self) -> None:
        """Stop the process. A running job is resumed when the server starts again."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, job: str) -> None:
        """End the process if it still runs the job. The process is started again for the next job."""
        with self._lock:
            if self._process is not None and self._job == job:
                self._process.kill()

    @property
    def memory(self) -> int:
        """Resident memory of the process in bytes, or 0 if it is unknown."""
        process = self._process
        return 0 if process is None else _resident(process.pid)

    def _send(self, message: dict[str, Any]) -> bool:
        with self._lock:
            process = self._process
            if process is None or process.stdin is None:
                return False
            try:
                process.stdin.write(json.dumps(message, ensure_ascii=False) + "\n")
                process.stdin.flush()
            except (OSError, ValueError):
                return False
            return True

    def _recycle(self) -> None:
        if self.memory > _RECYCLED_BYTES:
            self.close()
            self.start()


def _crash(process: subprocess.Popen[str]) -> dict[str, Any]:
    code = process.wait()
    return {
        "event": "failed",
        "code": "worker-ended",
        "message": f"the process that ran the job ended unexpectedly (exit code {code}); start the job again",
    }


def _resident(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
