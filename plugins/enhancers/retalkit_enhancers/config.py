"""Options of the enhancers ``detail`` and ``none``.

This module is imported whenever stages are listed, so it must not import an array library.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from retalkit.plugins import StageConfig


class DetailConfig(StageConfig):
    """Options of the enhancer ``detail``."""

    on: Literal["mouth", "face"] = "mouth"
    """Region whose detail is restored. ``mouth`` selects the mouth and a surrounding ring of skin, and ``face`` selects
    the whole edited face.
    """
    strength: float = Field(default=1.0, ge=0.0, le=1.5)
    """Restoration strength, from 0 (no change) to 1.5. A value of 1 restores the original frame's level of detail."""


class NoneConfig(StageConfig):
    """Options of the enhancer ``none``, which has no configurable settings."""
