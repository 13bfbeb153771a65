"""The denoisers as streams: length, delay, chunking, silence, and what they do for speech in noise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from retalkit.observer import SilentObserver
from retalkit.plugins import StageSpec
from retalkit.stages import StageContext, StageKind
from retalkit_denoisers.plugin import retalkit_stages
from scipy.signal import correlate

from tests.core.speech.sounds import at_level, level, load, pink, white

SPECS: dict[str, StageSpec] = {spec.name: spec for spec in retalkit_stages()}
WORKING = ["spectral_gate", "rnnoise"]


def denoised(name: str, sound: np.ndarray, chunk: int = 16000) -> np.ndarray:
    spec = SPECS[name]
    context = StageContext(cache=None, observer=SilentObserver())  # type: ignore[arg-type]
    session = spec.make(spec.config()).open(context)
    pieces = [session.denoise(sound[start : start + chunk]) for start in range(0, len(sound), chunk)]
    pieces.append(session.finish())
    session.close()
    return np.concatenate(pieces)


def signal_to_noise(clean: np.ndarray, other: np.ndarray) -> float:
    return level(clean) - level(other - clean)


@pytest.fixture(scope="module")
def voice(shared_media: Path) -> np.ndarray:
    return load(shared_media / "speech_16k_mono.wav")


def test_the_specs_are_complete_and_light():
    assert set(SPECS) == {"none", "spectral_gate", "rnnoise"}
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
def test_length_and_time_are_kept(name, voice):
    result = denoised(name, voice)
    assert result.dtype == np.float32 and len(result) == len(voice)
    lags = correlate(result, voice, mode="full", method="fft")
    assert np.argmax(lags) == len(voice) - 1
    assert abs(level(result) - level(voice)) < 1.0


@pytest.mark.parametrize("name", WORKING)
def test_the_result_does_not_depend_on_the_chunks(name, voice):
    sound = np.concatenate([voice, voice[:40000]])
    whole = denoised(name, sound, len(sound))
    for chunk in (1777, 48000):
        assert np.array_equal(denoised(name, sound, chunk), whole)


@pytest.mark.parametrize("name", WORKING)
@pytest.mark.parametrize("noise", [white, pink])
def test_noise_goes_down(name, noise, voice):
    noisy = voice + at_level(noise(len(voice) / 16000)[: len(voice)], level(voice) - 5.0)
    assert signal_to_noise(voice, noisy) == pytest.approx(5.0, abs=0.2)
    assert signal_to_noise(voice, denoised(name, noisy)) > 9.0


@pytest.mark.parametrize("name", list(SPECS))
@pytest.mark.parametrize("count", [0, 1, 479, 8000, 16001, 70000])
def test_digital_silence_stays_silent_at_every_length(name, count):
    result = denoised(name, np.zeros(count, np.float32))
    assert len(result) == count and not result.any()


@pytest.mark.parametrize("name", list(SPECS))
def test_silence_around_speech_stays_silent(name, voice):
    pause = np.zeros(48000, np.float32)
    result = denoised(name, np.concatenate([pause, voice, pause]))
    assert np.isfinite(result).all()
    assert np.abs(result[:40000]).max() < 1e-4 and np.abs(result[-40000:]).max() < 1e-4


@pytest.mark.parametrize("name", WORKING)
def test_only_noise_gets_quieter(name):
    noise = at_level(white(5.0), -30.0)
    assert level(denoised(name, noise)) < -40.0
