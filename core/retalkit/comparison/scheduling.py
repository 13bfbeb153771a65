"""Execution of comparison tasks in parallel worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from retalkit.comparison.cell_store import CellStore
from retalkit.comparison.tasks import Task

_POLL: Final = 0.05
_MODULE: Final = "retalkit.comparison.worker"


@dataclass(slots=True)
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    opened_clip: bool
    """Whether the task is the clip's first task. The clip's other tasks use the results that the first task caches."""


def run_tasks(
    tasks: Sequence[Task],
    text: Callable[[Task], str],
    store: CellStore,
    jobs: int,
    ended: Callable[[Task, str], None],
) -> None:
    """Run every task, with at most ``jobs`` tasks in parallel.

    ``text`` returns the content of a task file. ``ended`` is called for every finished task, with the task's error
    message or with an empty string on success. The first task of a clip runs before the clip's other tasks, so that
    shared steps are computed only once. If an exception is raised (such as KeyboardInterrupt), running processes are
    terminated.
    """
    waiting = list(tasks)
    running: list[_Running] = []
    opened: set[str] = set()
    with TemporaryDirectory(prefix="retalkit-tasks-") as folder:
        try:
            while waiting or running:
                busy = {each.task.clip_name for each in running if each.opened_clip}
                following = next((task for task in waiting if task.clip_name not in busy), None)
                if following is not None and len(running) < jobs:
                    waiting.remove(following)
                    first = following.clip_name not in opened and not following.rerun
                    opened.add(following.clip_name)
                    running.append(_Running(following, _start(following, text, store, Path(folder)), first))
                    continue
                for each in list(running):
                    if each.process.poll() is not None:
                        running.remove(each)
                        ended(each.task, _outcome(each.process.returncode, store.log(each.task.key)))
                time.sleep(_POLL)
        finally:
            for each in running:
                each.process.terminate()
            for each in running:
                each.process.wait()


def _start(task: Task, text: Callable[[Task], str], store: CellStore, folder: Path) -> subprocess.Popen[bytes]:
    file = folder / f"{task.key}.json"
    file.write_text(text(task), encoding="utf-8")
    log = store.log(task.key)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        command = [sys.executable, "-m", _MODULE, str(file)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(os.environ))


def _outcome(code: int, log: Path) -> str:
    """Return an empty string on success, otherwise the error message in one line."""
    if code == 0:
        return ""
    if code < 0:
        name = signal.Signals(-code).name if -code in {each.value for each in signal.Signals} else str(-code)
        hint = " (possibly out of memory)" if name == "SIGKILL" else ""
        return f"process terminated by {name}{hint}; see {log}"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit code {code}"
    return last if code == 2 else f"internal error: {last}; see {log}"
