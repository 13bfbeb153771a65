"""Preparation of the arms' audio files, which are used for dubbing and for scoring.

The files are cached as lossless 16-bit PCM. Noise is synthesized at the level of the clip's own audio, so that a level
gate alone cannot distinguish noise from speech.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from retalkit.comparison.results import NOISE, NOISY, SILENCE
from retalkit.errors import InputError
from retalkit.media.sound import SoundSource, open_sound, pcm
from retalkit.speech.noise import backgrounds
from retalkit.stages import SPEECH_RATE
from retalkit.storage.cache import Folder, content_hash, make_key

Sound = NDArray[np.float32]

VERSION: Final = 1
_MAX_PEAK: Final = 0.99


class ArmAudio:
    """Cache for the arms' audio files in one directory. Existing files are reused."""

    def __init__(self, folder: Folder, noise: str, seconds: float | None) -> None:
        self._folder = folder
        self._noise = noise
        self._seconds = seconds

    def trimmed(self, path: Path) -> Path:
        """Return the path of a copy of the audio file that is truncated to the comparison's ``seconds``.

        If the audio is not longer than ``seconds``, the path of the original file is returned. Raises InputError if the
        file has no audio.
        """
        sound = open_sound(path)
        if self._seconds is None or sound.duration <= self._seconds:
            return path
        name = make_key("clean", VERSION, content_hash(path), self._seconds) + ".wav"
        if (cached := self._folder.path(name)) is None:
            with self._folder.write(name) as target:
                _write(target, _read_start(sound, self._seconds), sound.rate)
            cached = self._folder.folder / name
        return cached

    def for_arm(self, arm: str, clip: Path) -> Path:
        """Return the path of a clip's audio file for the arm ``silence``, ``noise`` or ``noisy_...``.

        Raises InputError if the clip's audio cannot be read or is silent.
        """
        name = make_key(arm, VERSION, content_hash(clip), self._seconds, "" if arm == SILENCE else self._noise) + ".wav"
        if (cached := self._folder.path(name)) is not None:
            return cached
        own = pcm(self.trimmed(clip))
        with self._folder.write(name) as target:
            _write(target, _synthesize(arm, own, self._noise, clip), SPEECH_RATE)
        return self._folder.folder / name


def rms_dbfs(sound: Sound) -> float:
    """Return the RMS level in dBFS, or minus infinity for digital silence."""
    power = float(np.mean(np.square(sound, dtype=np.float64))) if len(sound) else 0.0
    return 10.0 * math.log10(power) if power > 0 else float("-inf")


def _synthesize(arm: str, own: Sound, noise: str, clip: Path) -> Sound:
    seconds = len(own) / SPEECH_RATE
    if arm == SILENCE:
        return np.zeros(len(own), np.float32)
    loudness = rms_dbfs(own)
    if not math.isfinite(loudness):
        message = f"{clip}: the audio is digital silence, so the noise level is undefined: use a clip with speech"
        raise InputError(message, code="silent-clip")
    ratio = 0.0 if arm == NOISE else NOISY[arm]
    added = backgrounds([], seconds, loudness - ratio)[noise][: len(own)]
    mixed = added if arm == NOISE else own[: len(added)] + added
    peak = float(np.abs(mixed).max())
    return (mixed * (_MAX_PEAK / peak) if peak > _MAX_PEAK else mixed).astype(np.float32)


def _read_start(sound: SoundSource, seconds: float) -> NDArray[np.float32]:
    """Return the first ``seconds`` of the audio at the file's sample rate, float32 [N, channels]."""
    wanted = round(seconds * sound.rate)
    parts: list[NDArray[np.float32]] = []
    for chunk in sound.chunks(sound.rate, mono=False):
        parts.append(chunk[: wanted - sum(map(len, parts))])
        if sum(map(len, parts)) >= wanted:
            break
    return np.concatenate(parts)


def _write(path: Path, sound: NDArray[np.float32], rate: int) -> None:
    wavfile.write(path, rate, np.rint(np.clip(sound, -1, 1) * 32767).astype(np.int16))
