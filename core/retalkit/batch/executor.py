"""Contract between the driver of many tasks and the workers that execute them.

A task is the import path of a function and a JSON payload. Only paths, keys and configuration travel between driver and
workers. All other data is read from files and from the cache, which all workers share.
"""

from __future__ import annotations

import json
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Call of a function in a worker."""

    function: str
    """Import path ``package.module:function`` of a ``TaskFunction``."""
    payload: Mapping[str, Any]
    """JSON-compatible argument of the function."""
    log: Path | None = None
    """File to which the output of the worker process is redirected during the task, or None to discard the output."""
    label: str = ""
    """Name of the task for messages."""

    def to_json(self) -> str:
        """Return the task as JSON. Raises TypeError if the payload is not JSON-compatible."""
        log = None if self.log is None else str(self.log)
        return json.dumps({"function": self.function, "payload": self.payload, "log": log, "label": self.label})

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Return the task that ``to_json`` described."""
        data = json.loads(text)
        log = None if data["log"] is None else Path(data["log"])
        return cls(function=data["function"], payload=data["payload"], log=log, label=data["label"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """Result of a task that ended, successfully or with an error."""

    value: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """JSON-compatible return value of the function."""
    code: str = ""
    """Code of the error, or an empty string on success."""
    message: str = ""
    """Message of the error in one line."""
    is_user_error: bool = False
    """Whether the error is a ``RetalkitError``, which the user can fix."""
    seconds: float = 0.0
    """Wall-clock time in the worker in seconds."""
    cpu_seconds: float = 0.0
    """CPU time of the worker process during the task in seconds."""
    worker: str = ""
    """Host name and process id of the worker, such as ``node1:4711``."""

    @property
    def failed(self) -> bool:
        return bool(self.code)


Report = Callable[[float, float], None]
"""Receiver of a task's progress: estimated time left in seconds, and completed fraction in [0, 1]."""


class WorkerDiedError(Exception):
    """Error raised if a worker ended before the result of a task was received. The task may be submitted again."""


class Executor(Protocol):
    """Runs tasks in worker processes, which keep stages and networks loaded.

    A worker that dies is replaced. Implementations: ``retalkit.batch.local`` and ``retalkit.batch.ray``.
    """

    @property
    def workers(self) -> int:
        """Maximum number of tasks that run at the same time."""
        ...

    def submit(self, task: Task, report: Report | None = None) -> Future[TaskResult]:
        """Start a task, or queue it if all workers are busy.

        ``report`` is called in a different thread, at most about once per second. The future raises WorkerDiedError if
        the worker died, and BatchError if no worker can be started. Errors of the function are part of the result.
        """
        ...

    def cancel(self) -> None:
        """Ask all running tasks to stop between two batches. They end with the code ``cancelled``."""
        ...

    def close(self) -> None:
        """End all workers. Tasks that are still running are terminated."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosedAtExit(ABC):
    """Base class of context managers that are closed at the end of the block."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def death_message(exit_code: int | None) -> str:
    """Return a description of the death of a worker process, such as ``terminated by SIGKILL``."""
    if exit_code is None or exit_code >= 0:
        return f"ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name if -exit_code in {each.value for each in signal.Signals} else str(-exit_code)
    return f"terminated by {name}" + (" (possibly out of memory)" if name == "SIGKILL" else "")
