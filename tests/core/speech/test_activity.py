"""Voice activity on real speech, in noise and music, and on sounds without speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.speech.activity import AgreedActivity, VoiceActivity, activity_count
from retalkit.speech.activity_options import VoiceActivityOptions

from tests.core.speech.sounds import at_level, level, load, music, pink, white, without_speech


def activity_of(sound: np.ndarray, config: VoiceActivityOptions | None = None, feed: int = 160000) -> np.ndarray:
    activity = VoiceActivity(config)
    pieces = [activity.push(sound[start : start + feed]) for start in range(0, len(sound), feed)]
    return np.concatenate([*pieces, activity.finish()])


@pytest.fixture(scope="module")
def voices(shared_media: Path) -> list[np.ndarray]:
    names = (
        "speech_16k_mono.wav",
        "speech_44k_stereo.wav",
        "talk_woman_590p25.mp4",
        "sitting_woman_1080x1920p25_hevc.mp4",
    )
    return [load(shared_media / name) for name in names]


def test_speech_is_detected(voices):
    for voice in voices:
        assert (activity_of(voice) > 0.5).mean() > 0.85


@pytest.mark.parametrize(("noise", "decibels"), [(white, 20), (white, 5), (pink, 10), (pink, 0)])
def test_speech_is_detected_in_noise(voices, noise, decibels):
    voice = voices[0]
    speaking = activity_of(voice) > 0.9
    noisy = voice + at_level(noise(len(voice) / 16000), level(voice) - decibels)
    assert activity_of(noisy)[speaking].mean() > 0.9


def test_speech_is_detected_over_music(voices):
    voice = voices[0]
    speaking = activity_of(voice) > 0.9
    mixed = voice + at_level(music(len(voice) / 16000, "piano", True, True), level(voice) - 10)
    assert activity_of(mixed)[speaking].mean() > 0.9


def test_sounds_without_speech_have_no_activity(voices):
    active = {name: float((activity_of(sound) > 0.05).mean()) for name, sound in without_speech(6.0, voices).items()}
    assert {name: share for name, share in active.items() if share > 0.02} == {}


def test_pause_has_no_activity(voices):
    pause = np.zeros(24000, np.float32)
    values = activity_of(np.concatenate([voices[1][:48000], pause, voices[1][:48000]]))
    assert values[340:420].max() == 0.0


def test_activity_leads_and_trails_the_speech(voices):
    voice = voices[0]
    loud = np.flatnonzero(np.abs(voice) > 0.02)
    voice = voice[loud[0] : loud[-1]]
    values = activity_of(np.concatenate([np.zeros(16000, np.float32), voice, np.zeros(16000, np.float32)]))
    end = 100 + len(voice) // 160
    rises, falls = np.flatnonzero(values > 0.5)[[0, -1]]
    assert 80 <= rises <= 100
    assert end + 5 <= falls <= end + 30
    assert values[:75].max() == 0.0 and values[end + 40 :].max() == 0.0


def test_level_gate_is_absolute(voices):
    far = at_level(voices[0], -45.0)
    assert activity_of(far).max() < 0.05
    assert (activity_of(far, VoiceActivityOptions(quietest_speech=-60.0)) > 0.5).mean() > 0.8


def test_quiet_speech_is_counted(voices):
    far = VoiceActivity()
    far.push(at_level(voices[0], -45.0))
    far.finish()
    near = VoiceActivity()
    near.push(voices[0])
    near.finish()
    assert far.quiet_seconds > 7.0
    assert near.quiet_seconds < 0.5


def test_result_does_not_depend_on_chunking(voices):
    voice = np.concatenate([voices[0], voices[1]])
    whole = activity_of(voice, feed=len(voice))
    for feed in (333, 5120, 70001):
        assert np.array_equal(activity_of(voice, feed=feed), whole)


@pytest.mark.parametrize("count", [0, 1, 159, 160, 511, 25600, 25601, 100000])
def test_number_of_values_for_any_length(count):
    values = activity_of(np.zeros(count, np.float32))
    assert len(values) == activity_count(count) == 1 + count // 160
    assert values.dtype == np.float32 and not values.any()


def test_non_finite_samples_have_a_local_effect(voices):
    broken = voices[0].copy()
    broken[1000:1010] = np.nan
    broken[1010] = np.inf
    values = activity_of(broken)
    assert np.isfinite(values).all()
    assert (values[200:] > 0.5).mean() > 0.8


def test_agreed_activity_is_the_minimum_of_both(voices):
    spoken = voices[0][:96000]
    other = np.concatenate([np.zeros(48000, np.float32), spoken[48000:]])
    both = AgreedActivity()
    # The denoised audio arrives later and in other chunks.
    pieces = [both.push(spoken[:70000], other[:0]), both.push(spoken[70000:], other[:33333])]
    pieces += [both.push(spoken[:0], other[33333:]), both.finish()]
    agreed = np.concatenate(pieces)
    assert np.array_equal(agreed, np.minimum(activity_of(spoken), activity_of(other)))
    assert agreed[:270].max() == 0.0 and (agreed[330:] > 0.5).mean() > 0.8
