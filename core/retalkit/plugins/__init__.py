"""Plugin discovery: specs, hooks, the plugin registry, and the validation of plugin specs.

Plugin modules import the required names from this package, for example ``from retalkit.plugins import StageSpec,
hookimpl``.
"""

from retalkit.plugins.hooks import GROUP, Hooks, hookimpl, hookspec
from retalkit.plugins.specs import (
    CommandSpec,
    DriverChoice,
    DriverSpec,
    FinishedRun,
    Finisher,
    FinisherSpec,
    RecogniserSpec,
    StageConfig,
    StageSpec,
)

__all__ = [
    "GROUP",
    "CommandSpec",
    "DriverChoice",
    "DriverSpec",
    "FinishedRun",
    "Finisher",
    "FinisherSpec",
    "Hooks",
    "RecogniserSpec",
    "StageConfig",
    "StageSpec",
    "hookimpl",
    "hookspec",
]
