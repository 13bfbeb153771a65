"""Reaction to Ctrl-C and SIGTERM: the first stops a run between batches, the second stops it at once."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Terminated(BaseException):
    """SIGTERM outside a run. Not a KeyboardInterrupt, which typer replaces with its own exit code."""


class StoppedError(Exception):
    """Run that Ctrl-C or SIGTERM stopped between two batches."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("stopped")
        self.exit_code = exit_code


class StopSignal:
    """Event that Ctrl-C or SIGTERM sets."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.number: int = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """Exit code of a process that the signal stopped: 130 for Ctrl-C and 143 for SIGTERM."""
        return 128 + self.number


def command_text(arguments: Sequence[str]) -> str:
    """Return the shell command that runs ``retalkit`` with the arguments."""
    return shlex.join(["retalkit", *arguments])


def raise_on_sigterm() -> None:
    """Make SIGTERM raise ``Terminated``, so that temporary files are removed.

    Has no effect outside the main thread, in which alone Python allows signal handlers.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)


@contextmanager
def stop_between_batches(*, quiet: bool = False) -> Generator[StopSignal]:
    """Provide an event that Ctrl-C and SIGTERM set, so that a run stops between two batches.

    A second signal raises KeyboardInterrupt or ``Terminated`` at once. Outside the main thread, the event is never set.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request_stop(number: int, frame: FrameType | None) -> None:
        if stop.event.is_set():
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        stop.number = number
        stop.event.set()
        if not quiet:
            sys.stderr.write("stopping after the current batch; press Ctrl-C again to stop at once\n")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before: list[tuple[int, Any]] = [(number, signal.signal(number, request_stop)) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in before:
            signal.signal(number, handler)
