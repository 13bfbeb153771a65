"""Exception classes. The one-line message of each user error states the problem, its location and the fix."""

from __future__ import annotations


class RetalkitError(Exception):
    """Base class of all user errors. The command line prints the message and exits with status 2.

    ``code`` is a machine-readable identifier of the error type, such as ``unknown-stage``. The code remains stable when
    the message is reworded. Each subclass has a default code.
    """

    code: str = "error"
    others: tuple[str, ...] = ()
    """Messages of other errors that the same validation found, such as those in other rows of a job list."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(RetalkitError):
    """Error raised if the run file, a preset, an override or a stage option is invalid."""

    code = "invalid-config"


class PluginError(RetalkitError):
    """Error raised if a plugin is missing, broken, ambiguous, or incompatible with the supported contract versions."""

    code = "invalid-plugin"


class PlanError(RetalkitError):
    """Error raised if the configured stages are incompatible or a stage requirement is not met."""

    code = "invalid-plan"


class CueError(RetalkitError):
    """Error raised if a cue sheet, a cue option or the selection of a person is invalid."""

    code = "invalid-cues"


class BatchError(RetalkitError):
    """Error raised if a job list is invalid, or if an executor cannot be used."""

    code = "invalid-jobs"


class InputError(RetalkitError):
    """Error raised if a video, image or audio file cannot be used as input."""

    code = "invalid-input"


class OutputError(RetalkitError):
    """Error raised if the output cannot be written to the requested path."""

    code = "invalid-output"


class WeightsError(RetalkitError):
    """Error raised if a checkpoint is missing or unreadable, or does not match its expected content."""

    code = "invalid-weights"


class CredentialsError(RetalkitError):
    """Error raised if Content Credentials cannot be created, imported or read, or if a file cannot be signed."""

    code = "invalid-credentials"


class RunCancelledError(Exception):
    """Exception raised when the caller cancels the run. A repeated call with identical arguments resumes the run."""

    code = "cancelled"


class Terminated(BaseException):
    """Exception that the command line raises when it receives SIGTERM or SIGHUP outside a run.

    ``number`` is the signal. The class is not derived from KeyboardInterrupt, which typer replaces with its own exit
    code.
    """

    def __init__(self, number: int) -> None:
        super().__init__("terminated")
        self.number = number


class StageError(Exception):
    """Error raised if a stage raises an exception or violates its contract. Both cases indicate a bug in the stage."""

    code = "stage-failed"
