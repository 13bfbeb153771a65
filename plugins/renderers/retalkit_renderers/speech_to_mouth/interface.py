"""The one interface between speech and mouth shapes, whoever works them out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol

from retalkit.plugins import StageConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from retalkit.stages import MouthMotion, Speech


class DriverConfig(StageConfig):
    """Which driver a lip syncer asks for the mouth's motion."""

    use: Literal["bands"] = "bands"
    """``bands``: a rule on band energies, without training."""


class SpeechToMouth(Protocol):
    """Says what the mouth does at any time of a speech."""

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """The mouth at float64 [T] seconds, in any order, in the units of ``MouthMotion``.

        A time's values do not depend on which other times are asked with it. Where ``speech.activity`` is 0 the
        mouth rests. Retargeting to a person is the lip syncer's work.
        """
        ...


_DRIVERS = {"bands": ("retalkit_renderers.speech_to_mouth.bands", "BandDriver")}


def open_driver(config: DriverConfig) -> SpeechToMouth:
    """The driver that ``config`` names; it is imported only now."""
    module, name = _DRIVERS[config.use]
    return getattr(import_module(module), name)()
