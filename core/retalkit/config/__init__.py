"""Run configuration: models, configuration layers (preset, run file, overrides), error messages and JSON Schema."""

from retalkit.config.model import ENHANCER_LISTS, RunConfig, effective, load, preset_names, read_options
from retalkit.plugins.specs import Choice

__all__ = ["ENHANCER_LISTS", "Choice", "RunConfig", "effective", "load", "preset_names", "read_options"]
