"""What the fixture ``retalkit_material`` gives to a test of a plugin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retalkit.testing import material, upstream
from retalkit.testing.clips import Clip


class Material:
    """Pictures and sound that need no download."""

    def clip(self) -> Clip:
        """48 frames of 336 x 288 with a face that moves, two of them without it; landmarks, coefficients, speech."""
        return upstream.clip()

    def odd_clip(self) -> Clip:
        """The same of 167 x 121 pixels, with the face partly outside."""
        return upstream.odd_clip()

    def faceless_clip(self) -> Clip:
        """Four frames without a face."""
        return upstream.faceless_clip()

    def speech(self, seconds: float = 2.0) -> NDArray[np.float32]:
        """A voice-like sound, mono float32 at 16 kHz."""
        return material.speech(seconds)

    def video(self, path: Path) -> Path:
        """Writes the portrait as a clip of a head that moves, 5.2 s; gives ``path``."""
        material.make_clip(path)
        return path
