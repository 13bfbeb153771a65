"""Driver ``model``: a temporal convolutional network on the outputs of a speech encoder, with NumPy inference.

The speech is normalised to the reference loudness, so the motion does not depend on the recording level. The features
are the outputs of the first layers of a speech recognition model (``moonshine``), or a log-mel spectrum for weights
that were trained on it. At 50 Hz, the network (see ``network``) predicts opening, width, protrusion, a speech
probability and the probabilities of 15 viseme classes. Networks that were trained on real lips also predict the
probability of lip contact. The model card describes the training. ``decoding`` converts the outputs to mouth motion.

Voice activity closes the mouth only in long pauses (see ``speech_gate``). In shorter pauses, the network predicts how
far the mouth closes.

A value depends on up to 13 s of audio after its time, because the encoder runs on windows of 12 s. For weights on
log-mel features, it depends on up to 2.4 s: the network's receptive field and nearby closures contribute 0.9 s, and the
mean level that normalises the features for the microphone contributes 1.5 s. For weights trained with a bounded
look-ahead, the dependency is 0.2 s longer than the bound. The loudness and the positions of the windows depend on the
whole speech, and the voice activity has a separate look-ahead.
"""

from __future__ import annotations

from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from retalkit.errors import PluginError
from retalkit.stages import MouthMotion, Runtime, Speech

from retalkit_renderers.speech_to_mouth.chunked_inference import ROW_RATE, ChunkedInference
from retalkit_renderers.speech_to_mouth.decoding import CLASSES, MARGIN, SILENCE, Calibration, decode
from retalkit_renderers.speech_to_mouth.interface import ENCODER, WEIGHTS, ModelDriverConfig
from retalkit_renderers.speech_to_mouth.moonshine import Encoder, load_encoder
from retalkit_renderers.speech_to_mouth.network import Network, load_network
from retalkit_renderers.speech_to_mouth.transcript.guidance import GuidedOutputs, NetworkOutputs, Transcript

Float = NDArray[np.float32]

_MAX_OPENING = 1.5
_FULL_ACTIVITY = 0.5
"""Voice activity at or above which mouth motion has its full amplitude."""
_HOLD_ROWS = 25
"""Number of time steps before and after speech in which the motion keeps its full amplitude. People do not close the
mouth completely in pauses shorter than about 1 s, and the network predicts how far the mouth closes."""
_FADE = np.exp(-0.5 * (np.arange(-12, 13) / 6.0) ** 2)
"""Weights of the transition between rest and motion, a Gaussian with a standard deviation of 0.12 s."""
_GATE_CHUNK = 4096
_LEAD = 0.02
"""Lead in seconds. Audio and lips in the training data were aligned by correlation, which places the lips 0.02 to
0.04 s late. For videos that are synchronous by construction, the correlation yields offsets of -0.04 to -0.02 s."""


class ModelDriver:
    """Speech-to-mouth driver based on the bundled network."""

    def __init__(
        self, weights: Path | None = None, transcript: Transcript | None = None, encoder: Path = ENCODER
    ) -> None:
        """Load the weights. Raises PluginError if the file is missing or does not match the network.

        ``weights``: path of the weights file; the default is the file that was trained on real lips. ``transcript``:
        transcript that guides the network where the transcript matches the speech. ``encoder``: weights of the speech
        encoder for networks on encoder features.
        """
        self.weights = WEIGHTS["real"] if weights is None else weights
        self._network, self._encoder = _load(self.weights, encoder)
        self.calibration = Calibration.read(self._network.metadata)
        self._readers: WeakKeyDictionary[Speech, NetworkOutputs] = WeakKeyDictionary()
        self._transcript = transcript

    @property
    def lead(self) -> float:
        """Delay of the predicted motion in seconds, see ``DriverWithLead``."""
        return _LEAD

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """Return the mouth motion at ``times`` in seconds, float64 [T]."""
        requested = np.asarray(times, dtype=np.float64)
        values = np.zeros((len(requested), 4), np.float32)
        gate = speech_gate(speech, requested)
        active = np.flatnonzero(gate > 0)
        if len(active):
            values[active] = self._interpolate(self._reader(speech), requested[active])
        opening, width, protrusion, closure = values.T
        return MouthMotion(
            opening=np.clip(opening, 0, _MAX_OPENING) * gate,
            width=np.clip(width, -1, 1) * gate,
            protrusion=np.clip(protrusion, 0, 1) * gate,
            closure=closure * gate,
            speech=gate,
        )

    def look_ahead(self, speech: Speech) -> float:
        """Return the duration in seconds of the audio after a time that may affect the motion at that time.

        The loudness, the duration and the voice activity of the speech are not included.
        """
        return ChunkedInference(self._network, speech, self._encoder).ahead + (MARGIN + 1) / ROW_RATE

    def outputs(self, speech: Speech, start: int, stop: int) -> Float:
        """Return raw network outputs for the time steps [start, stop), float32 [stop - start, N] (see ``decoding``).

        Time step ``j`` is at (2 j + 1) / 100 s. Values outside the speech are NaN.
        """
        return self._reader(speech).read(start, stop)

    def notes(self, speech: Speech) -> list[str]:
        """Return one note about the use of the transcript, or no note without a transcript."""
        reader = self._reader(speech)
        return [reader.note] if isinstance(reader, GuidedOutputs) else []

    def _reader(self, speech: Speech) -> NetworkOutputs:
        reader = self._readers.get(speech)
        if reader is None:
            reader = ChunkedInference(self._network, speech, self._encoder)
            if self._transcript is not None:
                calibration = self.calibration
                scale = 1.0 / calibration.factor("opening")
                reader = GuidedOutputs(reader, self._transcript, scale, calibration.opening_floor)
            reader = self._readers.setdefault(speech, reader)
        return reader

    def _interpolate(self, reader: NetworkOutputs, times: NDArray[np.float64]) -> Float:
        """Return opening, width, protrusion and closure, interpolated between time steps, float32 [T, 4]."""
        positions = times * ROW_RATE - 0.5
        lower = np.floor(positions).astype(np.int64)
        share = (positions - lower)[:, None].astype(np.float32)
        values = np.zeros((len(times), 4), np.float32)
        # Split the times at gaps, so the time steps inside a long gap are not computed.
        parts = np.split(np.argsort(lower, kind="stable"), np.flatnonzero(np.diff(np.sort(lower)) > ROW_RATE) + 1)
        for part in parts:
            first, last = int(lower[part].min()), int(lower[part].max())
            rows = decode(filled(reader.read(first - MARGIN, last + 2 + MARGIN)), self.calibration).table()
            here = lower[part] - first
            values[part] = rows[here] * (1 - share[part]) + rows[here + 1] * share[part]
        return values


def speech_gate(speech: Speech, times: NDArray[np.float64]) -> Float:
    """Return the motion amplitude at ``times`` in seconds, float32 [T] in [0, 1].

    The motion is held for 0.5 s before and after speech and fades smoothly to 0 in longer pauses.
    """
    positions = times * ROW_RATE
    lower = np.floor(positions).astype(np.int64)
    share = positions - lower
    gates = np.zeros(len(times), np.float32)
    reach = _HOLD_ROWS + len(_FADE) // 2
    for chunk in np.unique(lower // _GATE_CHUNK):
        inside = lower // _GATE_CHUNK == chunk
        first, last = int(lower[inside].min()), int(lower[inside].max()) + 1
        activity = speech.activity(np.arange(first - reach, last + reach + 1) / ROW_RATE)
        held = sliding_window_view(np.clip(activity / _FULL_ACTIVITY, 0, 1), 2 * _HOLD_ROWS + 1).max(axis=1)
        faded = np.convolve(held, _FADE / _FADE.sum(), mode="valid")
        row = lower[inside] - first
        gates[inside] = faded[row] * (1 - share[inside]) + faded[row + 1] * share[inside]
    return np.clip(gates, 0, 1)


def filled(raw: Float) -> Float:
    """Return raw outputs in which NaN values outside the speech are replaced with the outputs for silence."""
    silence = np.full(raw.shape[1], -20.0, np.float32)
    silence[SILENCE] = 0.0
    silence[: CLASSES.start - 1] = 0.0
    return np.where(np.isfinite(raw), raw, silence).astype(np.float32)


def make_driver(config: ModelDriverConfig, runtime: Runtime) -> ModelDriver:
    """Return the driver ``model``. A driver without a transcript is shared within the process.

    Raises ConfigError if the transcript is invalid.
    """
    path = WEIGHTS[config.weights]
    if config.transcript is not None:
        return ModelDriver(path, Transcript.read(config.transcript, config.language))
    return runtime.shared(("speech_to_mouth", path), lambda: ModelDriver(path))


def _load(weights: Path, encoder: Path) -> tuple[Network, Encoder | None]:
    path = weights
    try:
        network = load_network(path)
        if not network.on_encoder:
            return network, None
        path = encoder
        return network, load_encoder(path)
    except (OSError, ValueError) as error:
        raise PluginError(
            f"cannot read the weights of the driver 'model' ({path}: {error}): install Retalkit again, or set "
            "lip_syncer.driver.use=bands",
            code="unreadable-file",
        ) from error
