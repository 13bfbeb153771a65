"""Driver ``bands``: rule-based mouth motion from band energies and acoustic phonetics, without training.

* **Opening** is the level of the sonorant band relative to its maximum over the last 1.5 s, multiplied by the relative
  frequency of the first formant. Open vowels raise the first formant (Stevens, "Acoustic Phonetics", 1998, ch. 6).
  Rounding reduces the opening, and sibilants open the lips slightly.
* **Width** follows the second formant. The energy ratio between 1.8 to 3 kHz and 0.6 to 1.4 kHz is high for spread
  vowels and low for rounded vowels. The sibilant s is classified as spread, and sh is classified as rounded.
* **Protrusion** follows rounding.
* **Closure** is a short level dip in the vowel band between two louder segments without frication noise. The second
  formant must fall towards the dip on both sides, which is typical of p, b and m (labial locus: Delattre, Liberman and
  Cooper, JASA 1955). The cue is weak, so the probability is limited to 0.5.

All values are multiplied by the voice activity. The values are computed at 100 Hz and interpolated. Apart from the
voice activity, a value depends on 2 s of audio before its time and on less than 0.2 s of audio after its time.
"""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from retalkit.plugins import StageConfig
from retalkit.speech.loudness import reference_gain
from retalkit.stages import MouthMotion, Runtime, Speech

from retalkit_renderers.speech_to_mouth.band_levels import (
    GRID_RATE,
    band_levels,
    hann_smooth,
    linear_ramp,
    sample_range,
    windows,
)

_BLOCK = 128
_MAX_BLOCKS = 8
_HISTORY = 192
_AHEAD = 20
_LEVEL_REACH = 6
_MOTION_REACH = 9
_LOUDEST_BEFORE = 150
_LOUDEST_AFTER = 3
_QUIETEST_SPEECH = -40.0
_LOUDEST_SPEECH = -10.0
_LIP_RANGE = 28.0
_OPENING_SCALE = 1.7
_ROUNDING_NARROWS = 0.4
_TYPICAL_TILT = -11.5
_TYPICAL_WEIGHT = 60.0
_TILT_RANGE = 10.5
_MAX_OPENING = 1.5
_MAX_CLOSURE = 0.5

_Grid = NDArray[np.float64]


class BandDriver:
    """Speech-to-mouth driver without trained weights."""

    def __init__(self) -> None:
        self._blocks: WeakKeyDictionary[Speech, OrderedDict[int, _Grid]] = WeakKeyDictionary()

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """Return the mouth motion at ``times`` in seconds, float64 [T]."""
        blocks_of_speech = self._blocks.setdefault(speech, OrderedDict())
        positions = np.asarray(times, dtype=np.float64) * GRID_RATE
        lower = np.floor(positions).astype(np.int64)
        fractions = positions - lower
        values = np.zeros((5, len(positions)))
        blocks = lower // _BLOCK
        for block in np.unique(blocks).tolist():
            rows = np.flatnonzero(blocks == block)
            grid = _block(speech, block, blocks_of_speech)
            left = lower[rows] - block * _BLOCK
            values[:, rows] = grid[:, left] * (1.0 - fractions[rows]) + grid[:, left + 1] * fractions[rows]
        opening, width, protrusion, closure, activity = values.astype(np.float32)
        return MouthMotion(opening, width, protrusion, closure, activity)


def _block(speech: Speech, block: int, cached: OrderedDict[int, _Grid]) -> _Grid:
    grid = cached.get(block)
    if grid is None:
        grid = _compute(speech, block * _BLOCK, (block + 1) * _BLOCK + 1)
        cached[block] = grid
        if len(cached) > _MAX_BLOCKS:
            cached.popitem(last=False)
    return grid


def make_driver(config: StageConfig, runtime: Runtime) -> BandDriver:
    """Return the driver ``bands``."""
    return BandDriver()


def _compute(speech: Speech, start: int, stop: int) -> _Grid:
    """Return opening, width, protrusion, closure and voice activity at 100 Hz, float64 [5, stop - start]."""
    first = start - _HISTORY
    last = stop + _AHEAD
    activity = speech.activity(np.arange(first, last) / GRID_RATE).astype(np.float64)
    kept = slice(_HISTORY, _HISTORY + stop - start)
    if not activity[_HISTORY - _AHEAD :].any():
        return np.zeros((5, stop - start))
    gain = np.float32(reference_gain(speech.loudness))
    levels = band_levels(speech.waveform(*sample_range(first, last)) * gain)

    sonorant = hann_smooth(levels["sonorant"], _LEVEL_REACH)
    loudest = windows(sonorant, _LOUDEST_BEFORE, _LOUDEST_AFTER).max(axis=1)
    loudest = np.clip(loudest, _QUIETEST_SPEECH, _LOUDEST_SPEECH)
    loudness = linear_ramp(sonorant - loudest, -_LIP_RANGE, 0.0)
    height = linear_ramp(hann_smooth(levels["first_high"] - levels["first_low"], _LEVEL_REACH), -10.0, 8.0)
    hiss = linear_ramp(levels["hiss"] - loudest, -30.0, -10.0) * linear_ramp(
        levels["hiss"] - levels["sonorant"], -5.0, 10.0
    )
    opening = np.maximum(loudness * (0.4 + 0.6 * height), 0.25 * hiss)

    second = hann_smooth(levels["second_high"] - levels["second_low"], _LEVEL_REACH)
    mean_tilt = _mean_tilt(second, loudness * activity)
    spread = 2.0 * linear_ramp(second - mean_tilt, -_TILT_RANGE, _TILT_RANGE) - 1.0
    sharp = 2.0 * linear_ramp(levels["hiss"] - levels["hush"], -10.0, 10.0) - 1.0
    width = linear_ramp(loudness, 0.2, 0.7) * (1.0 - hiss) * spread + 0.4 * hiss * sharp

    closure = _closures(levels, loudest)
    opening = hann_smooth(opening * activity, _MOTION_REACH) * _OPENING_SCALE
    width = hann_smooth(width * activity, _MOTION_REACH)
    closure = hann_smooth(closure, 2) * activity
    rounding = np.maximum(-width, 0.0)
    opening = opening * (1.0 - closure) * (1.0 - _ROUNDING_NARROWS * rounding)
    rows = [np.clip(opening, 0.0, _MAX_OPENING), np.clip(width, -1.0, 1.0), rounding, closure, activity]
    return np.stack(rows)[:, kept]


def _mean_tilt(second: _Grid, weight: _Grid) -> _Grid:
    """Return the mean of ``second`` over the last 1.5 s of speech, shrunk to a typical value if there is little speech.

    Microphones and rooms tilt the spectrum by several dB. Without this correction, the mouth would be permanently
    spread or rounded.
    """
    sums = windows(second * weight, _LOUDEST_BEFORE, 0).sum(axis=1)
    weights = windows(weight, _LOUDEST_BEFORE, 0).sum(axis=1)
    return (sums + _TYPICAL_WEIGHT * _TYPICAL_TILT) / (weights + _TYPICAL_WEIGHT)


def _closures(levels: dict[str, _Grid], loudest: _Grid) -> _Grid:
    body = hann_smooth(levels["body"], 1)
    around = windows(body, 13, 13)
    dip = np.minimum(around[:, :12].max(axis=1), around[:, 15:].max(axis=1)) - body
    second = hann_smooth(levels["second_high"] - levels["second_low"], 2)
    edges = windows(second, 4, 4)[:, [0, -1]].mean(axis=1)
    silent_hiss = linear_ramp(loudest - hann_smooth(levels["hiss"], 1), 20.0, 35.0)
    return _MAX_CLOSURE * linear_ramp(dip, 4.0, 14.0) * silent_hiss * linear_ramp(-edges, 6.0, 22.0)
