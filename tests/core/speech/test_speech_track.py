"""The speech of a run."""

from __future__ import annotations

import numpy as np
from retalkit.speech.readers import ArrayReader
from retalkit.speech.speech_track import SpeechTrack


def track(values: list[float] | None = None) -> SpeechTrack:
    waveform = np.arange(1, 16001, dtype=np.float32) / 16000
    return SpeechTrack(ArrayReader(waveform), ArrayReader(np.array(values or [], np.float32)))


def test_waveform_is_padded_with_silence():
    speech = track()
    assert speech.duration == 1.0
    around = speech.waveform(-0.5, 1.5)
    assert len(around) == 32000 and around.dtype == np.float32
    assert not around[:8000].any() and not around[24000:].any()
    assert around[8000] == np.float32(1 / 16000) and around[23999] == 1.0
    assert len(speech.waveform(0.1, 0.1 + 1 / 30)) == round(16000 / 30)


def test_activity_is_interpolated_and_zero_outside():
    speech = track([0.0, 1.0, 0.5])
    got = speech.activity(np.array([-3.0, 0.005, 0.01, 0.0125, 0.02, 0.025, 9.0]))
    np.testing.assert_allclose(got, [0, 0.5, 1, 0.875, 0.5, 0.25, 0], atol=1e-6)
    assert got.dtype == np.float32
    assert speech.activity(np.zeros(0)).shape == (0,)


def test_mel_windows_have_the_shape_of_the_contract():
    windows = track().mel_windows(np.array([0.0, 0.5, 2.0]))
    assert windows.shape == (3, 80, 16) and windows.dtype == np.float32
    assert track().mel_windows(np.zeros(0)).shape == (0, 80, 16)
