"""Hooks that a plugin module can implement."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from retalkit.plugins.metric_specs import MetricSpec
from retalkit.plugins.specs import DriverSpec, FinisherSpec, StageSpec
from retalkit.weights.checkpoint import Checkpoint

GROUP = "retalkit"
"""Entry-point group in which a package lists its plugin modules."""

hookspec = pluggy.HookspecMarker("retalkit")
hookimpl = pluggy.HookimplMarker("retalkit")


class Hooks:
    """Hook specifications. Every hook is called whenever plugins are listed, so it must not import torch or cv2."""

    @hookspec
    def retalkit_stages(self) -> Iterable[StageSpec]:  # pyright: ignore[reportReturnType]
        """Return the stages that the plugin offers."""

    @hookspec
    def retalkit_drivers(self) -> Iterable[DriverSpec]:  # pyright: ignore[reportReturnType]
        """Return the speech-to-mouth drivers that the plugin offers."""

    @hookspec
    def retalkit_checkpoints(self) -> Iterable[Checkpoint]:  # pyright: ignore[reportReturnType]
        """Return the checkpoints that stages and metrics of the plugin load."""

    @hookspec
    def retalkit_metrics(self) -> Iterable[MetricSpec]:  # pyright: ignore[reportReturnType]
        """Return the metrics that the plugin offers to ``retalkit compare`` and ``retalkit evaluate``."""

    @hookspec
    def retalkit_finishers(self) -> Iterable[FinisherSpec]:  # pyright: ignore[reportReturnType]
        """Return the finishers that the plugin offers."""
