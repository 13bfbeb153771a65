"""Speech signals for driver tests."""

from __future__ import annotations

import numpy as np
from retalkit.speech.activity import VoiceActivity, activity_count
from retalkit.speech.loudness import integrated_loudness, reference_gain
from retalkit.speech.readers import ArrayReader
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import MouthMotion, SpeechToMouth
from retalkit_renderers.speech_to_mouth.interface import DRIVERS

FIELDS = ("opening", "width", "protrusion", "closure", "speech")
NAMES = ("speech_16k_mono.wav", "speech_44k_stereo.wav", "talk_man_700p22.mp4", "talk_woman_590p25.mp4")


def with_activity(sound: np.ndarray) -> SpeechTrack:
    """Return a speech signal with the voice activity that is detected in the audio."""
    loudness = integrated_loudness(sound)
    activity = VoiceActivity()
    values = np.concatenate([activity.push(sound * np.float32(reference_gain(loudness))), activity.finish()])
    return SpeechTrack(ArrayReader(sound), ArrayReader(values), loudness)


def always_active(sound: np.ndarray, loudness: float | None = None) -> SpeechTrack:
    """Return a speech signal with a constant voice activity of 1. By default, the loudness is measured."""
    activity = ArrayReader(np.ones(activity_count(len(sound)), np.float32))
    return SpeechTrack(ArrayReader(sound), activity, integrated_loudness(sound) if loudness is None else loudness)


def make_driver(use: str) -> SpeechToMouth:
    """Return the driver ``name`` with default options."""
    return next(spec for spec in DRIVERS if spec.name == use).make()


def motion(use: str, speech: SpeechTrack, times: np.ndarray | None = None) -> MouthMotion:
    requested = np.arange(0.0, speech.duration, 0.04) if times is None else times
    return make_driver(use).motion(speech, requested)
