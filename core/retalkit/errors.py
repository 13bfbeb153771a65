"""Errors that a user can cause: one line that says what, where and what to do."""


class RetalkitError(Exception):
    """Base of every error that a user can cause; the command line shows its text and exits with 2."""


class ConfigError(RetalkitError):
    """The run file, a preset, an override or a stage option is wrong."""


class PluginError(RetalkitError):
    """A plugin is missing, broken, doubled, or made for another version of the contracts."""


class PlanError(RetalkitError):
    """The configured stages do not fit together, or something they need is not there."""


class InputError(RetalkitError):
    """A video, photo or sound file that the user named cannot be used."""


class OutputError(RetalkitError):
    """The result cannot be written where the user asked for it."""


class WeightsError(RetalkitError):
    """A checkpoint is missing, is another one, or cannot be read."""


class StageError(Exception):
    """A stage raised, or gave what its contract forbids: a fault of its author, not of the user."""
