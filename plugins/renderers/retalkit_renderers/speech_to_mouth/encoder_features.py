"""Outputs of the speech encoder (``moonshine``) at any times of a speech signal.

The encoder runs on windows of up to 12 s at fixed positions, so the values do not depend on the requested range, and
memory use does not depend on the duration. Consecutive windows overlap by at least 1.2 s and are cross-faded over 0.6 s
in the middle of the overlap. The last window ends at the end of the speech and has at least 6 s, unless the speech is
shorter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit_renderers.speech_to_mouth.moonshine import BEFORE, HOP, Encoder

Float = NDArray[np.float32]

UNIT: Final = 1920
"""Window positions are multiples of this number of samples, which is a multiple of ``HOP`` and of 0.02 s."""
WINDOW: Final = 100 * UNIT
"""Maximum number of samples per window."""
STEP: Final = 90 * UNIT
"""Maximum number of samples between the starts of windows."""
MIN_WINDOW: Final = 50 * UNIT
"""Minimum number of samples of the last window, up to rounding by ``UNIT``."""
MAX_AHEAD: Final = WINDOW
"""Maximum number of samples after a time that affect the value at that time."""
_FADE: Final = 5 * UNIT
_AFTER: Final = 832
_MAX_WINDOWS: Final = 3
"""Maximum number of windows in memory."""


def window_starts(samples: int) -> list[int]:
    """Return the first sample of each window for audio with ``samples`` samples."""
    count = 1 + max(0, -(-(samples - WINDOW) // STEP))
    last = max(0, (samples - MIN_WINDOW) // UNIT * UNIT)
    return [min(number * STEP, last) for number in range(count)]


class EncoderFeatures:
    """Provides encoder outputs for one speech signal. The values are bitwise identical for all requested times."""

    def __init__(self, encoder: Encoder, samples: int, read: Callable[[int, int], Float]) -> None:
        """``samples``: number of samples of the audio.

        ``read``: function that returns the samples [start, stop), float32. Samples outside the audio are zero.
        """
        self._encoder = encoder
        self._samples = samples
        self._read = read
        self._starts = np.array(window_starts(samples))
        # Each cross-fade is centred in the overlap of two windows.
        self._fades = (self._starts[1:] + self._starts[:-1] + WINDOW) / 2.0
        self._windows: OrderedDict[int, Float] = OrderedDict()

    def at(self, positions: NDArray[np.float64]) -> Float:
        """Return the outputs at ascending ``positions`` in samples, float32 [len(positions), channels].

        Values between two frames are interpolated linearly.
        """
        result = np.zeros((len(positions), self._encoder.channels), np.float32)
        for number in range(len(self._starts)):
            share = self._share(number, positions)
            inside = np.flatnonzero(share > 0)
            if len(inside):
                frames = self._window(number)
                places = np.clip((positions[inside] - self._starts[number]) / HOP, 0, len(frames) - 1)
                lower = np.minimum(places.astype(np.int64), max(len(frames) - 2, 0))
                upper = np.minimum(lower + 1, len(frames) - 1)
                weight = (places - lower)[:, None].astype(np.float32)
                rows = frames[lower] * (1 - weight) + frames[upper] * weight
                result[inside] += rows * share[inside, None].astype(np.float32)
        return result

    def _share(self, number: int, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weight of the window ``number`` at ``positions``, [len(positions)] in [0, 1]."""
        share = np.ones(len(positions))
        if number > 0:
            share = np.clip((positions - self._fades[number - 1]) / _FADE + 0.5, 0, 1)
        if number < len(self._fades):
            share = np.minimum(share, 1 - np.clip((positions - self._fades[number]) / _FADE + 0.5, 0, 1))
        return share

    def _window(self, number: int) -> Float:
        frames = self._windows.get(number)
        if frames is None:
            start = int(self._starts[number])
            stop = min(start + WINDOW, self._samples)
            frames = self._encoder(self._read(start - BEFORE, stop + _AFTER))
            self._windows[number] = frames
            if len(self._windows) > _MAX_WINDOWS:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(number)
        return frames
