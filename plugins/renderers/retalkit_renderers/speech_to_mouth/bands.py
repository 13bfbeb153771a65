"""The plain driver: mouth shapes from band energies, by rules of acoustic phonetics, with nothing trained.

* **Opening** follows the level of the sonorant band below the loudest of the last 1.5 s, times how high the first
  formant lies: open vowels raise it (Stevens, "Acoustic Phonetics", 1998, ch. 6). Rounding narrows the gap, and hissing
  consonants part the lips a little.
* **Width** follows the second formant: energy at 1.8 to 3 kHz against 0.6 to 1.4 kHz is high for spread and low for
  rounded vowels. Hissing (s) counts as spread, hushing (sh) as rounded.
* **Protrusion** goes with rounding.
* **Closure** is a short dip of the vowel body between two louder moments, without hiss, where the second formant
  points down on both sides, as it does next to p, b and m (the locus of labials: Delattre, Liberman and Cooper,
  JASA 1955). The cue is weak, so the probability never passes 0.5.

All of it is multiplied by the voice activity. Values stand on a grid of 100 a second and are interpolated. Besides the
activity, a value depends on 2 s of sound before it and less than 0.2 s after it.
"""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from retalkit.plugins import StageConfig
from retalkit.stages import MouthMotion, Runtime, Speech

from retalkit_renderers.speech_to_mouth.band_levels import (
    GRID_RATE,
    band_levels,
    between,
    neighbours,
    sample_range,
    smoothed,
)

_BLOCK = 128
_KEPT_BLOCKS = 8
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
_ROUND_NARROWS = 0.4
_COMMON_SECOND = -11.5
_COMMON_WEIGHT = 60.0
_SECOND_RANGE = 10.5
_MOST_OPEN = 1.5
_MOST_CERTAIN_CLOSURE = 0.5

_Grid = NDArray[np.float64]


class BandDriver:
    """Implements ``SpeechToMouth`` without weights."""

    def __init__(self) -> None:
        self._blocks: WeakKeyDictionary[Speech, OrderedDict[int, _Grid]] = WeakKeyDictionary()

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """See ``SpeechToMouth``."""
        known = self._blocks.setdefault(speech, OrderedDict())
        positions = np.asarray(times, dtype=np.float64) * GRID_RATE
        lower = np.floor(positions).astype(np.int64)
        fractions = positions - lower
        values = np.zeros((5, len(positions)))
        blocks = lower // _BLOCK
        for block in np.unique(blocks).tolist():
            rows = np.flatnonzero(blocks == block)
            grid = _block(speech, block, known)
            left = lower[rows] - block * _BLOCK
            values[:, rows] = grid[:, left] * (1.0 - fractions[rows]) + grid[:, left + 1] * fractions[rows]
        opening, width, protrusion, closure, activity = values.astype(np.float32)
        return MouthMotion(opening, width, protrusion, closure, activity)


def _block(speech: Speech, block: int, known: OrderedDict[int, _Grid]) -> _Grid:
    grid = known.get(block)
    if grid is None:
        grid = _compute(speech, block * _BLOCK, (block + 1) * _BLOCK + 1)
        known[block] = grid
        if len(known) > _KEPT_BLOCKS:
            known.popitem(last=False)
    return grid


def make_driver(config: StageConfig, runtime: Runtime) -> BandDriver:
    """Build the driver ``bands``."""
    return BandDriver()


def _compute(speech: Speech, start: int, stop: int) -> _Grid:
    """float64 [5, stop - start]: opening, width, protrusion, closure, activity on the grid."""
    first = start - _HISTORY
    last = stop + _AHEAD
    activity = speech.activity(np.arange(first, last) / GRID_RATE).astype(np.float64)
    kept = slice(_HISTORY, _HISTORY + stop - start)
    if not activity[_HISTORY - _AHEAD :].any():
        return np.zeros((5, stop - start))
    levels = band_levels(speech.waveform(*sample_range(first, last)))

    sonorant = smoothed(levels["sonorant"], _LEVEL_REACH)
    loudest = neighbours(sonorant, _LOUDEST_BEFORE, _LOUDEST_AFTER).max(axis=1)
    loudest = np.clip(loudest, _QUIETEST_SPEECH, _LOUDEST_SPEECH)
    loudness = between(sonorant - loudest, -_LIP_RANGE, 0.0)
    height = between(smoothed(levels["first_high"] - levels["first_low"], _LEVEL_REACH), -10.0, 8.0)
    hiss = between(levels["hiss"] - loudest, -30.0, -10.0) * between(levels["hiss"] - levels["sonorant"], -5.0, 10.0)
    opening = np.maximum(loudness * (0.4 + 0.6 * height), 0.25 * hiss)

    second = smoothed(levels["second_high"] - levels["second_low"], _LEVEL_REACH)
    usual = _usual(second, loudness * activity)
    spread = 2.0 * between(second - usual, -_SECOND_RANGE, _SECOND_RANGE) - 1.0
    sharp = 2.0 * between(levels["hiss"] - levels["hush"], -10.0, 10.0) - 1.0
    width = between(loudness, 0.2, 0.7) * (1.0 - hiss) * spread + 0.4 * hiss * sharp

    closure = _closures(levels, loudest)
    opening = smoothed(opening * activity, _MOTION_REACH) * _OPENING_SCALE
    width = smoothed(width * activity, _MOTION_REACH)
    closure = smoothed(closure, 2) * activity
    rounding = np.maximum(-width, 0.0)
    opening = opening * (1.0 - closure) * (1.0 - _ROUND_NARROWS * rounding)
    rows = [np.clip(opening, 0.0, _MOST_OPEN), np.clip(width, -1.0, 1.0), rounding, closure, activity]
    return np.stack(rows)[:, kept]


def _usual(second: _Grid, weight: _Grid) -> _Grid:
    """Mean of ``second`` over the last 1.5 s of speech, drawn to a common value while there is little of it.

    Microphones and rooms tilt the spectrum by several dB, which would spread or round the mouth all along.
    """
    sums = neighbours(second * weight, _LOUDEST_BEFORE, 0).sum(axis=1)
    weights = neighbours(weight, _LOUDEST_BEFORE, 0).sum(axis=1)
    return (sums + _COMMON_WEIGHT * _COMMON_SECOND) / (weights + _COMMON_WEIGHT)


def _closures(levels: dict[str, _Grid], loudest: _Grid) -> _Grid:
    body = smoothed(levels["body"], 1)
    around = neighbours(body, 13, 13)
    dip = np.minimum(around[:, :12].max(axis=1), around[:, 15:].max(axis=1)) - body
    second = smoothed(levels["second_high"] - levels["second_low"], 2)
    edges = neighbours(second, 4, 4)[:, [0, -1]].mean(axis=1)
    silent_hiss = between(loudest - smoothed(levels["hiss"], 1), 20.0, 35.0)
    return _MOST_CERTAIN_CLOSURE * between(dip, 4.0, 14.0) * silent_hiss * between(-edges, 6.0, 22.0)
