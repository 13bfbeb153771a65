"""Options of the expression editors. Light: read when stages are listed."""

from __future__ import annotations

from typing import Literal

from retalkit.plugins import StageConfig


class FirstFrameConfig(StageConfig):
    """``first_frame`` has no options."""


class NeutralWarpConfig(StageConfig):
    """Options of ``neutral_warp``."""

    template: Literal["neutral", "smile"] = "neutral"
    """The canonical expression: the person's own closed mouth, or the same with lifted corners."""
