"""The mel spectrogram and its windows, compared with the published implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.speech.mel import MelReader, mel_basis, mel_spectrogram
from retalkit.speech.mel_windows import mel_windows, window_starts
from retalkit.speech.readers import ArrayReader


def published_signal(count: int, seed: int) -> np.ndarray:
    """The signal that the reference values were computed from."""
    times = np.arange(count) / 16000
    noise = np.random.default_rng(seed).standard_normal(count)
    sweep = np.sin(2 * np.pi * (500 * times + 1500 * times**2 / (count / 16000) / 2))
    return np.float32(0.3 * np.sin(2 * np.pi * 220 * times) + 0.2 * sweep + 0.05 * noise)


@pytest.fixture(scope="module")
def reference(shared_parity: Path) -> dict[str, np.ndarray]:
    with np.load(shared_parity / "pure_audio.npz") as arrays:
        return dict(arrays)


def test_spectrogram_matches_published_function(reference):
    waveform = reference["wav_1s"]
    np.testing.assert_allclose(mel_spectrogram(waveform), reference["mel_1s"], atol=1e-5)
    np.testing.assert_allclose(mel_basis(), reference["mel_basis"], atol=1e-9)
    silenced = waveform.copy()
    silenced[4000:9000] = 0
    np.testing.assert_allclose(mel_spectrogram(silenced), reference["mel_1s_silence_4000_9000"], atol=1e-5)
    longer = mel_spectrogram(published_signal(int(reference["wav_5s_len"]), 1))
    assert longer.shape == tuple(reference["mel_5s_shape"])
    np.testing.assert_allclose(longer[:, ::40], reference["mel_5s_every40"], atol=1e-5)
    assert longer.dtype == np.float32


@pytest.mark.parametrize("rate", ["25", "29.97", "30", "23.976", "50", "12.5"])
@pytest.mark.parametrize("seconds", [1, 5])
def test_window_starts_match_published_ones(reference, rate, seconds):
    starts = reference[f"chunks_{seconds}s_fps{rate}"]
    steps = 81 if seconds == 1 else int(reference["mel_5s_shape"][1])
    assert window_starts(np.arange(len(starts)) / float(rate), steps).tolist() == starts.tolist()


def test_any_range_is_bit_identical_to_the_full_spectrogram():
    waveform = published_signal(50123, 3)
    whole = mel_spectrogram(waveform)
    for start, stop in [(0, 1), (3, 40), (63, 65), (100, 230), (whole.shape[1] - 5, whole.shape[1])]:
        assert np.array_equal(MelReader(ArrayReader(waveform)).steps(start, stop), whole[:, start:stop])


def test_steps_outside_the_audio_are_silent():
    waveform = published_signal(8000, 4)
    steps = MelReader(ArrayReader(waveform)).steps(-30, 80)
    assert (steps[:, :27] == -4).all() and (steps[:, -35:] == -4).all() and (steps[:, 30:60] > -4).any()
    assert np.array_equal(mel_spectrogram(np.zeros(1000, np.float32)), np.full((80, 6), -4, np.float32))


def test_short_audio_is_padded_with_silence():
    waveform = published_signal(2000, 5)
    windows = mel_windows(MelReader(ArrayReader(waveform)), np.array([0.0, 0.04]))
    assert windows.shape == (2, 80, 16)
    assert np.array_equal(windows[0, :, :11], mel_spectrogram(waveform))
    assert (windows[:, :, 14:] == -4).all()


def test_windows_near_the_end_are_moved_back_and_after_it_are_silent():
    waveform = published_signal(16000, 6)
    mel = MelReader(ArrayReader(waveform))
    windows = mel_windows(mel, np.array([0.99, 1.2, -1.0]))
    assert np.array_equal(windows[0], mel.steps(65, 81))
    assert (windows[1] == -4).all() and (windows[2] == -4).all()


def test_windows_do_not_depend_on_the_batch():
    mel = MelReader(ArrayReader(published_signal(48000, 7)))
    times = np.arange(75) / 25
    together = mel_windows(mel, times)
    single = [
        mel_windows(MelReader(ArrayReader(published_signal(48000, 7))), times[i : i + 1])[0] for i in range(0, 75, 9)
    ]
    assert np.array_equal(together[::9], np.stack(single))
