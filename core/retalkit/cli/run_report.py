"""Reporting of a run: progress, result, errors and stop requests, as text or as JSON lines."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import typer

from retalkit.cli.interrupts import StoppedError, stop_between_batches
from retalkit.cli.json_progress import JsonProgress
from retalkit.cli.progress import progress
from retalkit.errors import ConfigError, RetalkitError, RunCancelledError, StageError
from retalkit.observer import Observer
from retalkit.pipeline.record import RunRecord

NEEDS_REVIEW = 4
"""Exit code of a run that edited no frame. Batches use the same code for results that need review."""


class RunReport:
    """Receiver of a run's events and result."""

    def __init__(self, observer: Observer, stopped: threading.Event, quiet: bool) -> None:
        self.observer = observer
        self.stopped = stopped
        """Event that Ctrl-C and SIGTERM set."""
        self._quiet = quiet
        self.summary = ""
        """Text that is printed after the progress display has ended."""
        self.unedited = False
        """Whether the run finished without editing a frame."""

    def result(self, record: RunRecord) -> None:
        """Report the result of the run."""
        self.unedited = record.frames_edited == 0
        if isinstance(self.observer, JsonProgress):
            self.observer.write(
                "result",
                output=str(record.output),
                record=str(record.record),
                frames_edited=record.frames_edited,
                frames_passed=record.frames_passed,
                output_seconds=record.output_seconds,
                wall_seconds=record.wall_seconds,
            )
        elif not self._quiet:
            from retalkit.cli.summary import summary

            self.summary = summary(record)


@contextmanager
def report_run(*, quiet: bool, verbose: bool, as_json: bool, command: str) -> Generator[RunReport]:
    """Report a run on stderr, or as JSON lines on stdout if ``as_json`` is True.

    ``command``: shell command of this run, which resumes the run after it was stopped.

    Raises:
        ConfigError: the options exclude each other.
        StoppedError: Ctrl-C or SIGTERM stopped the run.
        typer.Exit: the run finished, but edited no frame. The exit code is ``NEEDS_REVIEW``.
    """
    if quiet and (verbose or as_json):
        other = "--verbose" if verbose else "--json"
        raise ConfigError(
            f"--quiet and {other} exclude each other; remove one of the options", code="exclusive-options"
        )
    with ExitStack() as stack:
        json_events = JsonProgress(sys.stdout, command, verbose=verbose) if as_json else None
        stop = stack.enter_context(stop_between_batches(quiet=quiet or as_json))
        observer = json_events or stack.enter_context(progress(quiet=quiet, verbose=verbose))
        report = RunReport(observer, stop.event, quiet)
        try:
            yield report
        except RunCancelledError as error:
            if json_events is not None:
                json_events.write("stopped", resume=command)
            raise StoppedError(stop.exit_code) from error
        except (RetalkitError, StageError) as error:
            if json_events is not None:
                others = list(error.others) if isinstance(error, RetalkitError) else []
                json_events.write(
                    "error",
                    code=error.code,
                    message=" ".join(str(error).split()),
                    **({"others": others} if others else {}),
                )
            raise
    if report.summary:
        typer.echo(report.summary)
    if report.unedited:
        raise typer.Exit(NEEDS_REVIEW)
