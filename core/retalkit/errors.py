"""Errors that a user can cause: one line that states what is wrong, where, and what to do."""

from __future__ import annotations


class RetalkitError(Exception):
    """Base class of all user errors. The command line prints the message and exits with 2.

    ``code`` identifies the kind of error for programs and tests, such as ``unknown-stage``. It stays the same when the
    message is reworded. Each subclass has a default code.
    """

    code: str = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(RetalkitError):
    """The run file, a preset, an override or a stage option is invalid."""

    code = "invalid-config"


class PluginError(RetalkitError):
    """A plugin is missing, broken, ambiguous, or built for another contract version."""

    code = "invalid-plugin"


class PlanError(RetalkitError):
    """The configured stages do not fit together, or something they require is missing."""

    code = "invalid-plan"


class InputError(RetalkitError):
    """A video, photo or audio file cannot be used."""

    code = "invalid-input"


class OutputError(RetalkitError):
    """The result cannot be written to the requested path."""

    code = "invalid-output"


class WeightsError(RetalkitError):
    """A checkpoint is missing, does not match, or cannot be read."""

    code = "invalid-weights"


class RunCancelledError(Exception):
    """The caller stopped the run. The same call resumes it."""

    code = "cancelled"


class StageError(Exception):
    """A stage raised an exception or broke its contract: a bug in the stage, not a user error."""

    code = "stage-failed"
