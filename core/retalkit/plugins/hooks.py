"""Hooks that a plugin module can implement."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from retalkit.plugins.metric_specs import MetricSpec
from retalkit.plugins.specs import CommandSpec, DriverSpec, FinisherSpec, RecogniserSpec, StageSpec
from retalkit.weights.checkpoint import Checkpoint

GROUP = "retalkit"
"""Entry-point group in which a package lists its plugin modules."""

hookspec = pluggy.HookspecMarker("retalkit")
hookimpl = pluggy.HookimplMarker("retalkit")


class Hooks:
    """Hook specifications. All hooks are called whenever plugins are listed, so hooks must not import torch or cv2."""

    @hookspec
    def retalkit_stages(self) -> Iterable[StageSpec]:  # pyright: ignore[reportReturnType]
        """Return the plugin's stages."""

    @hookspec
    def retalkit_drivers(self) -> Iterable[DriverSpec]:  # pyright: ignore[reportReturnType]
        """Return the plugin's speech-to-mouth drivers."""

    @hookspec
    def retalkit_checkpoints(self) -> Iterable[Checkpoint]:  # pyright: ignore[reportReturnType]
        """Return the checkpoints that the plugin's stages and metrics load."""

    @hookspec
    def retalkit_metrics(self) -> Iterable[MetricSpec]:  # pyright: ignore[reportReturnType]
        """Return the plugin's metrics for ``retalkit compare`` and ``retalkit evaluate``."""

    @hookspec
    def retalkit_recognisers(self) -> Iterable[RecogniserSpec]:  # pyright: ignore[reportReturnType]
        """Return the plugin's face recognisers."""

    @hookspec
    def retalkit_finishers(self) -> Iterable[FinisherSpec]:  # pyright: ignore[reportReturnType]
        """Return the plugin's finishers."""

    @hookspec
    def retalkit_commands(self) -> Iterable[CommandSpec]:  # pyright: ignore[reportReturnType]
        """Return the commands that the plugin adds to ``retalkit``."""
