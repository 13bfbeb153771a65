"""Options of the expression editors.

This module is imported whenever stages are listed, so it must not import an array library.
"""

from __future__ import annotations

from typing import Literal

from retalkit.plugins import StageConfig


class FirstFrameConfig(StageConfig):
    """Options of the expression editor ``first_frame``, which has no configurable settings."""


class NeutralWarpConfig(StageConfig):
    """Options of the expression editor ``neutral_warp``."""

    template: Literal["neutral", "smile"] = "neutral"
    """Expression that is applied to every frame. ``neutral`` selects the person's own closed mouth, and ``smile``
    selects the closed mouth with raised corners.
    """


class NoneConfig(StageConfig):
    """Options of the expression editor ``none``, which has no configurable settings."""
