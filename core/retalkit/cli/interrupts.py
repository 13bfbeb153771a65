"""Reaction to Ctrl-C, SIGTERM and SIGHUP: the first stops a run between batches, the second stops it at once."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

from retalkit.errors import Terminated

_TERMINATING: Final = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
"""Signals that end a process and that the operating system supports."""


class StoppedError(Exception):
    """Run that a signal stopped between two batches."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("stopped")
        self.exit_code = exit_code


class StopSignal:
    """Event that Ctrl-C, SIGTERM or SIGHUP sets."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.number: int = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """Exit code of a process that the signal stopped: 130 for Ctrl-C, 143 for SIGTERM and 129 for SIGHUP."""
        return 128 + self.number


def command_text(arguments: Sequence[str]) -> str:
    """Return the shell command that runs ``retalkit`` with the arguments."""
    return shlex.join(["retalkit", *arguments])


def raise_on_termination() -> list[int]:
    """Make SIGTERM and SIGHUP raise ``Terminated``, so that temporary files are removed.

    Returns a list to which the numbers of these signals and of SIGINT are appended. An extension module that is being
    imported replaces the exception of a signal by ImportError.

    Signals that are ignored, such as SIGHUP under ``nohup``, remain ignored. Has no effect outside the main thread, in
    which alone Python allows signal handlers.
    """
    received: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    if threading.current_thread() is threading.main_thread():
        for number in _handled([signal.SIGINT, *_TERMINATING]):
            signal.signal(number, terminate)
    return received


def _handled(numbers: Iterable[int]) -> list[int]:
    """Return the signals that the parent process has not set to be ignored."""
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


@contextmanager
def stop_between_batches(*, quiet: bool = False) -> Generator[StopSignal]:
    """Provide an event that Ctrl-C, SIGTERM and SIGHUP set, so that a run stops between two batches.

    A second signal raises KeyboardInterrupt or ``Terminated`` at once. Outside the main thread, the event is never set.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request_stop(number: int, frame: FrameType | None) -> None:
        if stop.event.is_set():
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
        stop.number = number
        stop.event.set()
        # The terminal no longer exists after SIGHUP.
        with suppress(OSError):
            if not quiet:
                sys.stderr.write("stopping after the current batch; press Ctrl-C again to stop at once\n")

    numbers = [signal.SIGINT, *_handled(_TERMINATING)]
    before: list[tuple[int, Any]] = [(number, signal.signal(number, request_stop)) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in before:
            signal.signal(number, handler)
