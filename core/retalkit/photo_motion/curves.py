"""Head motion and blinks over time, derived from the speech and a seed.

The head drifts slowly, nods at energy peaks of the speech and settles in pauses. Blinks occur at a natural rate, and
preferably at the start of a pause (Nakano and Kitazawa, "Eyeblink entrainment at breakpoints of speech", Experimental
Brain Research 2010). All angles are small, so the displacement of the face is at most about 2 % of its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from retalkit.stages import SPEECH_RATE, Speech

Float = NDArray[np.float32]
Times = NDArray[np.float64]

RATE: Final = 50
"""Rate of the internal curves in values per second."""
_CHUNK: Final = 30.0
"""Seconds of speech that are read at a time."""
_FLOOR: Final = -60.0
"""Level in dB that is used for silence."""

_YAW, _PITCH, _ROLL = 0.014, 0.008, 0.008
"""Amplitude of the drift in radians."""
_SHIFT = 0.003
"""Amplitude of the sideways drift, relative to the face size."""
_NOD = 0.019
"""Pitch of the strongest nod in radians."""
_NOD_SPACING = 0.65
"""Minimum time between two nods in seconds."""
_NOD_FALL, _NOD_RISE = 0.11, 0.22
"""Standard deviations in seconds of the two halves of a nod."""
_REST = 0.35
"""Fraction of the drift that remains in pauses."""
_SETTLE = 0.5
"""Time constant in seconds with which the head settles in a pause and moves again."""
_START = 0.8
"""Time in seconds in which the motion starts. The first frame shows the unchanged photo."""

_BLINK_INTERVAL = 3.5
"""Median time between two blinks in seconds."""
_BLINK_RANGE = (1.6, 7.5)
_BLINK_CLOSE, _BLINK_HOLD, _BLINK_OPEN = 0.07, 0.03, 0.11
"""Duration in seconds of the phases of a blink."""
_PAUSE_REACH = 0.6
"""Maximum time in seconds by which a blink is moved to the start of a pause."""


@dataclass(frozen=True, slots=True)
class MotionCurves:
    """Head motion and eyelid closure for every output frame. All arrays are float32 [T]."""

    yaw: Float
    """Rotation to the viewer's right in radians."""
    pitch: Float
    """Downward rotation in radians."""
    roll: Float
    """Clockwise rotation in the image plane in radians."""
    shift: Float
    """Sideways translation, relative to the face size."""
    closure: Float
    """Eyelid closure in [0, 1]."""

    def __len__(self) -> int:
        return len(self.yaw)


def motion_curves(speech: Speech, times: Times, seed: int) -> MotionCurves:
    """Return the motion at ``times`` (output times in seconds, float64 [T], ascending).

    The result is deterministic for a given speech and seed, and the motion at one time does not depend on the other
    times.
    """
    grid = np.arange(int(np.ceil(speech.duration * RATE)) + 1) / RATE
    level, activity = _level(speech, len(grid)), _activity(speech, grid)
    generator = np.random.default_rng(seed)
    drift = _Drift(generator)
    nod, turn = _nods(level, activity, generator)
    blinks = _blink_times(speech.duration, activity, generator)

    settled = _REST + (1 - _REST) * gaussian_filter1d(activity, _SETTLE * RATE, mode="nearest")
    start = np.clip(times / _START, 0, 1)
    start = start * start * (3 - 2 * start)
    amount = np.interp(times, grid, settled) * start
    nods, turns = (np.interp(times, grid, curve, right=0.0) * start for curve in (nod, turn))
    return MotionCurves(
        yaw=(_YAW * (drift.at(times, 0) * amount + turns)).astype(np.float32),
        pitch=(_PITCH * drift.at(times, 1) * amount + _NOD * nods).astype(np.float32),
        roll=(_ROLL * (drift.at(times, 2) * amount + 0.6 * turns)).astype(np.float32),
        shift=(_SHIFT * drift.at(times, 0) * amount).astype(np.float32),
        closure=_closure(times, blinks),
    )


class _Drift:
    """Slow aperiodic motion, as a sum of sinusoids with random periods and phases, in about [-1, 1]."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._frequencies = 1 / generator.uniform(2.8, 9.0, (3, 4))
        self._phases = generator.uniform(0, 2 * np.pi, (3, 4))

    def at(self, times: Times, axis: int) -> NDArray[np.float64]:
        waves = np.sin(2 * np.pi * np.outer(times, self._frequencies[axis]) + self._phases[axis])
        return waves.sum(1) / 2.4


def _level(speech: Speech, count: int) -> NDArray[np.float64]:
    """Return the smoothed level of the speech in dB relative to its loudness, float64 [count]."""
    hop = SPEECH_RATE // RATE
    level = np.full(count, _FLOOR)
    step = round(_CHUNK * RATE)
    for first in range(0, count, step):
        last = min(first + step, count)
        samples = speech.waveform(first / RATE, last / RATE)[: (last - first) * hop].astype(np.float64)
        power = np.zeros(last - first)
        hops = samples[: len(samples) // hop * hop].reshape(-1, hop)
        power[: len(hops)] = (hops * hops).mean(1)
        level[first:last] = np.maximum(10 * np.log10(power + 1e-12) - max(speech.loudness, -70.0), _FLOOR)
    return gaussian_filter1d(level, 0.08 * RATE, mode="nearest")


def _activity(speech: Speech, grid: Times) -> NDArray[np.float64]:
    step = round(_CHUNK * RATE)
    parts = [speech.activity(grid[first : first + step]) for first in range(0, len(grid), step)]
    return np.concatenate(parts).astype(np.float64)


def _nods(
    level: NDArray[np.float64], activity: NDArray[np.float64], generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the nods in [0, 1] and the small sideways turns that accompany them, float64 [G] each.

    A nod is placed at every prominent energy peak of the speech that is far enough from a more prominent peak.
    """
    nod, turn = np.zeros(len(level)), np.zeros(len(level))
    peaks, properties = find_peaks(level, prominence=3.0, distance=max(round(_NOD_SPACING * RATE), 1))
    grid = np.arange(len(level)) / RATE
    for peak, prominence in zip(peaks, properties["prominences"], strict=True):
        size, side = generator.uniform(0.6, 1.0), generator.uniform(-0.45, 0.45)
        if activity[peak] < 0.5:
            continue
        size *= np.clip(prominence / 18.0, 0.25, 1.0)
        near = slice(max(peak - RATE, 0), peak + RATE)
        offset = grid[near] - grid[peak]
        pulse = size * np.exp(-0.5 * (offset / np.where(offset < 0, _NOD_FALL, _NOD_RISE)) ** 2)
        nod[near] = np.maximum(nod[near], pulse)
        turn[near] += side * pulse
    # The maximum of overlapping pulses has corners.
    return gaussian_filter1d(nod, 0.05 * RATE), gaussian_filter1d(turn, 0.05 * RATE)


def _blink_times(duration: float, activity: NDArray[np.float64], generator: np.random.Generator) -> Times:
    """Return the start times of the blinks in seconds and their relative durations, float64 [B, 2]."""
    speaking = activity > 0.5
    pauses = np.flatnonzero(speaking[:-1] & ~speaking[1:]) / RATE
    blinks: list[tuple[float, float]] = []
    time = float(generator.uniform(0.9, 2.6))
    while time < duration - 0.3:
        reachable = pauses[np.abs(pauses - time) < _PAUSE_REACH]
        if len(reachable):
            time = float(reachable[np.argmin(np.abs(reachable - time))])
        if not blinks or time - blinks[-1][0] >= _BLINK_RANGE[0] / 2:
            blinks.append((time, float(generator.uniform(0.85, 1.15))))
        time += float(np.clip(_BLINK_INTERVAL * np.exp(0.42 * generator.standard_normal()), *_BLINK_RANGE))
    return np.array(blinks, np.float64).reshape(-1, 2)


def _closure(times: Times, blinks: Times) -> Float:
    closure = np.zeros(len(times), np.float32)
    for start, scale in blinks:
        closing, hold, opening = (scale * phase for phase in (_BLINK_CLOSE, _BLINK_HOLD, _BLINK_OPEN))
        first, last = np.searchsorted(times, [start, start + closing + hold + opening])
        offset = times[first:last] - start
        down = np.clip(offset / closing, 0, 1)
        up = np.clip((offset - closing - hold) / opening, 0, 1)
        value = 0.5 - 0.5 * np.cos(np.pi * down) - (0.5 - 0.5 * np.cos(np.pi * up))
        closure[first:last] = np.maximum(closure[first:last], value)
    return closure
