"""The driver ``model``: a small temporal convolutional network on log-mel features, run in NumPy.

The network (see ``network``) was trained on synthetic speech of many languages with known phone times; see its model
card. It predicts opening, width and protrusion, a speech probability and the probabilities of 15 viseme classes, at
50 Hz.

* **Opening, width, protrusion** are the regressed values in units of ``MouthMotion``.
* **Closure** comes from the classes p, b, m and f, v, because the regressed opening is too smooth to close the lips:
  above a threshold, which was chosen on held-out voices, the lips count as touching.
* **Speech** is the voice activity. It multiplies all other values, so that the mouth rests without it.

A value depends on up to 2.4 s of sound after it: 0.9 s by the receptive field of the network and nearby closures,
1.5 s more by the mean level that normalises the features for the microphone. Weights that were trained with a bounded
look-ahead depend on 0.1 s more than that bound. Voice activity has its own look-ahead.
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
"""Closing of the mouth in the rows around a closure: lips take about 0.06 s to close and to open."""
_WIDTH_WEIGHTS = np.exp(-0.5 * (np.arange(-6, 7) / 3.0) ** 2).astype(np.float32)
"""Gaussian with a standard deviation of 0.06 s: mouth corners move more slowly than phones change."""
_MARGIN = 6
"""Rows before and after a row that its value depends on, besides the receptive field of the network."""
_SPEECH_GATE = (0.02, 0.2)
"""Speech probability of the network from which the mouth moves, and from which it moves fully."""


class ModelDriver:
    """Predicts mouth motion with the bundled network."""

    def __init__(self, weights: Path | None = None) -> None:
        """Read the weights, by default those of the package. Raises PluginError if they are missing or do not fit."""
        self.weights = WEIGHTS if weights is None else weights
        self._network = _load(self.weights)
        metadata = self._network.metadata
        self.scales: dict[str, float] = _DEFAULT_SCALES | json.loads(metadata.get("scales", "{}"))
        calibration = json.loads(metadata.get("calibration", "{}"))
        self.gains: dict[str, float] = _DEFAULT_GAINS | calibration.get("gains", {})
        """Factors that restore the range: regression shrinks towards the mean. Measured on held-out voices."""
        widths = calibration.get("class_widths", [0.0] * (self._network.outputs - _CLASSES))
        self.class_widths = np.array(widths, np.float32)
        self.closure_threshold = float(calibration.get("closure_threshold", _DEFAULT_CLOSURE_THRESHOLD))
        """Posterior of p, b, m or f, v from which the lips count as touching."""
        self._readers: WeakKeyDictionary[Speech, ChunkedInference] = WeakKeyDictionary()

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """Return the mouth motion at float64 [T] seconds."""
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
        """Return opening, width, protrusion and closure, float32 [T, 4], interpolated between the rows around each
        time."""
        positions = times * ROW_RATE - 0.5
        lower = np.floor(positions).astype(np.int64)
        share = (positions - lower)[:, None].astype(np.float32)
        values = np.zeros((len(times), 4), np.float32)
        # Split at gaps, so that two times far apart do not compute all rows between them.
        parts = np.split(np.argsort(lower, kind="stable"), np.flatnonzero(np.diff(np.sort(lower)) > ROW_RATE) + 1)
        for part in parts:
            first, last = int(lower[part].min()), int(lower[part].max())
            rows = self._decode(reader, first, last + 2)
            here = lower[part] - first
            values[part] = rows[here] * (1 - share[part]) + rows[here + 1] * share[part]
        return values

    def _decode(self, reader: ChunkedInference, start: int, stop: int) -> Float:
        """Return the rows [start, stop), float32 [R, 4] in units of ``MouthMotion``."""
        raw = reader.read(start - _MARGIN, stop + _MARGIN)
        # Rows outside the speech get the outputs of silence.
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
    """Build the driver ``model``."""
    return ModelDriver()


def labial_posterior(raw: Float) -> Float:
    """Return the probability of p, b, m or f, v, float32 [R], of raw outputs [R, 20]."""
    shares = _class_shares(raw)
    return shares[:, 1] + shares[:, 2]


def mouth_width(raw: Float, class_widths: Float) -> Float:
    """Return the width in the units of the training targets, float32 [R - 12], of raw outputs [R, 20].

    The mean of two estimates with different errors, the regressed width and the expected width of the viseme classes
    (``class_widths`` [15]), smoothed over time. 6 rows are lost at each end.
    """
    estimate = 0.5 * (raw[:, _WIDTH] + _class_shares(raw) @ class_widths)
    return np.convolve(estimate, _WIDTH_WEIGHTS / _WIDTH_WEIGHTS.sum(), mode="valid").astype(np.float32)


def _class_shares(raw: Float) -> Float:
    shares = np.exp(raw[:, _CLASSES:] - raw[:, _CLASSES:].max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def hold_peaks(posterior: Float, threshold: float) -> Float:
    """Return the closure float32 [R] for a posterior: 1 from ``threshold`` on, 0 up to half of it.

    Peaks are extended by a row on each side, because a video frame between two rows must not miss them.
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
