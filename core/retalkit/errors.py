"""Exception classes. The message of a user error states in one line what is wrong, where, and how to fix it."""

from __future__ import annotations


class RetalkitError(Exception):
    """Base class of all user errors. The command line prints the message and exits with status 2.

    ``code`` is a machine-readable identifier of the error type, such as ``unknown-stage``. The code remains stable when
    the message is reworded. Each subclass has a default code.
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
    """A plugin is missing, broken, ambiguous, or incompatible with the supported contract versions."""

    code = "invalid-plugin"


class PlanError(RetalkitError):
    """The configured stages are incompatible, or a requirement of a stage is missing."""

    code = "invalid-plan"


class InputError(RetalkitError):
    """A video, image or audio file cannot be used as input."""

    code = "invalid-input"


class OutputError(RetalkitError):
    """The output cannot be written to the requested path."""

    code = "invalid-output"


class WeightsError(RetalkitError):
    """A checkpoint is missing, unreadable, or does not match its expected content."""

    code = "invalid-weights"


class RunCancelledError(Exception):
    """The caller cancelled the run. Repeating the call resumes the run."""

    code = "cancelled"


class StageError(Exception):
    """A stage raised an exception or violated its contract, which indicates a bug in the stage."""

    code = "stage-failed"
