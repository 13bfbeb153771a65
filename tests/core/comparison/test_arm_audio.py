"""Sounds of the arms: level, signal-to-noise ratio and duration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.comparison.arm_audio import ArmAudio, rms_dbfs
from retalkit.errors import InputError
from retalkit.media.sound import pcm
from retalkit.storage.cache import Folder
from scipy.io import wavfile


def sounds(tmp_path: Path, seconds: float | None = None, noise: str = "white") -> ArmAudio:
    return ArmAudio(Folder(tmp_path / "sounds"), noise, seconds)


def test_silence_has_the_duration_of_the_clip(tmp_path: Path, talking_head: Path) -> None:
    silence = pcm(sounds(tmp_path).for_arm("silence", talking_head))
    assert not silence.any()
    assert len(silence) == len(pcm(talking_head))


@pytest.mark.parametrize(("arm", "ratio"), [("noisy_20", 20.0), ("noisy_10", 10.0), ("noisy_0", 0.0)])
def test_noisy_speech_has_the_snr_of_the_arm(tmp_path: Path, talking_head: Path, arm: str, ratio: float) -> None:
    own = pcm(talking_head).astype(np.float64)
    mixed = pcm(sounds(tmp_path).for_arm(arm, talking_head)).astype(np.float64)
    # The mix may have been attenuated to avoid clipping: estimate the gain from the projection on the own sound.
    scale = float(mixed @ own / (own @ own))
    noise = mixed - scale * own
    assert 10 * np.log10((scale * own @ (scale * own)) / (noise @ noise)) == pytest.approx(ratio, abs=0.5)


def test_noise_has_the_level_of_the_clip(tmp_path: Path, talking_head: Path) -> None:
    noise = pcm(sounds(tmp_path).for_arm("noise", talking_head))
    assert rms_dbfs(noise) == pytest.approx(rms_dbfs(pcm(talking_head)), abs=0.3)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.05, "white noise is uncorrelated"


def test_only_longer_sounds_are_trimmed(tmp_path: Path, talking_head: Path) -> None:
    assert sounds(tmp_path, 60.0).trimmed(talking_head) == talking_head
    cut = sounds(tmp_path, 0.75).trimmed(talking_head)
    assert len(pcm(cut)) == 12000
    assert np.abs(pcm(cut)[100:11000] - pcm(talking_head)[100:11000]).max() < 0.02


def test_sounds_are_cached(tmp_path: Path, talking_head: Path) -> None:
    first = sounds(tmp_path).for_arm("noise", talking_head)
    before = first.stat().st_mtime_ns
    assert sounds(tmp_path).for_arm("noise", talking_head) == first
    assert first.stat().st_mtime_ns == before
    assert sounds(tmp_path, noise="hum").for_arm("noise", talking_head) != first


def test_noise_for_a_silent_clip_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    wavfile.write(path, 16000, np.zeros(16000, np.int16))
    with pytest.raises(InputError, match=r"silent\.wav") as error:
        sounds(tmp_path).for_arm("noise", path)
    assert error.value.code == "silent-clip"
