"""Options of the lip syncer ``exemplar``. Light: read when stages are listed."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from retalkit.plugins import DriverChoice, StageConfig


class ExemplarConfig(StageConfig):
    """Options of ``exemplar``."""

    driver: DriverChoice = DriverChoice(use="model")
    """The driver: a speech-to-mouth model of any installed package, and its options."""
    motion: Path | None = None
    """An .npz file with arrays times, opening, width, protrusion, closure, speech (see ``MouthMotion``) that drives
    the lips instead of the speech."""
    bank_size: int = Field(default=300, ge=1, le=600)
    """Most source frames that mouths are taken from."""
    strength: float = Field(default=1.0, ge=0.0, le=1.5)
    """How far the mouth moves; 1 is what this person does in the clip."""
    yaw_fade: tuple[float, float] = (35.0, 45.0)
    """Head turn in degrees at which the edit begins to fade and at which the original frame comes through."""
    blend_levels: int = Field(default=5, ge=0, le=7)
    """Levels of the Laplacian blend; 0 blends plainly."""
    grain: bool = True
    """Put back the grain that warping takes away."""

    def drivers(self) -> dict[str, DriverChoice]:
        """Return the driver; none where a motion file replaces it."""
        return super().drivers() if self.motion is None else {}
