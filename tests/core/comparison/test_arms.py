"""The sounds of the arms have the level, the ratio and the length that they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.comparison.arm_audio import ArmSounds, level
from retalkit.errors import InputError
from retalkit.media.sound import pcm
from retalkit.storage.cache import Folder
from scipy.io import wavfile


def sounds(tmp_path: Path, seconds: float | None = None, noise: str = "white") -> ArmSounds:
    return ArmSounds(Folder(tmp_path / "sounds"), noise, seconds)


def test_silence_is_silent_and_as_long_as_the_clip(tmp_path: Path, talking_head: Path) -> None:
    silence = pcm(sounds(tmp_path).of_arm("silence", talking_head))
    assert not silence.any()
    assert len(silence) == len(pcm(talking_head))


@pytest.mark.parametrize(("arm", "ratio"), [("noisy_20", 20.0), ("noisy_10", 10.0), ("noisy_0", 0.0)])
def test_noise_is_added_at_the_ratio_of_the_arm(tmp_path: Path, talking_head: Path, arm: str, ratio: float) -> None:
    own = pcm(talking_head).astype(np.float64)
    mixed = pcm(sounds(tmp_path).of_arm(arm, talking_head)).astype(np.float64)
    # The whole may have been made quieter to fit: the share of the own sound tells by how much.
    scale = float(mixed @ own / (own @ own))
    noise = mixed - scale * own
    assert 10 * np.log10((scale * own @ (scale * own)) / (noise @ noise)) == pytest.approx(ratio, abs=0.5)


def test_noise_alone_is_as_loud_as_the_clip(tmp_path: Path, talking_head: Path) -> None:
    noise = pcm(sounds(tmp_path).of_arm("noise", talking_head))
    assert level(noise) == pytest.approx(level(pcm(talking_head)), abs=0.3)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.05, "white noise does not resemble itself"


def test_a_longer_sound_is_cut_and_a_shorter_one_is_the_file_itself(tmp_path: Path, talking_head: Path) -> None:
    assert sounds(tmp_path, 60.0).clean(talking_head) == talking_head
    cut = sounds(tmp_path, 0.75).clean(talking_head)
    assert len(pcm(cut)) == 12000
    assert np.abs(pcm(cut)[100:11000] - pcm(talking_head)[100:11000]).max() < 0.02


def test_a_sound_is_made_once(tmp_path: Path, talking_head: Path) -> None:
    first = sounds(tmp_path).of_arm("noise", talking_head)
    before = first.stat().st_mtime_ns
    assert sounds(tmp_path).of_arm("noise", talking_head) == first
    assert first.stat().st_mtime_ns == before
    assert sounds(tmp_path, noise="hum").of_arm("noise", talking_head) != first


def test_a_silent_clip_has_no_level_for_noise(tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    wavfile.write(path, 16000, np.zeros(16000, np.int16))
    with pytest.raises(InputError, match="no sound but silence"):
        sounds(tmp_path).of_arm("noise", path)
