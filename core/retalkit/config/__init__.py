"""Run configuration: models, layers (preset, run file, overrides), error messages, JSON Schema."""

from retalkit.config.model import RunConfig, StageChoice, effective, load, preset_names, read_options

__all__ = ["RunConfig", "StageChoice", "effective", "load", "preset_names", "read_options"]
