"""Mouth targets at 50 Hz, computed from timed phones.

Coarticulation is modelled by dominance functions (Löfqvist, "Speech as audible gestures", 1990; Cohen and Massaro,
"Modeling coarticulation in synthetic visual speech", 1993, eq. 1 to 3). The value of a measure is the
dominance-weighted mean of the targets of all phones. A dominance is constant in the middle of a phone and decays
exponentially before and after the phone. Lips close completely for p, b and m in any context, so closures are applied
after averaging.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retalkit_renderers.speech_to_mouth.visemes import BILABIAL, LABIODENTAL, SILENCE, TABLE

TARGET_RATE = 50
"""Number of target values per second. Value ``j`` is at the time (2 j + 1) / 100 s."""
MEASURES = ("opening", "width", "protrusion", "jaw")

# Time constants in seconds of the dominance before and after a phone. Rounding is anticipated (Bell-Berti and Harris,
# "Temporal patterns of coarticulation: lip rounding", JASA 1982).
_BEFORE = np.array([0.040, 0.080, 0.090, 0.055])
_AFTER = np.array([0.042, 0.065, 0.070, 0.060])
_REACH = 0.6
_CLOSING = 0.050
_OPENING = 0.045
_PAUSE = 0.12


@dataclass(frozen=True, slots=True)
class Phone:
    """Phone with start and stop times in seconds from the start of the audio, and an IPA letter from ``TABLE``."""

    start: float
    stop: float
    letter: str


@dataclass(frozen=True, slots=True)
class Targets:
    """Training targets at each target time."""

    measures: NDArray[np.float32]
    """Mouth measures in the order of ``MEASURES``, float32 [J, 4]."""
    speech: NDArray[np.float32]
    """Speech activity, float32 [J]: 1 within speech (including pauses shorter than 0.12 s), 0 elsewhere."""
    classes: NDArray[np.int64]
    """Index into ``visemes.CLASSES``, int64 [J]."""


def merge_silences(phones: list[Phone]) -> list[Phone]:
    """Merge consecutive silences and drop empty phones."""
    result: list[Phone] = []
    for phone in phones:
        if result and phone.letter == "_" and result[-1].letter == "_":
            result[-1] = Phone(result[-1].start, phone.stop, "_")
        elif phone.stop > phone.start:
            result.append(phone)
    return result


def mouth_targets(phones: list[Phone], count: int) -> Targets:
    """Return the first ``count`` targets for the phones of an audio clip.

    The mouth is closed before and after the phones.
    """
    times = (2.0 * np.arange(count) + 1.0) / (2.0 * TARGET_RATE)
    edge = Phone(-10.0, phones[0].start if phones else 0.0, "_")
    tail = Phone(phones[-1].stop if phones else 0.0, 2.0 * count / TARGET_RATE + 10.0, "_")
    phones = merge_silences([edge, *phones, tail])
    starts = np.array([phone.start for phone in phones])
    stops = np.array([phone.stop for phone in phones])
    visemes = [TABLE[phone.letter] for phone in phones]
    aims = np.array([[v.opening, v.width, v.protrusion, v.jaw] for v in visemes])
    holds = np.array([[v.opening_hold, v.width_hold, v.protrusion_hold, v.jaw_hold] for v in visemes])
    kinds = np.array([v.kind for v in visemes])

    measures = np.zeros((count, 4))
    for first in range(0, count, 200):
        block = times[first : first + 200]
        near = (stops > block[0] - _REACH) & (starts < block[-1] + _REACH)
        measures[first : first + 200] = _blend(block, starts[near], stops[near], aims[near], holds[near], kinds[near])
    measures[:, 0] = _apply_closures(times, measures[:, 0], starts, stops, kinds)

    index = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, len(phones) - 1)
    speech = (kinds[index] != SILENCE) | ((stops - starts)[index] < _PAUSE)
    return Targets(measures.astype(np.float32), speech.astype(np.float32), kinds[index].astype(np.int64))


def _blend(
    times: NDArray[np.float64],
    starts: NDArray[np.float64],
    stops: NDArray[np.float64],
    aims: NDArray[np.float64],
    holds: NDArray[np.float64],
    kinds: NDArray[np.int64],
) -> NDArray[np.float64]:
    lengths = stops - starts
    silent = kinds == SILENCE
    # The lips open about 0.1 s before the onset of sound and close about 0.08 s after its end.
    held_from = np.where(silent, starts + np.minimum(0.08, 0.5 * lengths), starts + 0.3 * lengths)
    held_to = np.where(silent, stops - np.minimum(0.10, 0.5 * lengths), stops - 0.3 * lengths)
    before = np.maximum(held_from - times[:, None], 0.0)
    after = np.maximum(times[:, None] - held_to, 0.0)
    # The lips hardly move towards rest in a short pause.
    weight = np.where(silent, np.clip(lengths / 0.15, 0.2, 1.0), 1.0)
    values = np.zeros((len(times), 4))
    for column in range(4):
        pull = holds[:, column] * weight * np.exp(-before / _BEFORE[column] - after / _AFTER[column]) + 1e-9
        values[:, column] = (pull * aims[:, column]).sum(1) / pull.sum(1)
    return values


def _apply_closures(
    times: NDArray[np.float64],
    opening: NDArray[np.float64],
    starts: NDArray[np.float64],
    stops: NDArray[np.float64],
    kinds: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Limit the opening during closures to 0 for p, b and m, and to a narrow gap for f and v."""
    result = opening.copy()
    for start, stop, kind in zip(starts, stops, kinds, strict=True):
        if kind not in (BILABIAL, LABIODENTAL):
            continue
        length = stop - start
        # The closure is long enough that at least one 50 Hz target lies within the closure of even a short phone.
        middle, half = start + 0.45 * length, max(0.011, 0.35 * length)
        near = slice(*np.searchsorted(times, (middle - half - _CLOSING, middle + half + _OPENING)))
        distance = np.abs(times[near] - middle) - half
        ramp = np.where(times[near] < middle, _CLOSING, _OPENING)
        share = np.clip(distance / ramp, 0.0, 1.0)
        share = share * share * (3.0 - 2.0 * share)
        least = 0.0 if kind == BILABIAL else 0.06
        result[near] = np.minimum(result[near], least + share * np.maximum(result[near] - least, 0.0))
    return result
