"""Voice activity on real speech, in noise and music, and on sounds without speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.speech.activity import AgreedActivity, VoiceActivity, activity_count
from retalkit.speech.activity_options import VoiceActivityOptions
from retalkit.speech.loudness import integrated_loudness, reference_gain
from retalkit.speech.voice_probability import VoiceProbability

from tests.core.speech.sounds import at_level, level, load, music, pink, white, without_speech


def normalised(sound: np.ndarray) -> np.ndarray:
    """Return the audio normalised to the reference loudness."""
    return sound * np.float32(reference_gain(integrated_loudness(np.nan_to_num(sound, posinf=0.0))))


def activity_of(sound: np.ndarray, config: VoiceActivityOptions | None = None, feed: int = 160000) -> np.ndarray:
    """Return the voice activity of audio after loudness normalisation, as in a run."""
    return detect(normalised(sound), config, feed)


def detect(sound: np.ndarray, config: VoiceActivityOptions | None = None, feed: int = 160000) -> np.ndarray:
    """Return the voice activity of audio that has the reference loudness."""
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


def test_sounds_without_speech_have_no_activity():
    sounds = without_speech(6.0)
    active = {name: float((activity_of(sound) > 0.05).mean()) for name, sound in sounds.items()}
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


@pytest.mark.parametrize("decibels", [-30.0, 10.0])
def test_level_of_the_recording_does_not_matter(voices, decibels):
    louder = voices[1] * np.float32(10 ** (decibels / 20))
    assert activity_of(louder) == pytest.approx(activity_of(voices[1]), abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("decibels", [-60.0, -40.0, -20.0])
def test_sounds_without_speech_have_no_activity_at_any_level(decibels):
    sounds = without_speech(6.0)
    active = {name: float((activity_of(at_level(s, decibels)) > 0.05).mean()) for name, s in sounds.items() if s.any()}
    assert {name: share for name, share in active.items() if share > 0.02} == {}


def test_voice_far_below_the_foreground_has_no_activity(voices):
    near, far = voices[0], at_level(voices[1][:48000], level(voices[0]) - 35.0)
    assert activity_of(np.concatenate([near, far]))[len(near) // 160 + 60 :].max() < 0.05


def test_level_gate_is_relative_to_the_loudness(voices):
    near, softer = voices[0], at_level(voices[1][:48000], level(voices[0]) - 20.0)
    sound = np.concatenate([near, softer])
    assert (activity_of(sound)[len(near) // 160 + 60 :] > 0.5).mean() > 0.8
    strict = VoiceActivityOptions(quietest_speech=-12.0)
    assert activity_of(sound, strict)[len(near) // 160 + 60 :].max() < 0.05
    assert activity_of(sound * np.float32(0.1), strict)[: len(near) // 160 - 30].mean() > 0.8


def test_speech_below_the_gate_is_counted(voices):
    sound = normalised(np.concatenate([voices[0], at_level(voices[1], level(voices[0]) - 16.0)]))
    quiet, default = VoiceActivity(VoiceActivityOptions(quietest_speech=-12.0)), VoiceActivity()
    for activity in (quiet, default):
        activity.push(sound)
        activity.finish()
    assert quiet.quiet_seconds > 0.7 * len(voices[1]) / 16000
    assert default.quiet_seconds < 0.5


def test_short_gaps_between_words_stay_active(voices):
    voice = voices[1][:48000]
    short, long = np.zeros(3200, np.float32), np.zeros(24000, np.float32)
    values = activity_of(np.concatenate([voice, short, voice, long, voice]))
    assert values[280:340].min() > 0.5
    assert values[(len(voice) * 2 + len(short)) // 160 + 50 :][:60].max() == 0.0


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
    spoken, other = normalised(spoken), normalised(other)
    both = AgreedActivity()
    # The denoised audio arrives later and in other chunks.
    pieces = [both.push(spoken[:70000], other[:0]), both.push(spoken[70000:], other[:33333])]
    pieces += [both.push(spoken[:0], other[33333:]), both.finish()]
    agreed = np.concatenate(pieces)
    assert np.array_equal(agreed, np.minimum(detect(spoken), detect(other)))
    assert agreed[:270].max() == 0.0 and (agreed[330:] > 0.5).mean() > 0.8


def test_agreed_activity_of_unchanged_audio_needs_one_network(voices, monkeypatch):
    loaded: list[VoiceProbability] = []
    create = VoiceProbability.__init__
    monkeypatch.setattr(VoiceProbability, "__init__", lambda self: loaded.append(self) or create(self))
    spoken = normalised(voices[0][:96000])
    changed = spoken.copy()
    changed[64000:65000] *= 0.5
    for cleaned, count in ((spoken, 1), (changed, 2)):
        loaded.clear()
        both = AgreedActivity()
        agreed = np.concatenate([both.push(spoken, cleaned), both.finish()])
        assert len(loaded) == count
        assert np.array_equal(agreed, np.minimum(detect(spoken), detect(cleaned)))
