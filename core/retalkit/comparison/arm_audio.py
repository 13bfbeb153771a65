"""The sounds of the arms: what a clip is dubbed with, and what the result is scored against.

Sounds are files without loss (16-bit PCM), made once. Noise is made at the level of the clip's own sound, so that a
level gate alone cannot tell it from speech.
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
_LOUDEST: Final = 0.99


class ArmSounds:
    """Makes sound files in one folder; a file that is there is not made again."""

    def __init__(self, folder: Folder, noise: str, seconds: float | None) -> None:
        self._folder = folder
        self._noise = noise
        self._seconds = seconds

    def clean(self, path: Path) -> Path:
        """The sound of a file, cut to the comparison's ``seconds``; the file itself where it is not longer.

        Raises InputError where it has no sound.
        """
        sound = open_sound(path)
        if self._seconds is None or sound.duration <= self._seconds:
            return path
        name = make_key("clean", VERSION, content_hash(path), self._seconds) + ".wav"
        if (made := self._folder.path(name)) is None:
            with self._folder.write(name) as target:
                _write(target, _whole(sound, self._seconds), sound.rate)
            made = self._folder.folder / name
        return made

    def of_arm(self, arm: str, clip: Path) -> Path:
        """The sound of the arms ``silence``, ``noise`` and ``noisy_...`` for a clip. Raises InputError."""
        name = make_key(arm, VERSION, content_hash(clip), self._seconds, "" if arm == SILENCE else self._noise) + ".wav"
        if (made := self._folder.path(name)) is not None:
            return made
        own = pcm(self.clean(clip))
        with self._folder.write(name) as target:
            _write(target, _made(arm, own, self._noise, clip), SPEECH_RATE)
        return self._folder.folder / name


def level(sound: Sound) -> float:
    """RMS in dBFS; minus infinity for digital silence."""
    power = float(np.mean(np.square(sound, dtype=np.float64))) if len(sound) else 0.0
    return 10.0 * math.log10(power) if power > 0 else float("-inf")


def _made(arm: str, own: Sound, noise: str, clip: Path) -> Sound:
    seconds = len(own) / SPEECH_RATE
    if arm == SILENCE:
        return np.zeros(len(own), np.float32)
    loudness = level(own)
    if not math.isfinite(loudness):
        raise InputError(f"{clip} has no sound but silence, which noise needs a level from: give a talking clip")
    ratio = 0.0 if arm == NOISE else NOISY[arm]
    added = backgrounds([], seconds, loudness - ratio)[noise][: len(own)]
    mixed = added if arm == NOISE else own[: len(added)] + added
    peak = float(np.abs(mixed).max())
    return (mixed * (_LOUDEST / peak) if peak > _LOUDEST else mixed).astype(np.float32)


def _whole(sound: SoundSource, seconds: float) -> NDArray[np.float32]:
    """The first ``seconds`` at the file's own rate, float32 [N, channels]."""
    wanted = round(seconds * sound.rate)
    parts: list[NDArray[np.float32]] = []
    for chunk in sound.chunks(sound.rate, mono=False):
        parts.append(chunk[: wanted - sum(map(len, parts))])
        if sum(map(len, parts)) >= wanted:
            break
    return np.concatenate(parts)


def _write(path: Path, sound: NDArray[np.float32], rate: int) -> None:
    wavfile.write(path, rate, np.rint(np.clip(sound, -1, 1) * 32767).astype(np.int16))
