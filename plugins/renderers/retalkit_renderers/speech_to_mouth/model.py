"""Driver ``model``: a small temporal convolutional network on log-mel features with NumPy inference.

The network (see ``network``) was trained on synthetic speech in many languages with known phone timings. The model card
describes the training. At 50 Hz, the network predicts opening, width, protrusion, a speech probability, and the
probabilities of 15 viseme classes.

* **Opening, width and protrusion** are regressed in the units of ``MouthMotion``.
* **Closure** is derived from the classes p, b, m and f, v, because the regressed opening is too smooth to close the
  lips. The lips are closed above a threshold that was selected on held-out voices.
* **Speech** is the voice activity. All other values are multiplied by the voice activity, so the mouth is at rest
  without speech.

A value depends on up to 2.4 s of audio after its time. The network's receptive field and nearby closures contribute 0.9
s. The mean level that normalises the features for the microphone contributes 1.5 s. For weights trained with a bounded
look-ahead, the dependency is 0.1 s longer than the bound. The voice activity has a separate look-ahead.
"""

from __future__ import annotations

import json
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from retalkit.errors import PluginError
from retalkit.plugins import StageConfig
from retalkit.stages import MouthMotion, Runtime, Speech

from retalkit_renderers.speech_to_mouth.chunked_inference import ROW_RATE, ChunkedInference
from retalkit_renderers.speech_to_mouth.interface import WEIGHTS
from retalkit_renderers.speech_to_mouth.network import Network, load_network

Float = NDArray[np.float32]

_OPENING, _WIDTH, _PROTRUSION, _SPEECH, _CLASSES = 0, 1, 2, 4, 5
_DEFAULT_SCALES = {"opening": 1.0, "spread": 1.0, "rounding": 1.0, "protrusion": 1.0}
_DEFAULT_GAINS = {"opening": 1.0, "spread": 1.0, "rounding": 1.0}
_DEFAULT_CLOSURE_THRESHOLD = 0.45
_MAX_OPENING = 1.5
_APPROACH = np.array([0.15, 0.5, 0.85, 1.0, 0.85, 0.5, 0.15], np.float32)
"""Mouth closing factors in the time steps around a closure. The lips take about 0.06 s to close and to open."""
_WIDTH_WEIGHTS = np.exp(-0.5 * (np.arange(-6, 7) / 3.0) ** 2).astype(np.float32)
"""Gaussian weights with a standard deviation of 0.06 s. The mouth corners move more slowly than the phones change."""
_MARGIN = 6
"""Number of time steps before and after a value that affect the value in addition to the network's receptive field."""
_SPEECH_GATE = (0.02, 0.2)
"""Speech probabilities at which mouth motion starts and at which it reaches its full amplitude."""


class ModelDriver:
    """Speech-to-mouth driver based on the bundled network."""

    def __init__(self, weights: Path | None = None) -> None:
        """Load the weights. Raises PluginError if the file is missing or does not match the network.

        ``weights``: path of the weights file; the default is the file in the package.
        """
        self.weights = WEIGHTS if weights is None else weights
        self._network = _load(self.weights)
        metadata = self._network.metadata
        self.scales: dict[str, float] = _DEFAULT_SCALES | json.loads(metadata.get("scales", "{}"))
        calibration = json.loads(metadata.get("calibration", "{}"))
        self.gains: dict[str, float] = _DEFAULT_GAINS | calibration.get("gains", {})
        """Gains that compensate for regression shrinkage towards the mean, measured on held-out voices."""
        widths = calibration.get("class_widths", [0.0] * (self._network.outputs - _CLASSES))
        self.class_widths = np.array(widths, np.float32)
        self.closure_threshold = float(calibration.get("closure_threshold", _DEFAULT_CLOSURE_THRESHOLD))
        """Posterior probability of p, b, m or f, v at which the lips are closed."""
        self._readers: WeakKeyDictionary[Speech, ChunkedInference] = WeakKeyDictionary()

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """Return the mouth motion at ``times`` in seconds, float64 [T]."""
        requested = np.asarray(times, dtype=np.float64)
        reader = self._readers.get(speech)
        if reader is None:
            reader = self._readers.setdefault(speech, ChunkedInference(self._network, speech))
        values = np.zeros((len(requested), 4), np.float32)
        activity = speech.activity(requested)
        active = np.flatnonzero(activity > 0)
        if len(active):
            values[active] = self._interpolate(reader, requested[active])
        opening, width, protrusion, closure = values.T
        return MouthMotion(
            opening=np.clip(opening, 0, _MAX_OPENING) * activity,
            width=np.clip(width, -1, 1) * activity,
            protrusion=np.clip(protrusion, 0, 1) * activity,
            closure=closure * activity,
            speech=activity,
        )

    def _interpolate(self, reader: ChunkedInference, times: NDArray[np.float64]) -> Float:
        """Return opening, width, protrusion and closure, interpolated between time steps, float32 [T, 4]."""
        positions = times * ROW_RATE - 0.5
        lower = np.floor(positions).astype(np.int64)
        share = (positions - lower)[:, None].astype(np.float32)
        values = np.zeros((len(times), 4), np.float32)
        # Split the times at gaps, so the time steps inside a long gap are not computed.
        parts = np.split(np.argsort(lower, kind="stable"), np.flatnonzero(np.diff(np.sort(lower)) > ROW_RATE) + 1)
        for part in parts:
            first, last = int(lower[part].min()), int(lower[part].max())
            rows = self._decode(reader, first, last + 2)
            here = lower[part] - first
            values[part] = rows[here] * (1 - share[part]) + rows[here + 1] * share[part]
        return values

    def _decode(self, reader: ChunkedInference, start: int, stop: int) -> Float:
        """Return the time steps [start, stop) in the units of ``MouthMotion``, float32 [R, 4]."""
        raw = reader.read(start - _MARGIN, stop + _MARGIN)
        # Time steps outside the speech have the network outputs of silence.
        raw = np.where(np.isfinite(raw), raw, np.where(np.arange(raw.shape[1]) == _CLASSES, 0.0, -20.0))
        raw = raw.astype(np.float32)
        closure = hold_peaks(labial_posterior(raw), self.closure_threshold)
        near = sliding_window_view(closure, len(_APPROACH)) * _APPROACH
        reach = len(_APPROACH) // 2
        kept = slice(_MARGIN, len(raw) - _MARGIN)
        width = mouth_width(raw, self.class_widths)
        raw, closure, approach = raw[kept], closure[kept], near.max(axis=1)[_MARGIN - reach :][: stop - start]
        amplitude = _ramp(1.0 / (1.0 + np.exp(-raw[:, _SPEECH])), *_SPEECH_GATE)
        scales, gains = self.scales, self.gains
        sides = [gains[side] / scales[side] for side in ("spread", "rounding")]
        width = np.where(width > 0, width * sides[0], width * sides[1])
        opening = raw[:, _OPENING] * (gains["opening"] / scales["opening"]) * (1 - approach)
        shapes = [opening, width, raw[:, _PROTRUSION] / scales["protrusion"]]
        return np.stack([*(shape * amplitude for shape in shapes), closure], axis=1).astype(np.float32)


def make_driver(config: StageConfig, runtime: Runtime) -> ModelDriver:
    """Return the driver ``model``."""
    return ModelDriver()


def labial_posterior(raw: Float) -> Float:
    """Return the probability of p, b, m or f, v, float32 [R], for raw outputs [R, 20]."""
    shares = _class_shares(raw)
    return shares[:, 1] + shares[:, 2]


def mouth_width(raw: Float, class_widths: Float) -> Float:
    """Return the width in the units of the training targets, float32 [R - 12], for raw outputs [R, 20].

    The width is the temporally smoothed mean of two estimates with different errors: the regressed width and the
    expected width of the viseme classes (``class_widths`` [15]). Smoothing removes 6 time steps at each end.
    """
    estimate = 0.5 * (raw[:, _WIDTH] + _class_shares(raw) @ class_widths)
    return np.convolve(estimate, _WIDTH_WEIGHTS / _WIDTH_WEIGHTS.sum(), mode="valid").astype(np.float32)


def _class_shares(raw: Float) -> Float:
    shares = np.exp(raw[:, _CLASSES:] - raw[:, _CLASSES:].max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def hold_peaks(posterior: Float, threshold: float) -> Float:
    """Return the closure for a posterior, float32 [R].

    The closure is 1 at or above ``threshold`` and 0 up to half of ``threshold``. Peaks are extended by one time step on
    each side, so a video frame between two time steps does not miss a peak.
    """
    closure = _ramp(posterior, 0.5 * threshold, threshold)
    padded = np.pad(posterior, 1)
    peak = np.where((posterior >= padded[:-2]) & (posterior > padded[2:]), closure, 0)
    padded = np.pad(peak, 1)
    return np.maximum(closure, np.maximum(padded[:-2], padded[2:])).astype(np.float32)


def _ramp(value: Float, low: float, high: float) -> Float:
    unit = np.clip((value - low) / (high - low), 0, 1)
    return unit * unit * (3 - 2 * unit)


def _load(weights: Path) -> Network:
    try:
        return load_network(weights)
    except (OSError, ValueError) as error:
        raise PluginError(
            f"cannot read the weights of the driver 'model' ({weights}: {error}): install Retalkit again, or set "
            "lip_syncer.driver.use=bands",
            code="unreadable-file",
        ) from error
