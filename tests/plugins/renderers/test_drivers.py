"""Tests for requirements that apply to every driver that predicts motion from speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit_renderers.speech_to_mouth.interface import DRIVERS

from tests.core.speech.sounds import at_level, load, without_speech
from tests.plugins.renderers.speeches import FIELDS, NAMES, make_driver, motion, with_activity

USES = tuple(spec.name for spec in DRIVERS if spec.name != "file")
each_driver = pytest.mark.parametrize("use", USES)


@pytest.fixture(scope="module")
def voices(shared_media: Path) -> list[np.ndarray]:
    return [load(shared_media / name) for name in NAMES]


@pytest.mark.parametrize(
    "level", [None, *(pytest.param(level, marks=pytest.mark.slow) for level in (-60.0, -40.0, -20.0))]
)
def test_mouth_stays_closed_without_speech(level: float | None) -> None:
    failures: dict[tuple[str, str], float] = {}
    drivers = {use: make_driver(use) for use in USES}
    for name, sound in without_speech(6.0).items():
        speech = with_activity(sound if level is None else at_level(sound, level))
        times = np.arange(0.0, speech.duration, 0.04)
        for use, driver in drivers.items():
            share = float((driver.motion(speech, times).opening <= 0.05).mean())
            if share < 0.98:
                failures[use, name] = share
    assert failures == {}


@each_driver
def test_speech_gives_plausible_mouth_motion(use: str, voices: list[np.ndarray]) -> None:
    for voice in voices:
        speech = with_activity(voice)
        shapes = motion(use, speech, np.arange(0.0, speech.duration, 0.01))
        speaking = shapes.speech > 0.5
        assert 0.25 < shapes.opening[speaking].mean() < 0.6
        assert 0.6 < np.percentile(shapes.opening[speaking], 95) < 1.35
        spectrum = np.abs(np.fft.rfft(shapes.opening - shapes.opening.mean())) ** 2
        fast = np.fft.rfftfreq(len(shapes.opening), 0.01) > 8.0
        assert spectrum[fast].sum() < 0.1 * spectrum.sum()


@each_driver
def test_values_have_documented_ranges_and_types(use: str, voices: list[np.ndarray]) -> None:
    shapes = motion(use, with_activity(voices[0]), np.array([-5.0, -0.01, 0.0, 0.5, 3.0, 9.5999, 9.7, 1e5]))
    lowest = {"opening": 0.0, "width": -1.0, "protrusion": 0.0, "closure": 0.0, "speech": 0.0}
    for name in FIELDS:
        values = getattr(shapes, name)
        assert values.dtype == np.float32 and values.shape == (8,)
        assert values.min() >= lowest[name] and values.max() <= (1.5 if name == "opening" else 1.0)
        assert values[0] == values[-1] == 0.0
    assert motion(use, with_activity(voices[0]), np.zeros(0)).opening.shape == (0,)


@each_driver
def test_value_does_not_depend_on_the_other_times(use: str, voices: list[np.ndarray]) -> None:
    speech = with_activity(voices[0])
    times = np.arange(0.0, speech.duration, 0.0333667)
    whole = motion(use, speech, times)
    driver = make_driver(use)
    for rows in (slice(0, 1), slice(5, 12), slice(40, 43), slice(200, None), slice(None, None, -1), slice(3, None, 90)):
        part = driver.motion(speech, times[rows])
        for name in FIELDS:
            assert np.array_equal(getattr(part, name), getattr(whole, name)[rows])


@each_driver
def test_driver_serves_several_speeches(use: str, voices: list[np.ndarray]) -> None:
    driver = make_driver(use)
    first, second = with_activity(voices[0]), with_activity(voices[1])
    times = np.array([1.5, 2.0, 2.5])
    alone = motion(use, second, times)
    driver.motion(first, times)
    assert np.array_equal(driver.motion(second, times).opening, alone.opening)
