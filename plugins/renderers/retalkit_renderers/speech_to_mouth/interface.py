"""The drivers of this package by name. Light: the plugin's specs are made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from retalkit.plugins import DriverSpec, StageConfig
from retalkit.stages import SpeechToMouth

WEIGHTS: Final = Path(__file__).parent / "weights" / "speech_to_mouth.safetensors"


class DriverConfig(StageConfig):
    """Which driver a lip syncer asks for the mouth's motion."""

    use: Literal["model", "bands"] = "model"
    """``model``: a small network trained on synthetic speech of many languages. ``bands``: a rule on band energies,
    without training."""

    def files(self) -> dict[str, Path]:
        """The weights, if the driver has any."""
        return {"weights": WEIGHTS} if self.use == "model" else {}


DRIVERS = (
    DriverSpec(
        name="model",
        summary="a small network trained on synthetic speech of many languages",
        build="retalkit_renderers.speech_to_mouth.model:ModelDriver",
    ),
    DriverSpec(
        name="bands",
        summary="a rule on band energies, without training",
        build="retalkit_renderers.speech_to_mouth.bands:BandDriver",
    ),
)


def open_driver(config: DriverConfig) -> SpeechToMouth:
    """The driver that ``config`` names; it is imported only now. Raises PluginError where its weights are missing."""
    return next(spec for spec in DRIVERS if spec.name == config.use).make()
