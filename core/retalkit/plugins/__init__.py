"""Plugin discovery: specs, hooks, the registry of what was found, and validation of what plugins offer.

The names below are what a plugin module imports: ``from retalkit.plugins import StageSpec, hookimpl``.
"""

from retalkit.plugins.hooks import GROUP, Hooks, hookimpl, hookspec
from retalkit.plugins.specs import DriverSpec, StageConfig, StageSpec

__all__ = ["GROUP", "DriverSpec", "Hooks", "StageConfig", "StageSpec", "hookimpl", "hookspec"]
