"""The driver ``bands`` on vowels, consonants and real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.speech.loudness import REFERENCE
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import MouthMotion

from tests.core.speech.sounds import at_level, load, vowel
from tests.plugins.renderers.speeches import FIELDS, NAMES, always_active, with_activity
from tests.plugins.renderers.speeches import motion as motion_of

VOWELS = {"a": (750.0, 1200.0, 2500.0), "i": (280.0, 2300.0, 3000.0), "u": (300.0, 750.0, 2300.0)}


def motion(speech: SpeechTrack, times: np.ndarray | None = None) -> MouthMotion:
    return motion_of("bands", speech, times)


@pytest.fixture(scope="module")
def voices(shared_media: Path) -> list[np.ndarray]:
    return [load(shared_media / name) for name in NAMES]


def test_vowels_differ_in_opening_and_width():
    parts = [at_level(vowel(VOWELS[name], 0.5), -20.0) for name in ("a", "i", "u")]
    shapes = motion(always_active(np.concatenate(parts)), np.array([0.25, 0.75, 1.25]))
    opening_a, opening_i, opening_u = shapes.opening
    assert opening_a > 1.3 * max(opening_i, opening_u)
    assert opening_a > 0.8
    assert shapes.width[1] > 0.4 and shapes.width[2] < -0.4
    assert shapes.protrusion[2] > 0.4 and shapes.protrusion[1] == 0.0


def test_gap_between_back_vowels_is_a_closure_and_hiss_is_not():
    back = at_level(vowel((600.0, 900.0, 2400.0), 0.3), -20.0)
    gap = np.zeros(1120, np.float32)
    hiss = at_level(np.diff(np.random.default_rng(0).standard_normal(1121)), -24.0)
    closed = motion(always_active(np.concatenate([back, gap, back])), np.array([0.335]))
    hissed = motion(always_active(np.concatenate([back, hiss, back])), np.array([0.335]))
    assert closed.closure[0] > 0.2 > 0.02 > hissed.closure[0]
    assert closed.opening[0] < 0.6


def test_look_ahead_is_at_most_a_fifth_of_a_second(voices):
    sound = voices[0][:64000].copy()
    before = motion(always_active(sound, REFERENCE))
    sound[40000:] = 0.0
    after = motion(always_active(sound, REFERENCE))
    times = np.arange(0.0, 4.0, 0.04)
    for name in FIELDS:
        changed = times[getattr(before, name) != getattr(after, name)]
        assert changed.size == 0 or changed.min() >= 2.5 - 0.2


def test_opening_correlates_with_a_real_mouth(shared_media):
    """A talking man whose lips lag the sound by two frames, as the description of the clips states."""
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
    speech = with_activity(load(path))
    shapes = motion(speech, np.array(times) - 2 * 0.0452)
    assert np.corrcoef(shapes.opening, openings)[0, 1] > 0.45
