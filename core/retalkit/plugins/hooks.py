"""Hooks that a plugin module may implement."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from retalkit.plugins.metric_specs import MetricSpec
from retalkit.plugins.specs import DriverSpec, FinisherSpec, StageSpec
from retalkit.weights.checkpoint import Checkpoint

GROUP = "retalkit"
"""Entry-point group under which a package names its plugin modules."""

hookspec = pluggy.HookspecMarker("retalkit")
hookimpl = pluggy.HookimplMarker("retalkit")


class Hooks:
    """What a plugin module may implement."""

    @hookspec
    def retalkit_stages(self) -> Iterable[StageSpec]:  # pyright: ignore[reportReturnType]
        """The stages that the plugin offers. Must be light: no torch, no cv2."""

    @hookspec
    def retalkit_drivers(self) -> Iterable[DriverSpec]:  # pyright: ignore[reportReturnType]
        """The speech-to-mouth drivers that the plugin offers. Must be light, too."""

    @hookspec
    def retalkit_checkpoints(self) -> Iterable[Checkpoint]:  # pyright: ignore[reportReturnType]
        """The checkpoints that the plugin's stages and metrics load. Must be light, too."""

    @hookspec
    def retalkit_metrics(self) -> Iterable[MetricSpec]:  # pyright: ignore[reportReturnType]
        """The metrics that the plugin offers to ``retalkit compare`` and ``retalkit evaluate``. Must be light, too."""

    @hookspec
    def retalkit_finishers(self) -> Iterable[FinisherSpec]:  # pyright: ignore[reportReturnType]
        """Return the finishers that the plugin offers. Must be light."""
