"""The trained driver: a small temporal convolutional network on log-mel features, run in numpy.

The network (see ``network``) was trained on synthetic speech of many languages whose phone times are known; its model
card says how. It gives opening, width and protrusion, a speech probability and the probabilities of 15 viseme classes,
50 times a second.

* **Opening, width, protrusion** are the regressed values in units of ``MouthMotion``.
* **Closure** comes from the classes p, b, m and f, v, because the regressed opening is too smooth to close the lips:
  from a threshold on, which was chosen on held-out voices, the lips are taken to touch.
* **Speech** is the voice activity. It multiplies everything, so that without it the mouth rests.

A value depends on up to 2.4 s of the sound after it: 0.9 s are seen by the network's layers and by closures nearby,
1.5 s more go into the mean level that frees the features of the microphone's colour. Weights that were trained for a
bounded look-ahead keep to theirs and 0.1 s more. Voice activity looks ahead besides.
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

from retalkit_renderers.speech_to_mouth.interface import WEIGHTS
from retalkit_renderers.speech_to_mouth.network import Network, load_network
from retalkit_renderers.speech_to_mouth.stretches import ROW_RATE, NetworkReader

Float = NDArray[np.float32]

_OPENING, _WIDTH, _PROTRUSION, _SPEECH, _CLASSES = 0, 1, 2, 4, 5
_DEFAULT_SCALES = {"opening": 1.0, "spread": 1.0, "rounding": 1.0, "protrusion": 1.0}
_DEFAULT_GAINS = {"opening": 1.0, "spread": 1.0, "rounding": 1.0}
_DEFAULT_CONTACT = 0.45
_MOST_OPEN = 1.5
_APPROACH = np.array([0.15, 0.5, 0.85, 1.0, 0.85, 0.5, 0.15], np.float32)
"""How far the mouth is closed in the rows around a closure: lips take about 0.06 s to meet and to part."""
_WIDTH_WEIGHTS = np.exp(-0.5 * (np.arange(-6, 7) / 3.0) ** 2).astype(np.float32)
"""Gaussian of 0.06 s: mouth corners move slower than the phones."""
_MARGIN = 6
"""Rows before and after a row that its value depends on, besides what the network sees."""
_HEARD = (0.02, 0.2)
"""Speech probability of the network at which the mouth begins to move and at which it moves fully."""


class ModelDriver:
    """Implements ``SpeechToMouth`` with the network that the package ships."""

    def __init__(self, weights: Path | None = None) -> None:
        """Reads the weights, those of the package by default. Raises PluginError where they are missing or others."""
        self.weights = WEIGHTS if weights is None else weights
        self._network = _load(self.weights)
        metadata = self._network.metadata
        self.scales: dict[str, float] = _DEFAULT_SCALES | json.loads(metadata.get("scales", "{}"))
        calibration = json.loads(metadata.get("calibration", "{}"))
        self.gains: dict[str, float] = _DEFAULT_GAINS | calibration.get("gains", {})
        """Regression draws towards the mean: by these factors outputs for held-out voices fell short of their range."""
        widths = calibration.get("class_widths", [0.0] * (self._network.outputs - _CLASSES))
        self.class_widths = np.array(widths, np.float32)
        self.contact = float(calibration.get("closure_threshold", _DEFAULT_CONTACT))
        """Posterior of p, b, m or f, v from which the lips are taken to touch."""
        self._readers: WeakKeyDictionary[Speech, NetworkReader] = WeakKeyDictionary()

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """See ``SpeechToMouth``."""
        asked = np.asarray(times, dtype=np.float64)
        reader = self._readers.get(speech)
        if reader is None:
            reader = self._readers.setdefault(speech, NetworkReader(self._network, speech))
        values = np.zeros((len(asked), 4), np.float32)
        activity = speech.activity(asked)
        heard = np.flatnonzero(activity > 0)
        if len(heard):
            values[heard] = self._shapes(reader, asked[heard])
        opening, width, protrusion, closure = values.T
        return MouthMotion(
            opening=np.clip(opening, 0, _MOST_OPEN) * activity,
            width=np.clip(width, -1, 1) * activity,
            protrusion=np.clip(protrusion, 0, 1) * activity,
            closure=closure * activity,
            speech=activity,
        )

    def _shapes(self, reader: NetworkReader, times: NDArray[np.float64]) -> Float:
        """Opening, width, protrusion and closure float32 [T, 4], interpolated between the rows around each time."""
        positions = times * ROW_RATE - 0.5
        lower = np.floor(positions).astype(np.int64)
        share = (positions - lower)[:, None].astype(np.float32)
        values = np.zeros((len(times), 4), np.float32)
        # Times of a batch lie close together as a rule; far ones must not make all rows between them be computed.
        parts = np.split(np.argsort(lower, kind="stable"), np.flatnonzero(np.diff(np.sort(lower)) > ROW_RATE) + 1)
        for part in parts:
            first, last = int(lower[part].min()), int(lower[part].max())
            rows = self._decoded(reader, first, last + 2)
            here = lower[part] - first
            values[part] = rows[here] * (1 - share[part]) + rows[here + 1] * share[part]
        return values

    def _decoded(self, reader: NetworkReader, start: int, stop: int) -> Float:
        """The rows [start, stop) as float32 [R, 4] in units of ``MouthMotion``."""
        raw = reader.read(start - _MARGIN, stop + _MARGIN)
        # Outside the speech: silence, as the network would have it.
        raw = np.where(np.isfinite(raw), raw, np.where(np.arange(raw.shape[1]) == _CLASSES, 0.0, -20.0))
        raw = raw.astype(np.float32)
        closure = held(labial_posterior(raw), self.contact)
        near = sliding_window_view(closure, len(_APPROACH)) * _APPROACH
        reach = len(_APPROACH) // 2
        kept = slice(_MARGIN, len(raw) - _MARGIN)
        width = mouth_width(raw, self.class_widths)
        raw, closure, approach = raw[kept], closure[kept], near.max(axis=1)[_MARGIN - reach :][: stop - start]
        lively = _ramp(1.0 / (1.0 + np.exp(-raw[:, _SPEECH])), *_HEARD)
        scales, gains = self.scales, self.gains
        sides = [gains[side] / scales[side] for side in ("spread", "rounding")]
        width = np.where(width > 0, width * sides[0], width * sides[1])
        opening = raw[:, _OPENING] * (gains["opening"] / scales["opening"]) * (1 - approach)
        shapes = [opening, width, raw[:, _PROTRUSION] / scales["protrusion"]]
        return np.stack([*(shape * lively for shape in shapes), closure], axis=1).astype(np.float32)


def make_driver(config: StageConfig, runtime: Runtime) -> ModelDriver:
    """Build the driver ``model``."""
    return ModelDriver()


def labial_posterior(raw: Float) -> Float:
    """Probability of p, b, m or f, v, float32 [R], of raw outputs [R, 20]."""
    shares = _class_shares(raw)
    return shares[:, 1] + shares[:, 2]


def mouth_width(raw: Float, class_widths: Float) -> Float:
    """Width in the targets' units, float32 [R - 12], of raw outputs [R, 20]; 6 rows are lost at each end.

    The mean of two estimates that err differently, the regressed width and the width to be expected of the viseme
    classes (``class_widths`` [15]), smoothed over time.
    """
    estimate = 0.5 * (raw[:, _WIDTH] + _class_shares(raw) @ class_widths)
    return np.convolve(estimate, _WIDTH_WEIGHTS / _WIDTH_WEIGHTS.sum(), mode="valid").astype(np.float32)


def _class_shares(raw: Float) -> Float:
    shares = np.exp(raw[:, _CLASSES:] - raw[:, _CLASSES:].max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def held(posterior: Float, contact: float) -> Float:
    """Closure float32 [R] out of the posterior: 1 from ``contact`` on, 0 up to half of it.

    Peaks are held for a row before and after, because a video frame may fall between two rows and must not miss them.
    """
    closure = _ramp(posterior, 0.5 * contact, contact)
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
            f"the weights of the driver 'model' cannot be read ({weights}: {error}): install Retalkit again, or set "
            "lip_syncer.driver.use=bands"
        ) from error
