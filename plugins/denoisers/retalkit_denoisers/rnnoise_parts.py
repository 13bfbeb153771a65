"""RNNoise for parts of a stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from retalkit.stages import SPEECH_RATE

from retalkit_denoisers.block_stream import concatenate
from retalkit_denoisers.rnnoise import RnnoiseSession

WARM_UP = 4 * SPEECH_RATE
"""Number of samples before a part that the network processes first, so that its recurrent state has adapted to the
recording. For white noise, music and babble at 5 to 22 dB in one part of a recording, the opening of the mouth then
differs from that after continuous processing by at most 0.02 and by 0.001 on average."""
_CHUNK = SPEECH_RATE // 2


class RnnoiseParts:
    """Denoiser for parts of a stream. The result does not depend on the chunk sizes of the stream.

    Before each part, the network processes ``WARM_UP`` samples, or the stream from its start. If the gap between two
    parts is not longer than ``WARM_UP``, the network processes the gap instead and keeps its state.
    """

    def __init__(self) -> None:
        self._samples = np.zeros(0, np.float32)
        self._offset = 0
        """Position of the first stored sample in the stream."""
        self._session: RnnoiseSession | None = None
        self._passed = 0
        """Position up to which the session has received the stream."""
        self._denoised = np.zeros(0, np.float32)
        self._position = 0
        """Position of ``_denoised`` in the stream."""

    def push(self, samples: NDArray[np.float32]) -> None:
        """Add mono audio to the stream, float32 [N] at 16 kHz."""
        self._samples = np.concatenate([self._samples, samples])

    def denoise(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the denoised samples [start, stop), float32 [stop - start].

        Parts must be requested in ascending order, and ``start`` must be a multiple of 0.5 s. The stream must reach
        1 s beyond ``stop``, or be complete.
        """
        if self._session is None or start - self._position > WARM_UP:
            self.close()
            self._session = RnnoiseSession()
            self._passed = self._position = max(start - WARM_UP, 0)
            self._denoised = np.zeros(0, np.float32)
        pieces, count = [self._denoised], self._position + len(self._denoised)
        while count < stop:
            first = self._passed - self._offset
            chunk = self._samples[first : first + _CHUNK]
            self._passed += len(chunk)
            pieces.append(self._session.denoise(chunk) if len(chunk) else self._session.finish())
            count += len(pieces[-1])
            if not len(chunk):
                break
        denoised = concatenate(pieces)
        self._denoised = denoised[stop - self._position :]
        part = denoised[start - self._position : stop - self._position]
        self._position = stop
        return part

    def forget(self, start: int) -> None:
        """Release memory. All further parts begin at or after ``start``."""
        unused = start - WARM_UP - self._offset
        if unused > 0:
            self._samples = self._samples[unused:].copy()
            self._offset += unused

    def close(self) -> None:
        """Release the network."""
        if self._session is not None:
            self._session.close()
            self._session = None
