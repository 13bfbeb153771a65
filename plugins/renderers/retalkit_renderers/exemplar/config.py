"""Options of the lip syncer ``exemplar``.

The module is imported to list stages, so it must not import an array library.
"""

from __future__ import annotations

from pydantic import Field
from retalkit.plugins import DriverChoice, StageConfig


class ExemplarConfig(StageConfig):
    """Options of ``exemplar``."""

    driver: DriverChoice = DriverChoice(use="model")
    """Speech-to-mouth driver from any installed package, with the driver's options."""
    bank_size: int = Field(default=300, ge=1, le=600)
    """Maximum number of source frames from which mouth images are selected."""
    strength: float = Field(default=1.0, ge=0.0, le=1.5)
    """Amplitude of the mouth motion. A value of 1 corresponds to the person's range in the clip."""
    yaw_fade: tuple[float, float] = (35.0, 45.0)
    """Head yaw in degrees at which the edit starts to fade, and head yaw from which the frame remains unchanged."""
    blend_levels: int = Field(default=5, ge=0, le=7)
    """Number of levels of the Laplacian pyramid blend. A value of 0 selects alpha blending."""
    grain: bool = True
    """Whether to restore the grain that warping removes."""
