"""Options of the enhancers ``detail`` and ``none``. Imported when stages are listed, so it imports no array library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from retalkit.plugins import StageConfig


class DetailConfig(StageConfig):
    """Options of ``detail``."""

    on: Literal["mouth", "face"] = "mouth"
    """Where detail is restored: at the mouth and in a ring of skin around it, or wherever the face was edited."""
    strength: float = Field(default=1.0, ge=0.0, le=1.5)
    """Amount: 1 restores the level of the original, 0 does nothing; at most 1.5."""


class NoneConfig(StageConfig):
    """``none`` has no options."""
