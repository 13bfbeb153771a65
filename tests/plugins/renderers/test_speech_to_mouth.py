"""The plain driver: what vowels, consonants and real speech make of the mouth, and what leaves it at rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from retalkit.speech.activity import activity_count, analyse_speech
from retalkit.speech.reader import ArrayReader
from retalkit.speech.track import SpeechTrack
from retalkit.stages import MouthMotion
from retalkit_renderers.speech_to_mouth.interface import DriverConfig, open_driver

from tests.core.speech.sounds import at_level, load, vowel, without_speech

FIELDS = ("opening", "width", "protrusion", "closure", "speech")
VOWELS = {"a": (750.0, 1200.0, 2500.0), "i": (280.0, 2300.0, 3000.0), "u": (300.0, 750.0, 2300.0)}


def analysed(sound: np.ndarray) -> SpeechTrack:
    values = np.concatenate(list(analyse_speech(ArrayReader(sound))))
    return SpeechTrack(ArrayReader(sound), ArrayReader(values))


def taken_for_speech(sound: np.ndarray) -> SpeechTrack:
    """A track whose activity is 1 all along, to look at the rule alone."""
    return SpeechTrack(ArrayReader(sound), ArrayReader(np.ones(activity_count(len(sound)), np.float32)))


def motion(speech: SpeechTrack, times: np.ndarray | None = None) -> MouthMotion:
    asked = np.arange(0.0, speech.duration, 0.04) if times is None else times
    return open_driver(DriverConfig()).motion(speech, asked)


@pytest.fixture(scope="module")
def voices(shared_media: Path) -> list[np.ndarray]:
    names = ("speech_16k_mono.wav", "speech_44k_stereo.wav", "talk_man_700p22.mp4", "talk_woman_590p25.mp4")
    return [load(shared_media / name) for name in names]


def test_unknown_drivers_are_refused():
    with pytest.raises(ValidationError):
        DriverConfig(use="telepathy")  # type: ignore[arg-type]


def test_vowels_have_their_shapes():
    parts = [at_level(vowel(VOWELS[name], 0.5), -20.0) for name in ("a", "i", "u")]
    shapes = motion(taken_for_speech(np.concatenate(parts)), np.array([0.25, 0.75, 1.25]))
    opening_a, opening_i, opening_u = shapes.opening
    assert opening_a > 1.3 * max(opening_i, opening_u)
    assert opening_a > 0.8
    assert shapes.width[1] > 0.4 and shapes.width[2] < -0.4
    assert shapes.protrusion[2] > 0.4 and shapes.protrusion[1] == 0.0


def test_a_short_gap_between_back_vowels_is_a_likely_closure_and_a_hiss_is_not():
    back = at_level(vowel((600.0, 900.0, 2400.0), 0.3), -20.0)
    gap = np.zeros(1120, np.float32)
    hiss = at_level(np.diff(np.random.default_rng(0).standard_normal(1121)), -24.0)
    closed = motion(taken_for_speech(np.concatenate([back, gap, back])), np.array([0.335]))
    hissed = motion(taken_for_speech(np.concatenate([back, hiss, back])), np.array([0.335]))
    assert closed.closure[0] > 0.2 > 0.02 > hissed.closure[0]
    assert closed.opening[0] < 0.6


def test_nothing_but_speech_opens_the_mouth(voices):
    share = {
        name: float((motion(analysed(sound)).opening <= 0.05).mean())
        for name, sound in without_speech(6.0, voices).items()
    }
    assert {name: value for name, value in share.items() if value < 0.98} == {}


def test_speech_moves_the_mouth_like_a_mouth(voices):
    for voice in voices:
        speech = analysed(voice)
        shapes = motion(speech, np.arange(0.0, speech.duration, 0.01))
        speaking = shapes.speech > 0.5
        assert 0.25 < shapes.opening[speaking].mean() < 0.6
        assert 0.65 < np.percentile(shapes.opening[speaking], 95) < 1.35
        spectrum = np.abs(np.fft.rfft(shapes.opening - shapes.opening.mean())) ** 2
        fast = np.fft.rfftfreq(len(shapes.opening), 0.01) > 8.0
        assert spectrum[fast].sum() < 0.02 * spectrum.sum()


def test_ranges_and_types_hold(voices):
    shapes = motion(analysed(voices[0]), np.array([-5.0, -0.01, 0.0, 0.5, 3.0, 9.5999, 9.7, 1e5]))
    lowest = {"opening": 0.0, "width": -1.0, "protrusion": 0.0, "closure": 0.0, "speech": 0.0}
    for name in FIELDS:
        values = getattr(shapes, name)
        assert values.dtype == np.float32 and values.shape == (8,)
        assert values.min() >= lowest[name] and values.max() <= (1.5 if name == "opening" else 1.0)
        assert values[0] == values[-1] == 0.0
    assert motion(analysed(voices[0]), np.zeros(0)).opening.shape == (0,)


def test_a_time_has_one_value_however_it_is_asked(voices):
    speech = analysed(voices[0])
    times = np.arange(0.0, speech.duration, 0.0333667)
    whole = motion(speech, times)
    driver = open_driver(DriverConfig())
    for rows in (slice(0, 1), slice(5, 12), slice(40, 43), slice(200, None), slice(None, None, -1)):
        part = driver.motion(speech, times[rows])
        for name in FIELDS:
            assert np.array_equal(getattr(part, name), getattr(whole, name)[rows])


def test_the_driver_looks_ahead_no_further_than_a_fifth_of_a_second(voices):
    sound = voices[0][:64000].copy()
    before = motion(taken_for_speech(sound))
    sound[40000:] = 0.0
    after = motion(taken_for_speech(sound))
    times = np.arange(0.0, 4.0, 0.04)
    for name in FIELDS:
        changed = times[getattr(before, name) != getattr(after, name)]
        assert changed.size == 0 or changed.min() >= 2.5 - 0.2


def test_two_speeches_are_not_mixed_up(voices):
    driver = open_driver(DriverConfig())
    first, second = analysed(voices[0]), analysed(voices[1])
    times = np.array([1.5, 2.0, 2.5])
    alone = open_driver(DriverConfig()).motion(second, times)
    driver.motion(first, times)
    assert np.array_equal(driver.motion(second, times).opening, alone.opening)


def test_the_opening_follows_a_real_mouth(shared_media):
    """A man who says his own words; his lips lag his voice by two frames (the clips' description)."""
    import av
    import mediapipe

    openings, times = [], []
    mesh = mediapipe.solutions.face_mesh.FaceMesh(refine_landmarks=True, max_num_faces=1)
    path = shared_media / "talk_man_700p22.mp4"
    with mesh, av.open(str(path)) as container:
        for frame in container.decode(video=0):
            points = mesh.process(frame.to_ndarray(format="rgb24")).multi_face_landmarks[0].landmark
            eyes = np.hypot(points[33].x - points[263].x, points[33].y - points[263].y)
            openings.append(np.hypot(points[13].x - points[14].x, points[13].y - points[14].y) / eyes)
            times.append(frame.time)
    speech = analysed(load(path))
    shapes = motion(speech, np.array(times) - 2 * 0.0452)
    assert np.corrcoef(shapes.opening, openings)[0, 1] > 0.45
