"""Decoding of raw network outputs into mouth motion.

The network outputs opening, width, protrusion, jaw, a speech logit and the logits of 15 viseme classes at 50 Hz.
Networks that were trained on real lips also output a lip contact logit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Float = NDArray[np.float32]

OPENING: Final = 0
WIDTH: Final = 1
PROTRUSION: Final = 2
SPEECH: Final = 4
CLASSES: Final = slice(5, 20)
CONTACT: Final = 20
SILENCE: Final = 5
"""Index of the silence class logit."""
MARGIN: Final = 10
"""Number of time steps before and after a value that affect the decoded value."""

_APPROACH = np.array([0.25, 0.7, 1.0, 0.7, 0.25], np.float32)
"""Mouth closing factors in the time steps around a closure. Closing and opening the lips take about 0.05 s each."""
_SPEECH_GATE = (0.02, 0.2)
"""Speech probabilities of the network at which mouth motion starts and at which it reaches its full amplitude."""


_CLOSURE_GATE = (0.1, 0.5)
"""Speech probabilities of the network at which closures start and at which they are complete. A closed mouth at rest is
not a closure."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Decoding parameters for a set of weights, loaded from the metadata of the weights file."""

    scales: Mapping[str, float] = field(default_factory=dict[str, float])
    """Divisors for the outputs ``opening``, ``spread`` (width above 0), ``rounding`` (width below 0) and
    ``protrusion``."""
    gains: Mapping[str, float] = field(default_factory=dict[str, float])
    """Gains for ``opening``, ``spread`` and ``rounding`` that compensate for regression shrinkage towards the mean."""
    opening_floor: float = 0.0
    """Opening output of a closed mouth. Regression shrinkage raises small openings, which a gain alone cannot
    correct."""
    class_widths: Float | None = None
    """Width of each viseme class, float32 [15]. The decoded width is the mean of the regressed width and the expected
    class width. If the value is None, the decoded width is the regressed width."""
    closure_threshold: float = 0.45
    """Closure evidence at or above which the lips touch."""
    contact_share: float = 0.0
    """Weight of the contact probability in the closure evidence. The posterior of p, b, m, f and v has the remaining
    weight."""
    width_smoothing: float = 0.06
    """Standard deviation in seconds of the Gaussian that smooths the width. Mouth corners move more slowly than phones
    change."""

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> Calibration:
        """Return the calibration stored in the metadata of a weights file."""
        stored = json.loads(metadata.get("calibration", "{}"))
        widths = stored.get("class_widths")
        return cls(
            scales=json.loads(metadata.get("scales", "{}")),
            gains=stored.get("gains", {}),
            class_widths=None if widths is None else np.array(widths, np.float32),
            **{name: float(stored[name]) for name in _NUMBERS if name in stored},
        )

    def factor(self, output: str) -> float:
        """Return the factor that converts an output to units of ``MouthMotion``."""
        return self.gains.get(output, 1.0) / self.scales.get(output, 1.0)


_NUMBERS: Final = ("closure_threshold", "contact_share", "opening_floor", "width_smoothing")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Decoded mouth motion before the voice activity gate, float32 [R] per attribute in units of ``MouthMotion``."""

    opening: Float
    width: Float
    protrusion: Float
    closure: Float

    def table(self) -> Float:
        """Return opening, width, protrusion and closure as one array, float32 [R, 4]."""
        return np.stack([self.opening, self.width, self.protrusion, self.closure], axis=1).astype(np.float32)


def decode(raw: Float, calibration: Calibration) -> Decoded:
    """Return the decoded motion for R time steps of raw outputs, float32 [R + 2 * MARGIN, N]."""
    kept = slice(MARGIN, len(raw) - MARGIN)
    closure = hold_peaks(closure_evidence(raw, calibration), calibration.closure_threshold)
    reach = len(_APPROACH) // 2
    approach = (sliding_window_view(np.pad(closure, reach), len(_APPROACH)) * _APPROACH).max(axis=1)
    # The maximum over neighbouring time steps closes the mouth in non-speech, but not in short gaps within speech.
    speech = sliding_window_view(np.pad(sigmoid(raw[:, SPEECH]), MARGIN), 2 * MARGIN + 1).max(axis=1)
    amplitude = ramp(speech, *_SPEECH_GATE)
    # Closures occur only within speech or directly next to it.
    nearby = sliding_window_view(np.pad(sigmoid(raw[:, SPEECH]), 2), 5).max(axis=1)
    voiced = ramp(nearby, *_CLOSURE_GATE)
    width = mouth_width(raw, calibration)
    width = width * np.where(width > 0, calibration.factor("spread"), calibration.factor("rounding"))
    opening = (
        np.maximum(raw[:, OPENING] - calibration.opening_floor, 0) * calibration.factor("opening") * (1 - approach)
    )
    protrusion = raw[:, PROTRUSION] / calibration.scales.get("protrusion", 1.0)
    opening, width, protrusion = ((each * amplitude)[kept].astype(np.float32) for each in (opening, width, protrusion))
    return Decoded(opening, width, protrusion, (closure * voiced)[kept].astype(np.float32))


def closure_evidence(raw: Float, calibration: Calibration) -> Float:
    """Return the evidence for touching lips, float32 [R] in [0, 1]."""
    labial = labial_posterior(raw)
    if raw.shape[1] <= CONTACT or not calibration.contact_share:
        return labial
    share = np.float32(calibration.contact_share)
    return share * sigmoid(raw[:, CONTACT]) + (1 - share) * labial


def labial_posterior(raw: Float) -> Float:
    """Return the probability of p, b, m, f or v, float32 [R]."""
    shares = class_posteriors(raw)
    return shares[:, 1] + shares[:, 2]


def class_posteriors(raw: Float) -> Float:
    """Return the probabilities of the viseme classes, float32 [R, 15]."""
    logits = raw[:, CLASSES]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def mouth_width(raw: Float, calibration: Calibration) -> Float:
    """Return the smoothed width in units of the network output, float32 [R].

    Values near the first and last time step are approximate, because the width is padded with its end values.
    """
    estimate = raw[:, WIDTH]
    if calibration.class_widths is not None:
        estimate = 0.5 * (estimate + class_posteriors(raw) @ calibration.class_widths)
    deviation = 50.0 * calibration.width_smoothing
    reach = min(round(2.0 * deviation), MARGIN)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(deviation, 1e-3)) ** 2)
    padded = np.pad(estimate, reach, mode="edge")
    return np.convolve(padded, weights / weights.sum(), mode="valid").astype(np.float32)


def hold_peaks(evidence: Float, threshold: float) -> Float:
    """Return the closure for the closure evidence, float32 [R].

    The closure is 1 at or above ``threshold`` and 0 up to half of ``threshold``. Peaks are extended by one time step on
    each side, so a video frame between two time steps does not miss a peak.
    """
    closure = ramp(evidence, 0.5 * threshold, threshold)
    padded = np.pad(evidence, 1)
    peak = np.where((evidence >= padded[:-2]) & (evidence > padded[2:]), closure, 0)
    padded = np.pad(peak, 1)
    return np.maximum(closure, np.maximum(padded[:-2], padded[2:])).astype(np.float32)


def sigmoid(logits: Float) -> Float:
    """Return the logistic function of ``logits``."""
    return (1.0 / (1.0 + np.exp(-np.clip(logits, -40.0, 40.0)))).astype(np.float32)


def ramp(value: Float, low: float, high: float) -> Float:
    """Return the smoothstep function of ``value``, which is 0 up to ``low`` and 1 at or above ``high``."""
    unit = np.clip((value - low) / (high - low), 0, 1)
    return unit * unit * (3 - 2 * unit)
