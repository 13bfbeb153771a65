"""Specs of the drivers ``model`` and ``bands``.

The module is imported to list plugins, so it must not import an array library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from retalkit.plugins import DriverSpec, StageConfig

WEIGHTS: Final = Path(__file__).parent / "weights" / "speech_to_mouth.safetensors"


class ModelDriverConfig(StageConfig):
    """Options of ``model``, which has no settings."""

    def files(self) -> dict[str, Path]:
        """Return the path of the weights file in the package."""
        return {"weights": WEIGHTS}


class BandDriverConfig(StageConfig):
    """Options of ``bands``, which has no settings."""


DRIVERS: Final = (
    DriverSpec(
        name="model",
        summary="a small network trained on synthetic speech of many languages",
        build="retalkit_renderers.speech_to_mouth.model:make_driver",
        config=ModelDriverConfig,
        api=2,
    ),
    DriverSpec(
        name="bands",
        summary="rules on band energies, without training",
        build="retalkit_renderers.speech_to_mouth.bands:make_driver",
        config=BandDriverConfig,
        api=2,
    ),
)
