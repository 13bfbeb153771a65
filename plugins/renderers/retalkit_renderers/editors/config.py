"""Options of the expression editors. The module is imported to list stages, so it must not import an array library."""

from __future__ import annotations

from typing import Literal

from retalkit.plugins import StageConfig


class FirstFrameConfig(StageConfig):
    """``first_frame`` has no options."""


class NeutralWarpConfig(StageConfig):
    """Options of ``neutral_warp``."""

    template: Literal["neutral", "smile"] = "neutral"
    """The canonical expression: the person's own closed mouth, or the same with raised corners."""
