"""The bundled denoisers: length, delay, chunking, silence, and speech in noise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from retalkit.observer import SilentObserver
from retalkit.plugins import StageSpec
from retalkit.stages import DenoiseClip, Runtime, StageContext, StageKind
from retalkit_denoisers import rnnoise_parts
from retalkit_denoisers.adaptive import estimate_snr
from retalkit_denoisers.plugin import AdaptiveConfig, retalkit_stages
from retalkit_denoisers.rnnoise_parts import RnnoiseParts
from scipy.signal import correlate

from tests.core.speech.sounds import at_level, level, load, pink, white

SPECS: dict[str, StageSpec] = {spec.name: spec for spec in retalkit_stages()}
DENOISING = ["spectral_gate", "rnnoise", "adaptive"]


def denoised(name: str, sound: np.ndarray, chunk: int = 16000) -> np.ndarray:
    spec = SPECS[name]
    context = StageContext(cache=None, observer=SilentObserver())  # type: ignore[arg-type]
    clip = DenoiseClip(duration=len(sound) / 16000)
    session = spec.make(spec.config(), Runtime()).open(clip, context)
    pieces = [session.denoise(sound[start : start + chunk]) for start in range(0, len(sound), chunk)]
    pieces.append(session.finish())
    session.close()
    return np.concatenate(pieces)


def signal_to_noise(clean: np.ndarray, other: np.ndarray) -> float:
    return level(clean) - level(other - clean)


@pytest.fixture(scope="module")
def voice(shared_media: Path) -> np.ndarray:
    return load(shared_media / "speech_16k_mono.wav")


def test_specs_are_complete_and_import_nothing_heavy():
    assert set(SPECS) == {"none", "spectral_gate", "rnnoise", "adaptive"}
    for spec in SPECS.values():
        assert spec.kind is StageKind.DENOISER
        assert spec.needs == spec.gives == {"speech:waveform"}
        assert spec.summary and spec.licence
    program = (
        "import sys, retalkit_denoisers.plugin as p; list(p.retalkit_stages());"
        "sys.exit(bool({'scipy', 'noisereduce', 'pyrnnoise', 'cv2', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", list(SPECS))
def test_length_and_timing_are_preserved(name, voice):
    result = denoised(name, voice)
    assert result.dtype == np.float32 and len(result) == len(voice)
    lags = correlate(result, voice, mode="full", method="fft")
    assert np.argmax(lags) == len(voice) - 1
    assert abs(level(result) - level(voice)) < 1.0


@pytest.mark.parametrize("name", DENOISING)
def test_result_does_not_depend_on_chunking(name, voice):
    sound = voice[:100000]
    expected = denoised(name, sound, len(sound))
    for chunk in (1777, 48000):
        assert np.array_equal(denoised(name, sound, chunk), expected)


@pytest.mark.parametrize("name", DENOISING)
@pytest.mark.parametrize("noise", [white, pink])
def test_signal_to_noise_ratio_improves(name, noise, voice):
    noisy = voice + at_level(noise(len(voice) / 16000)[: len(voice)], level(voice) - 5.0)
    assert signal_to_noise(voice, noisy) == pytest.approx(5.0, abs=0.2)
    assert signal_to_noise(voice, denoised(name, noisy)) > 9.0


@pytest.mark.parametrize("name", list(SPECS))
@pytest.mark.parametrize("count", [0, 1, 479, 8000, 16001, 70000])
def test_digital_silence_of_any_length_stays_silent(name, count):
    result = denoised(name, np.zeros(count, np.float32))
    assert len(result) == count and not result.any()


@pytest.mark.parametrize("name", list(SPECS))
def test_silence_around_speech_stays_silent(name, voice):
    pause = np.zeros(48000, np.float32)
    result = denoised(name, np.concatenate([pause, voice, pause]))
    assert np.isfinite(result).all()
    assert np.abs(result[:40000]).max() < 1e-4 and np.abs(result[-40000:]).max() < 1e-4


@pytest.mark.parametrize(("name", "highest"), [("spectral_gate", -40.0), ("rnnoise", -40.0), ("adaptive", -35.0)])
def test_noise_without_speech_is_attenuated(name, highest):
    noise = at_level(white(5.0), -30.0)
    assert level(denoised(name, noise)) < highest


def test_adaptive_passes_clean_speech_unchanged_without_rnnoise(voice, monkeypatch):
    monkeypatch.delattr(rnnoise_parts, "RnnoiseSession")
    assert np.array_equal(denoised("adaptive", voice), voice)


def test_adaptive_denoises_the_noisy_part_only(voice):
    noise = at_level(white(len(voice) / 16000)[: len(voice)], level(voice))
    sound = np.concatenate([voice, voice, voice, voice, voice + noise, voice + noise])
    result = denoised("adaptive", sound)
    clean, noisy = slice(0, 2 * len(voice)), slice(5 * len(voice), 6 * len(voice))
    assert np.array_equal(result[clean], sound[clean])
    assert signal_to_noise(voice, result[noisy]) > signal_to_noise(voice, sound[noisy]) + 3.0


def test_adaptive_result_does_not_depend_on_chunking_in_noise(voice):
    sound = np.resize(voice, 30 * 16000)
    sound[20 * 16000 :] += at_level(white(10.0), level(voice) - 5.0)
    expected = denoised("adaptive", sound, len(sound))
    assert not np.array_equal(expected, sound)
    assert np.array_equal(denoised("adaptive", sound, 7777), expected)


def test_parts_equal_the_continuous_stream_from_its_start(voice):
    parts = RnnoiseParts()
    parts.push(voice)
    count = len(voice) // 8000 * 8000
    result = np.concatenate([parts.denoise(0, 32000), parts.denoise(32000, count), parts.denoise(count, len(voice))])
    assert np.array_equal(result, denoised("rnnoise", voice))


@pytest.mark.parametrize("gap", [2, 10])
def test_parts_after_a_gap_resemble_the_continuous_stream(gap, voice):
    sound = np.resize(voice, 18 * 16000) + at_level(white(18.0), level(voice) - 10.0)
    parts, start = RnnoiseParts(), (2 + gap) * 16000
    parts.push(sound)
    parts.denoise(0, 2 * 16000)
    parts.forget(start)
    difference = parts.denoise(start, start + 32000) - denoised("rnnoise", sound)[start : start + 32000]
    assert not difference.any() if gap == 2 else level(difference) < level(sound) - 25


@pytest.mark.parametrize(("decibels", "lowest", "highest"), [(None, 25, 120), (20, 12, 26), (0, -8, 6)])
def test_snr_is_estimated(decibels, lowest, highest, voice):
    sound = voice
    if decibels is not None:
        sound = voice + at_level(white(len(voice) / 16000)[: len(voice)], level(voice) - decibels)
    estimate = estimate_snr(sound)
    assert estimate is not None and lowest <= estimate <= highest
    assert estimate_snr(np.zeros(16000, np.float32)) is None


def test_adaptive_rejects_thresholds_in_the_wrong_order():
    with pytest.raises(ValueError, match="noisy"):
        AdaptiveConfig(clean=5.0, noisy=10.0)
