"""Network inference in chunks at fixed positions, for speech signals of any duration."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray
from retalkit.speech.loudness import reference_gain
from retalkit.stages import SPEECH_RATE, Speech

from retalkit_renderers.speech_to_mouth.encoder_features import MAX_AHEAD, EncoderFeatures
from retalkit_renderers.speech_to_mouth.features import (
    BAND_COUNT,
    FRAME_RATE,
    HOP,
    INPUT_CONTEXT,
    LOG_MEL_CONTEXT,
    MEAN_FRAMES,
    log_mel,
    network_input,
)
from retalkit_renderers.speech_to_mouth.moonshine import Encoder
from retalkit_renderers.speech_to_mouth.network import Network

Float = NDArray[np.float32]

ROW_RATE = 50
"""Output time steps per second. The time of time step ``j`` is ``(2 j + 1) / 100``."""
CHUNK = 512
"""Number of time steps per chunk."""
_ROW_SAMPLES = SPEECH_RATE // ROW_RATE
_MAX_CHUNKS = 4
"""Maximum number of chunks in memory."""


NOISE_FLOOR = np.float32(np.log(1e-4))
"""Logarithm of the mel power that is added to all bands. It masks the quantisation noise of quiet 16-bit recordings,
which would otherwise change the features. Cross-validation scores with and without it differ by less than 0.002."""


class ChunkedInference:
    """Provides the network outputs for any time steps of one speech signal.

    The values are bitwise identical for all requested ranges.
    """

    def __init__(self, network: Network, speech: Speech, encoder: Encoder | None = None) -> None:
        """``encoder``: speech encoder, which networks on encoder features require."""
        self._network = network
        self._speech = speech
        self._samples = round(speech.duration * SPEECH_RATE)
        # Networks with a bounded look-ahead were trained with running means of past frames only.
        self._ahead = 0 if network.metadata.get("lookahead") else INPUT_CONTEXT
        self._encoder_features: EncoderFeatures | None = None
        if network.on_encoder:
            if encoder is None:
                raise ValueError("the network requires a speech encoder")
            self._encoder_features = EncoderFeatures(encoder, self._samples, self._normalised)
        self._chunks: OrderedDict[int, Float] = OrderedDict()

    @property
    def ahead(self) -> float:
        """Return the duration in seconds of the audio after a time step that may affect the time step."""
        after = self._network.after / ROW_RATE
        if self._encoder_features is not None:
            return after + MAX_AHEAD / SPEECH_RATE
        stem_and_window = 0.0375
        return after + stem_and_window + self._ahead / FRAME_RATE

    @property
    def count(self) -> int:
        """Return the number of time steps in the complete speech signal."""
        return self._samples // _ROW_SAMPLES

    def read(self, start: int, stop: int) -> Float:
        """Return raw outputs float32 [stop - start, outputs]. Time steps outside the speech are NaN."""
        out = np.full((max(stop - start, 0), self._network.outputs), np.nan, np.float32)
        for number in range(max(start, 0) // CHUNK, -(-min(stop, self.count) // CHUNK)):
            rows = self._chunk(number)
            first = number * CHUNK
            low, high = max(start, first), min(stop, first + len(rows))
            out[low - start : high - start] = rows[low - first : high - first]
        return out

    def _chunk(self, number: int) -> Float:
        rows = self._chunks.get(number)
        if rows is None:
            rows = self._compute(number * CHUNK)
            self._chunks[number] = rows
            if len(self._chunks) > _MAX_CHUNKS:
                self._chunks.popitem(last=False)
        else:
            self._chunks.move_to_end(number)
        return rows

    def _compute(self, start: int) -> Float:
        # Constant array shapes are required, because matrix products with other shapes may be rounded differently.
        first, last = self._network.feature_rows(start, start + CHUNK)
        if self._encoder_features is None:
            features = speech_features(self._speech, self._samples // HOP, first, last, self._ahead)
        else:
            features = np.zeros((last - first, self._network.inputs), np.float32)
            inside = np.arange(max(first, 0), min(last, self.count))
            features[inside - first] = self._encoder_features.at(inside * _ROW_SAMPLES + _ROW_SAMPLES / 2)
        return self._network.forward(features, start, self.count)[: self.count - start]

    def _normalised(self, start: int, stop: int) -> Float:
        """Return the samples [start, stop) at the reference loudness."""
        waveform = self._speech.waveform(start / SPEECH_RATE, stop / SPEECH_RATE)
        return waveform * np.float32(reference_gain(self._speech.loudness))


def speech_features(speech: Speech, frames: int, first: int, last: int, ahead: int = INPUT_CONTEXT) -> Float:
    """Return the frames [first, last) of ``network_input`` for a speech signal with ``frames`` frames.

    The speech is normalised to the reference loudness, so the features do not depend on the recording level. Values
    outside the speech are zero. As in training, the running mean repeats the first and last frame at the ends.
    """
    behind = MEAN_FRAMES - 1 - ahead
    low, high = first - behind, last + ahead
    inside_low, inside_high = max(low, 0), min(high, frames)
    if inside_high <= inside_low:
        return np.zeros((last - first, 2 * BAND_COUNT), np.float32)
    margin = LOG_MEL_CONTEXT
    sound = speech.waveform((inside_low - margin) * HOP / SPEECH_RATE, (inside_high + margin) * HOP / SPEECH_RATE)
    levels = log_mel(sound * np.float32(reference_gain(speech.loudness)))[margin : margin + inside_high - inside_low]
    levels = np.logaddexp(levels, NOISE_FLOOR)
    levels = np.pad(levels, ((inside_low - low, high - inside_high), (0, 0)), mode="edge")
    rows = network_input(levels, ahead)[behind : behind + last - first]
    numbers = np.arange(first, last)
    rows[(numbers < 0) | (numbers >= frames)] = 0.0
    return rows
