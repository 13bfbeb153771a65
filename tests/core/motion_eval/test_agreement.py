"""Scores of speech-to-mouth drivers on synthetic motion with known results."""

from __future__ import annotations

import math

import numpy as np
import pytest
from retalkit.motion_eval.agreement import (
    CONTACT_GAP,
    GRID_RATE,
    Lips,
    Motion,
    agreement,
    closure_events,
    correlation,
    predict_motion,
    prepare_motion,
)
from retalkit.motion_eval.bootstrap import correlation_draws, interval, mean_interval
from retalkit.speech.noise import at_level, backgrounds
from retalkit.speech.readers import ArrayReader
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import MouthMotion, Speech
from scipy.signal import savgol_filter

SECONDS = 8


def talking(times: np.ndarray, seed: int = 0) -> np.ndarray:
    """Smooth aperiodic motion between 0.1 and 0.9."""
    generator = np.random.default_rng(seed)
    waves = [np.sin(2 * np.pi * (frequency * times + generator.uniform())) for frequency in (0.37, 1.1, 2.3, 3.7)]
    return 0.5 + 0.1 * np.sum(waves, axis=0)


class ScriptedDriver:
    """Driver that ignores the speech, opens the mouth by ``talking`` and closes it at the given times."""

    def __init__(self, closures: tuple[float, ...] = (), seed: int = 0) -> None:
        self.closures = closures
        self.seed = seed

    def motion(self, speech: Speech, times: np.ndarray) -> MouthMotion:
        opening = talking(times, self.seed).astype(np.float32)
        width = talking(times, self.seed + 7).astype(np.float32) - 0.5
        closure = np.zeros(len(times), np.float32)
        for time in self.closures:
            closure[np.abs(times - time) < 0.03] = 1.0
        return MouthMotion(opening, width, np.zeros_like(opening), closure, np.ones_like(opening))


SPEECH = SpeechTrack(ArrayReader(np.zeros(16000, np.float32)), ArrayReader(np.zeros(101, np.float32)))


def lips(delay: float = 0.0, closures: tuple[float, ...] = ()) -> Lips:
    """Lips that follow ``ScriptedDriver`` ``delay`` seconds later; an opening of 1 is 0.2 eye distances."""
    times = np.arange(SECONDS * GRID_RATE) / GRID_RATE - delay
    motion = ScriptedDriver(closures).motion(SPEECH, times)
    gap = motion.opening * (1.0 - motion.closure)
    return Lips(0.2 * gap.astype(np.float64), 0.5 + 0.1 * motion.width.astype(np.float64))


def test_exact_prediction_scores_one() -> None:
    found = agreement(lips(), predict_motion(ScriptedDriver(), SPEECH, lips()))
    assert found.offset == 0
    assert found.opening > 0.995 and found.width > 0.995
    assert found.best_opening == found.opening_by_lag[3] == found.opening
    assert found.frames == SECONDS * GRID_RATE


@pytest.mark.parametrize("frames", [-4, 2, 6])
def test_delay_is_estimated_and_compensated(frames: int) -> None:
    late = lips(delay=frames / GRID_RATE)
    found = agreement(late, predict_motion(ScriptedDriver(), SPEECH, late))
    assert found.offset == frames
    assert found.opening > 0.995
    assert found.uncorrected_opening < 0.9


def test_lags_are_relative_to_the_compensated_delay() -> None:
    late = lips(delay=2 / GRID_RATE)
    motion = predict_motion(ScriptedDriver(), SPEECH, late)
    found = agreement(late, motion)
    assert found.opening_by_lag[1] == pytest.approx(found.uncorrected_opening)
    assert found.opening_by_lag[1] == pytest.approx(correlation(late.opening, motion.delayed(motion.opening, 0)))


def test_unrelated_motion_scores_near_chance() -> None:
    found = agreement(lips(), predict_motion(ScriptedDriver(seed=11), SPEECH, lips()))
    assert found.opening < 0.6
    assert abs(found.chance_opening) < 0.4


def test_closure_recall_and_precision() -> None:
    real, predicted = (1.0, 2.0, 3.0, 4.0, 5.0), (1.0, 2.08, 3.0, 6.0)  # seconds
    found = agreement(lips(closures=real), predict_motion(ScriptedDriver(predicted), SPEECH, lips(closures=real)))
    assert (found.lip_closures, found.recalled_closures, found.recall) == (5, 3, 0.6)
    assert (found.predicted_closures, found.correct_closures, found.precision) == (4, 3, 0.75)


def test_closure_three_frames_off_is_not_matched() -> None:
    found = agreement(lips(closures=(2.0,)), predict_motion(ScriptedDriver((2.12,)), SPEECH, lips(closures=(2.0,))))
    assert (found.recall, found.precision) == (0.0, 0.0)


def test_recall_and_precision_are_nan_without_closures() -> None:
    found = agreement(lips(), predict_motion(ScriptedDriver(), SPEECH, lips()))
    assert math.isnan(found.recall) and math.isnan(found.precision)


def test_closure_requires_opening_before_and_after() -> None:
    gap = np.full(60, 0.1)
    gap[10] = 0.0
    gap[20:23] = 0.01, 0.0, 0.01
    gap[30] = 1.01 * CONTACT_GAP
    gap[40:60] = 0.0
    assert closure_events(gap, CONTACT_GAP) == [10, 21]
    gap[44] = 0.1
    assert closure_events(gap, CONTACT_GAP) == [10, 21, 42]
    gap[3:17] = np.nan
    gap[10] = 0.0
    assert closure_events(gap, CONTACT_GAP)[0] == 21


def test_frames_without_face_are_ignored() -> None:
    seen = lips()
    seen.opening[50:100] = np.nan
    seen.width[50:100] = np.nan
    found = agreement(seen, predict_motion(ScriptedDriver(), SPEECH, seen))
    assert (found.frames, found.offset) == (SECONDS * GRID_RATE - 50, 0)
    assert found.opening > 0.995


def test_motion_is_smoothed_like_tracked_lips() -> None:
    series = np.random.default_rng(0).uniform(size=40).astype(np.float32)
    zeros = np.zeros_like(series)
    motion = prepare_motion(MouthMotion(series, series - 0.5, zeros, zeros, zeros))
    assert isinstance(motion, Motion)
    np.testing.assert_allclose(motion.opening[2:-2], savgol_filter(series, 5, 2)[2:-2], atol=1e-6)
    np.testing.assert_allclose(motion.gap, series)


def test_interval_contains_the_correlation_and_shrinks_with_length() -> None:
    generator = np.random.default_rng(0)
    first = generator.standard_normal(4000)
    second = 0.6 * first + 0.8 * generator.standard_normal(4000)
    short = interval(correlation_draws(first[:250], second[:250], np.random.default_rng(1)))
    long = interval(correlation_draws(first, second, np.random.default_rng(1)))
    assert short[0] < 0.6 < short[1] and long[0] < 0.6 < long[1]
    assert long[1] - long[0] < 0.5 * (short[1] - short[0])
    second[::2] = np.nan
    halved = interval(correlation_draws(first, second, np.random.default_rng(1)))
    assert halved[0] < 0.6 < halved[1]


def test_mean_interval_resamples_clips() -> None:
    same = [np.full(500, 0.5), np.full(500, 0.5)]
    apart = [np.full(500, 0.2), np.full(500, 0.8)]
    assert mean_interval(same, np.random.default_rng(0)) == (0.5, 0.5)
    assert mean_interval(apart, np.random.default_rng(0)) == pytest.approx((0.2, 0.8))


def test_backgrounds_have_the_requested_level() -> None:
    voice = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    sounds = backgrounds([voice], seconds=2.0)
    assert list(sounds) == ["silence", "white", "hum", "music", "babble"]
    assert not sounds.pop("silence").any()
    for sound in sounds.values():
        assert sound.shape == (32000,) and sound.dtype == np.float32
        assert 10 * np.log10(np.mean(sound.astype(np.float64) ** 2)) == pytest.approx(-40.0, abs=0.01)
    assert "babble" not in backgrounds([], seconds=1.0)
    assert not at_level(np.zeros(10), -40.0).any()
