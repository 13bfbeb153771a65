"""Tests for the speech encoder and its outputs at arbitrary times."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from retalkit.errors import InputError
from retalkit_renderers.speech_to_mouth import encoder_features
from retalkit_renderers.speech_to_mouth.encoder_features import MIN_WINDOW, STEP, WINDOW, EncoderFeatures, window_starts
from retalkit_renderers.speech_to_mouth.interface import ENCODER
from retalkit_renderers.speech_to_mouth.moonshine import BEFORE, HOP, Encoder, gelu, load_encoder
from scipy.special import ndtr

from tests.plugins.renderers.encoder_signal import vowel_like_sound

PUBLISHED = np.array(
    [
        [
            1.96,
            -1.84,
            4.20,
            2.35,
            6.30,
            -1.83,
            3.89,
            0.26,
            4.79,
            -7.36,
            -2.22,
            1.72,
            0.07,
            -4.18,
            -1.26,
            3.39,
            4.15,
            9.52,
            12.94,
            -1.90,
            1.21,
            10.28,
            3.56,
            0.19,
        ],
        [
            11.41,
            -0.63,
            2.39,
            -1.97,
            -1.67,
            9.13,
            -5.38,
            8.09,
            4.51,
            6.81,
            -0.94,
            -2.11,
            3.09,
            0.70,
            -2.93,
            0.34,
            4.01,
            -9.90,
            -0.64,
            -2.71,
            -0.44,
            -0.41,
            -3.34,
            1.78,
        ],
        [
            6.18,
            8.54,
            4.20,
            -0.59,
            11.80,
            3.24,
            5.47,
            0.17,
            -1.22,
            -0.75,
            -5.18,
            2.77,
            -3.00,
            7.85,
            -3.12,
            4.40,
            -1.70,
            0.24,
            6.08,
            4.27,
            0.33,
            -0.11,
            -0.24,
            1.51,
        ],
        [
            0.34,
            0.46,
            5.17,
            2.29,
            7.62,
            -3.45,
            -2.31,
            -0.07,
            -0.59,
            -6.54,
            -0.22,
            1.47,
            7.66,
            4.88,
            -5.42,
            0.56,
            6.43,
            8.10,
            -0.78,
            -0.84,
            3.81,
            3.95,
            1.68,
            2.46,
        ],
        [
            11.47,
            8.73,
            4.15,
            -1.62,
            2.08,
            8.69,
            -3.19,
            -3.12,
            -2.90,
            2.04,
            0.98,
            5.62,
            -1.74,
            0.02,
            -10.20,
            1.46,
            6.29,
            -4.02,
            2.16,
            -0.03,
            -6.04,
            -5.27,
            4.67,
            7.82,
        ],
    ]
)
"""Every eighth frame and every twelfth channel of the third layer of the published encoder for ``vowel_like_sound``,
computed with onnxruntime 1.32. The published encoder quantises the inputs of its matrix multiplications to 8 bits."""


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(ENCODER)


def read_from(waveform: np.ndarray):
    def read(start: int, stop: int) -> np.ndarray:
        inside = waveform[max(start, 0) : max(stop, 0)]
        return np.pad(inside, (max(-start, 0), stop - start - max(-start, 0) - len(inside)))

    return read


def test_encoder_matches_the_published_one(encoder: Encoder) -> None:
    ours = encoder(vowel_like_sound())[::8, ::12]
    error = np.linalg.norm(ours - PUBLISHED) / np.linalg.norm(PUBLISHED - PUBLISHED.mean())
    assert error < 0.1
    assert np.corrcoef(ours.ravel(), PUBLISHED.ravel())[0, 1] > 0.995


def test_encoder_matches_its_version_for_training(encoder: Encoder) -> None:
    torch = pytest.importorskip("torch")
    from retalkit_training.speech_to_mouth.moonshine_encoder import load_moonshine

    sound = vowel_like_sound(1.5)
    with torch.inference_mode():
        expected = load_moonshine(ENCODER)(torch.from_numpy(sound)[None])[0].numpy()
    np.testing.assert_allclose(encoder(sound), expected, atol=2e-2)


def test_gelu_is_accurate() -> None:
    values = np.linspace(-12, 12, 4001, dtype=np.float32)[:, None]
    exact = values.astype(np.float64) * ndtr(values.astype(np.float64))
    np.testing.assert_allclose(gelu(values.copy()), exact, atol=4e-5)


def test_frames_are_centred_at_their_times(encoder: Encoder) -> None:
    sound = np.zeros(16000, np.float32)
    sound[BEFORE + 20 * HOP] = 0.5
    response = np.abs(encoder(sound) - encoder(np.zeros(16000, np.float32))).sum(axis=1)
    assert abs(response.argmax() - 20) <= 1


@pytest.mark.parametrize("seconds", [0.0, 3.0, 12.0, 12.05, 22.0, 23.9, 100.0])
def test_windows_cover_the_audio_and_overlap(seconds: float) -> None:
    samples = round(seconds * 16000)
    starts = np.array(window_starts(samples))
    assert starts[0] == 0 and starts[-1] + WINDOW >= samples
    assert samples <= WINDOW or samples - starts[-1] >= MIN_WINDOW
    assert (np.diff(starts) > 0).all() and (np.diff(starts) <= STEP).all()


class CountingEncoder:
    """Returns the number of the window for every frame."""

    channels = 1

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.full((1 + (len(waveform) - 895) // HOP, 1), waveform[BEFORE], np.float32)


def test_windows_are_crossfaded_and_computed_once() -> None:
    samples = 40 * 16000
    starts = window_starts(samples)
    marks = np.zeros(samples, np.float32)
    marks[starts] = np.arange(len(starts))
    counting = CountingEncoder()
    features = EncoderFeatures(counting, samples, read_from(marks))  # type: ignore[arg-type]
    values = features.at(np.arange(160, samples, 320.0))[:, 0]
    assert counting.calls == len(starts) == 4
    assert values[0] == 0 and values[-1] == len(starts) - 1
    steps = np.diff(values)
    assert steps.min() >= 0 and steps.max() < 0.05


def test_values_have_the_same_bits_in_every_request(encoder: Encoder) -> None:
    sound = np.resize(vowel_like_sound(4.0), 14 * 16000)
    positions = np.arange(160, len(sound), 320.0)
    whole = EncoderFeatures(encoder, len(sound), read_from(sound)).at(positions)
    features = EncoderFeatures(encoder, len(sound), read_from(sound))
    for start, stop in ((690, 700), (340, 360), (3, 4)):
        assert np.array_equal(features.at(positions[start:stop]), whole[start:stop])


def test_number_of_windows_in_memory_is_bounded() -> None:
    samples = 600 * 16000
    features = EncoderFeatures(CountingEncoder(), samples, read_from(np.zeros(samples, np.float32)))  # type: ignore[arg-type]
    features.at(np.arange(0, samples, 3200.0))
    assert len(features._windows) <= encoder_features._MAX_WINDOWS


def test_conversion_rejects_other_files(tmp_path) -> None:
    convert = importlib.import_module("retalkit_training.speech_to_mouth.convert_moonshine").convert
    other = tmp_path / "encoder_model.ort"
    other.write_bytes(b"another encoder")
    with pytest.raises(InputError) as error:
        convert(other, tmp_path / "out.safetensors")
    assert error.value.code == "hash-mismatch" and not (tmp_path / "out.safetensors").exists()
