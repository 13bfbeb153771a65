"""Augmentation: consistent images and sound of a window, equal random numbers, and librosa's mel spectrogram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("kornia", reason="training needs the extra: pip install 'retalkit[train]'")
librosa = pytest.importorskip("librosa", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.media.sound import pcm
from retalkit.speech.mel import mel_spectrogram
from retalkit_training.augmentation import SoundChange, augment_frames, augmented_mel, draw_sound_change
from retalkit_training.augmentation_config import AugmentationConfig
from retalkit_training.loop.data import ArrayClip

ALL = AugmentationConfig(flip=0.5, colour=0.2, jpeg=0.5, blur=0.5, shift=0.05, rotation=5, scale=0.05)
ONE = (
    {"flip": 1.0},
    {"colour": 0.3},
    {"jpeg": 1.0},
    {"blur": 1.0},
    {"shift": 0.1},
    {"rotation": 20.0},
    {"scale": 0.2},
)


def image() -> NDArray[np.float32]:
    """Return a smooth face-sized image with a bright left side, [3, 96, 96]."""
    rows, columns = np.mgrid[:96, :96] / 96
    return np.stack([1 - columns, rows * 0.8, 0.2 + 0.5 * np.sin(9 * columns) ** 2]).astype(np.float32)


def windows(count: int) -> NDArray[np.float32]:
    return np.repeat(image()[:, None], count, axis=1)


def test_all_frames_of_a_sample_are_changed_equally() -> None:
    for seed in range(4):
        target, reference = augment_frames(ALL, np.random.default_rng(seed), [windows(5), windows(3)])
        assert target.shape == (3, 5, 96, 96)
        assert reference.shape == (3, 3, 96, 96)
        assert target.dtype == np.float32
        assert target.min() >= 0 and target.max() <= 1
        for frame in (*target.transpose(1, 0, 2, 3)[1:], *reference.transpose(1, 0, 2, 3)):
            np.testing.assert_allclose(frame, target[:, 0], atol=1e-6)
        again = augment_frames(ALL, np.random.default_rng(seed), [windows(5), windows(3)])
        np.testing.assert_array_equal(again[0], target)
    other = augment_frames(ALL, np.random.default_rng(9), [windows(5)])[0]
    assert np.abs(other - target).mean() > 0.01


@pytest.mark.parametrize("options", ONE, ids=lambda options: next(iter(options)))
def test_each_option_changes_images(options: dict[str, float]) -> None:
    noisy = np.clip(windows(2) + np.random.default_rng(1).normal(0, 0.1, (3, 1, 96, 96)), 0, 1).astype(np.float32)
    (found,) = augment_frames(AugmentationConfig(**options), np.random.default_rng(0), [noisy])
    assert 0.002 < np.abs(found - noisy).mean() < 0.5
    if "flip" in options:
        np.testing.assert_array_equal(found, noisy[..., ::-1])
    if "shift" in options:
        # The border is repeated instead of black.
        assert found[0, 0, :, 0].min() > 0.3
    assert augment_frames(AugmentationConfig(), np.random.default_rng(0), [noisy])[0] is noisy


def clip_of(wave: NDArray[np.float32]) -> ArrayClip:
    return ArrayClip("c", "c", {96: np.zeros((50, 96, 96, 3), np.uint8)}, mel_spectrogram(wave), samples=wave)


STEPS = (40, 69, 48)


def test_stretched_sound_keeps_the_middle_of_the_window() -> None:
    def burst(step: int, rate: float) -> float:
        """Return the mean step of a burst of noise at ``step`` in the stretched sound."""
        wave = np.zeros(32_000, np.float32)
        noise = np.random.default_rng(0).standard_normal(800)
        wave[step * 200 - 400 : step * 200 + 400] = 0.3 * np.hanning(800) * noise
        mel = augmented_mel(clip_of(wave), SoundChange(rate, 0.0, 1.0, (0, 0)), STEPS)(40, 29)
        power = (10 ** (mel / 2) * (mel > -3.9)).mean(0)
        return float((power * np.arange(40, 69)).sum() / power.sum())

    # The phase vocoder moves onsets by up to 8 ms.
    for rate in (0.9, 1.0, 1.1):
        assert burst(48, rate) == pytest.approx(48, abs=0.65)
        assert burst(56, rate) == pytest.approx(48 + 8 / rate, abs=0.65)
    assert burst(56, 0.9) > burst(56, 1.0) + 0.5


def test_pitch_level_and_masked_bands() -> None:
    times = np.arange(32_000) / 16_000
    clip = clip_of((0.1 * np.sin(2 * np.pi * 1000 * times)).astype(np.float32))
    plain = clip.mel(44, 16)
    np.testing.assert_array_equal(augmented_mel(clip, None, STEPS)(44, 16), plain)
    higher = augmented_mel(clip, SoundChange(1.0, 4.0, 1.0, (0, 0)), STEPS)(44, 16)
    assert int(higher.mean(1).argmax()) > int(plain.mean(1).argmax()) + 3
    louder = augmented_mel(clip, SoundChange(1.0, 0.0, 2.0, (0, 0)), STEPS)(44, 16)
    # 100 dB are 8 units.
    assert (louder - plain).max() == pytest.approx(8 * 20 * np.log10(2) / 100, abs=0.02)
    masked = augmented_mel(clip, SoundChange(1.0, 0.0, 1.0, (10, 18)), STEPS)(44, 16)
    assert (masked[10:18] == -4).all()
    np.testing.assert_array_equal(np.delete(masked, range(10, 18), 0), np.delete(plain, range(10, 18), 0))
    with pytest.raises(ValueError, match="outside"):
        augmented_mel(clip, SoundChange(1.0, 0.0, 1.0, (0, 0)), STEPS)(60, 16)
    config = AugmentationConfig(time_stretch=0.1, pitch_shift=2, level=6, mel_mask=1)
    one, other = (draw_sound_change(config, np.random.default_rng(4)) for _ in range(2))
    assert one == other != draw_sound_change(config, np.random.default_rng(5))
    assert draw_sound_change(AugmentationConfig(flip=1), np.random.default_rng(4)) is None


@pytest.mark.parametrize(
    ("kind", "subtype", "channels"),
    [("WAV", "PCM_U8", 1), ("WAV", "PCM_24", 6), ("WAV", "DOUBLE", 2), ("WAV", "ULAW", 1), ("FLAC", "PCM_16", 1)],
)
def test_sound_files_are_read_as_with_librosa(tmp_path: Path, kind: str, subtype: str, channels: int) -> None:
    soundfile = pytest.importorskip("soundfile")
    wave = 0.1 * np.random.default_rng(0).standard_normal((8_000, channels))
    path = tmp_path / f"sound.{kind.lower()}"
    soundfile.write(path, wave, 16_000, subtype=subtype, format=kind)
    expected, _ = librosa.load(path, sr=16_000, mono=True)
    np.testing.assert_allclose(pcm(path), expected, atol=2e-6)


def test_mel_spectrogram_equals_librosa() -> None:
    """Wav2Lip computes its mel spectrogram with librosa (``audio.py``)."""
    wave = (0.2 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    emphasised = np.append(wave[0], wave[1:] - np.float32(0.97) * wave[:-1])
    spectrum = np.abs(librosa.stft(emphasised, n_fft=800, hop_length=200, win_length=800, pad_mode="reflect"))
    basis = librosa.filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    decibels = 20 * np.log10(np.maximum(1e-5, basis @ spectrum)) - 20
    expected = np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)
    found = mel_spectrogram(wave)
    assert found.shape == expected.shape
    # librosa repeats the sound at both ends, where the project pads with silence.
    np.testing.assert_allclose(found[:, 3:-3], expected[:, 3:-3], atol=2e-3)
