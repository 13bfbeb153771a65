"""Options of the lip syncer ``exemplar``. Imported when stages are listed, so it imports no array library."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from retalkit.plugins import DriverChoice, StageConfig


class ExemplarConfig(StageConfig):
    """Options of ``exemplar``."""

    driver: DriverChoice = DriverChoice(use="model")
    """The speech-to-mouth driver, of any installed package, and its options."""
    motion: Path | None = None
    """An .npz file with the arrays times, opening, width, protrusion, closure and speech (see ``MouthMotion``). It
    replaces the driver."""
    bank_size: int = Field(default=300, ge=1, le=600)
    """Maximum number of source frames that mouths are taken from."""
    strength: float = Field(default=1.0, ge=0.0, le=1.5)
    """Amplitude of the mouth motion; 1: the range of this person in the clip."""
    yaw_fade: tuple[float, float] = (35.0, 45.0)
    """Yaw of the head in degrees from which the edit fades, and from which the frame stays unchanged."""
    blend_levels: int = Field(default=5, ge=0, le=7)
    """Levels of the Laplacian pyramid blend; 0: alpha blending."""
    grain: bool = True
    """Restore the grain that warping removes."""

    def drivers(self) -> dict[str, DriverChoice]:
        """Return the selected driver, or an empty dictionary if a motion file replaces the driver."""
        return super().drivers() if self.motion is None else {}
