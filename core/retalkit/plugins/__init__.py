"""Plugin discovery: specs, hooks, the registry of what was found, and validation of what plugins offer.

The names below are what a plugin module imports: ``from retalkit.plugins import StageSpec, hookimpl``.
"""

from retalkit.plugins.hooks import GROUP, Hooks, hookimpl, hookspec
from retalkit.plugins.specs import DriverChoice, DriverSpec, FinishedRun, Finisher, FinisherSpec, StageConfig, StageSpec

__all__ = [
    "GROUP",
    "DriverChoice",
    "DriverSpec",
    "FinishedRun",
    "Finisher",
    "FinisherSpec",
    "Hooks",
    "StageConfig",
    "StageSpec",
    "hookimpl",
    "hookspec",
]
