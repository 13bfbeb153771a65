"""Suppression of log lines that native libraries write to the standard error stream of the command line."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from retalkit.native_logs import FILTER_THREAD, LOG_LINE

_STDERR: Final = 2
_WAIT_SECONDS: Final = 1.0
"""Time that a child process, which may hold the pipe open, can delay the end of the command."""


@contextmanager
def filter_native_logs() -> Generator[None]:
    """Remove native log lines from file descriptor 2 inside the block. Python's ``sys.stderr`` is not filtered.

    The function changes the process, so only the command line calls it, and only once around a command. If descriptor 2
    is closed or Python writes to another stream, the function has no effect.
    """
    stream = sys.stderr
    try:
        if stream is None or stream.fileno() != _STDERR:
            yield
            return
        saved = os.dup(_STDERR)
    except (OSError, ValueError):
        yield
        return
    reading, writing = os.pipe()
    stream.flush()
    os.dup2(writing, _STDERR)
    os.close(writing)
    sys.stderr = open(  # noqa: SIM115
        saved, "w", buffering=1, encoding=stream.encoding, errors=stream.errors, closefd=False
    )
    thread = threading.Thread(target=_forward, args=(reading, saved), name=FILTER_THREAD, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = stream
        os.dup2(saved, _STDERR)
        thread.join(_WAIT_SECONDS)


def _forward(reading: int, target: int) -> None:
    with open(reading, "rb") as pipe:
        for line in pipe:
            if not LOG_LINE.match(line):
                try:
                    os.write(target, line)
                except OSError:
                    # The terminal is gone. The pipe is read further, so that writers do not block.
                    continue
