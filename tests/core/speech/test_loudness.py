"""Tests for the loudness measurement according to ITU-R BS.1770."""

from __future__ import annotations

import numpy as np
import pytest
from pyloudnorm import Meter
from retalkit.speech.loudness import REFERENCE, SILENT, LoudnessMeter, integrated_loudness, reference_gain

from tests.core.speech.sounds import at_level, white


def _phrases() -> np.ndarray:
    """Return noise bursts at different levels with pauses between the bursts."""
    levels = np.repeat([0.0, 0.2, 0.05, 0.001, 0.3, 0.1], 16000)
    return (levels * np.random.default_rng(0).standard_normal(len(levels))).astype(np.float32)


def test_loudness_matches_pyloudnorm() -> None:
    sound = _phrases()
    assert integrated_loudness(sound) == pytest.approx(Meter(16000).integrated_loudness(sound.astype(float)), abs=0.1)


def test_full_scale_sine_has_the_loudness_of_the_standard() -> None:
    # At 48 kHz, the loudness of a 997 Hz sine at 0 dBFS in one channel is -3.01 LKFS. At 16 kHz, the filter differs
    # slightly.
    sine = np.sin(2 * np.pi * 997 * np.arange(5 * 16000) / 16000).astype(np.float32)
    assert integrated_loudness(sine) == pytest.approx(-3.01, abs=0.3)


@pytest.mark.parametrize("decibels", [-30.0, 10.0])
def test_loudness_follows_the_gain(decibels: float) -> None:
    sound = _phrases()
    louder = sound * np.float32(10 ** (decibels / 20))
    assert integrated_loudness(louder) == pytest.approx(integrated_loudness(sound) + decibels, abs=0.05)


def test_pauses_do_not_lower_the_loudness() -> None:
    sound = white(4.0)
    padded = np.concatenate([sound, np.zeros(20 * 16000, np.float32)])
    assert integrated_loudness(padded) == pytest.approx(integrated_loudness(sound), abs=0.7)


def test_result_does_not_depend_on_chunking() -> None:
    sound, meter = _phrases(), LoudnessMeter()
    for start in range(0, len(sound), 777):
        meter.push(sound[start : start + 777])
    assert meter.loudness() == integrated_loudness(sound)


@pytest.mark.parametrize("count", [0, 1, 1000, 16000])
def test_silence_is_silent(count: int) -> None:
    assert integrated_loudness(np.zeros(count, np.float32)) == SILENT


def test_short_sound_has_a_loudness() -> None:
    assert -25 < integrated_loudness(at_level(white(0.15), -20.0)) < -10


def test_reference_gain_is_limited() -> None:
    assert reference_gain(REFERENCE) == 1.0
    assert reference_gain(REFERENCE - 20) == pytest.approx(10.0)
    assert reference_gain(SILENT) == pytest.approx(1000.0)
