"""Driver ``file``, which returns mouth motion from a motion file."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import ConfigError
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
        self._path = cast("FileDriverConfig", config).path
        self._table = read_motion(self._path)

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """Return the mouth motion at ``times`` in seconds, float64 [T].

        Raises ConfigError if no row of the file is within the duration of the speech.
        """
        first, last = self._table.times[[0, -1]]
        if first >= speech.duration or last < 0.0:
            raise ConfigError(f"{self._coverage(speech)}; correct the times or the path", code="motion-outside-speech")
        return self._table.at(np.asarray(times, np.float64))

    def notes(self, speech: Speech) -> list[str]:
        """Return one note if less than half of the time range of the file is within the duration of the speech."""
        first, last = self._table.times[[0, -1]]
        inside = min(last, speech.duration) - max(first, 0.0)
        return [self._coverage(speech)] if inside < (last - first) / 2 else []

    def _coverage(self, speech: Speech) -> str:
        first, last = self._table.times[[0, -1]]
        return (
            f"motion file {self._path} covers {first:g} to {last:g} s, but the speech lasts {speech.duration:.2f} s; "
            "times must be in seconds"
        )
