"""Driver ``file``, which returns mouth motion from a motion file."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from retalkit.media.motion_files import read_motion
from retalkit.plugins import StageConfig
from retalkit.stages import MouthMotion, Runtime, Speech

from retalkit_renderers.speech_to_mouth.interface import FileDriverConfig


class FileDriver:
    """Driver that interpolates the rows of a motion file.

    The mouth is at rest before the first row and after the last row.
    """

    def __init__(self, config: StageConfig, runtime: Runtime) -> None:
        """Load the motion file. Raises ConfigError if the file is invalid."""
        self._motion = read_motion(cast("FileDriverConfig", config).path)

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """Return the mouth motion at ``times`` in seconds, float64 [T]. The speech is ignored."""
        return self._motion.at(np.asarray(times, np.float64))
