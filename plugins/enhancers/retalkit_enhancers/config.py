"""Options of the enhancers. Light: read when stages are listed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from retalkit.plugins import StageConfig


class DetailConfig(StageConfig):
    """Options of ``detail``."""

    on: Literal["mouth", "face"] = "mouth"
    """Where detail is restored: in the ring of skin around the mouth and in it, or wherever the face was edited."""
    strength: float = Field(default=1.0, ge=0.0, le=1.5)
    """1 restores what the original has, 0 does nothing, up to 1.5."""


class NoneConfig(StageConfig):
    """``none`` has no options."""
