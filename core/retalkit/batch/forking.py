"""Conditions under which worker processes can be forked copies of this process, which start within milliseconds."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from retalkit.native_logs import FILTER_THREAD

_THREADS = Path("/proc/self/task")
_DESCRIPTORS = Path("/proc/self/fd")


def can_fork() -> bool:
    """Return whether a copy of this process can execute tasks.

    A copy contains only the thread that forks, so that a lock that another thread holds would stay locked. Therefore
    this process may have no other threads, except the thread that filters the logs of native libraries, which holds no
    lock that a task needs. The function supports only Linux, because system libraries of macOS do not work in copies.
    """
    if sys.platform != "linux" or not _THREADS.is_dir():
        return False
    main, threads = threading.main_thread(), threading.enumerate()
    known = all(thread is main or thread.name == FILTER_THREAD for thread in threads)
    return known and threading.current_thread() is main and len(list(_THREADS.iterdir())) == len(threads)


def open_descriptors() -> list[int]:
    """Return the file descriptors of this process that a copy does not need, which excludes the standard streams."""
    listed = [int(path.name) for path in _DESCRIPTORS.iterdir()]
    # One of the descriptors belonged to the directory that was listed.
    return [number for number in listed if number > 2 and (_DESCRIPTORS / str(number)).exists()]
