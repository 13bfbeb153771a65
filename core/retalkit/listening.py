"""The speech that drives the mouth: cleaned and listened to once, kept in the cache, read a piece at a time."""

from __future__ import annotations

import json
import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.arrays import RowReader, RowWriter
from retalkit.cache import Folder
from retalkit.media.sound import SoundSource
from retalkit.observing import Observer
from retalkit.speech.activity import analyse_speech
from retalkit.speech.track import SpeechTrack
from retalkit.stages import SPEECH_RATE, DenoiserSession

VERSION: Final = 1
"""Part of the cache keys: raise it when resampling or voice activity change their result."""

WAVEFORM: Final = "speech.f32"
ACTIVITY: Final = "activity.f32"
DESCRIPTION: Final = "speech.json"


class StoredSamples:
    """Samples in a raw file, readable anywhere; implements ``retalkit.speech.reader.WaveReader``."""

    def __init__(self, rows: RowReader) -> None:
        self._rows = rows

    @property
    def sample_count(self) -> int:
        return self._rows.count

    def read(self, start_sample: int, stop_sample: int) -> NDArray[np.float32]:
        """float32 [stop_sample - start_sample]; zeros before the first and after the last sample."""
        samples = np.zeros(max(stop_sample - start_sample, 0), np.float32)
        first, last = max(start_sample, 0), min(stop_sample, self._rows.count)
        if last > first:
            samples[first - start_sample : last - start_sample] = self._rows.read(first, last)
        return samples


class StoppedError(Exception):
    """Another part of the run failed: this one need not go on."""


def _check(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise StoppedError


def is_complete(folder: Folder) -> bool:
    """Whether the step of this folder was finished: its description is written last."""
    return folder.path(DESCRIPTION) is not None


def listen(
    sound: SoundSource, denoiser: DenoiserSession, folder: Folder, observer: Observer, stopped: threading.Event
) -> None:
    """Resamples to 16 kHz mono, denoises, finds voice activity; stores both as raw float32.

    Runs in a thread of its own: setting ``stopped`` ends it early with ``StoppedError`` and nothing stored.
    """
    with folder.write(WAVEFORM) as path, RowWriter(path, np.float32) as file:
        done = 0
        for chunk in sound.chunks(SPEECH_RATE):
            _check(stopped)
            file.append(denoiser.denoise(chunk))
            done += len(chunk)
            observer.advanced("speech", done // SPEECH_RATE)
        file.append(denoiser.finish())
    reader = StoredSamples(RowReader(folder.folder / WAVEFORM, np.float32, ()))
    loudest = 0.0
    with folder.write(ACTIVITY) as path, RowWriter(path, np.float32) as file:
        for piece in analyse_speech(reader):
            _check(stopped)
            file.append(piece)
            loudest = max(loudest, float(piece.max(initial=0.0)))
    with folder.write(DESCRIPTION) as path:
        path.write_text(json.dumps({"samples": reader.sample_count, "highest_activity": loudest}), encoding="utf-8")


def open_stored(folder: Folder) -> tuple[SpeechTrack, bool]:
    """The stored speech, and whether anybody speaks in it at all."""
    waveform = StoredSamples(RowReader(folder.folder / WAVEFORM, np.float32, ()))
    activity = StoredSamples(RowReader(folder.folder / ACTIVITY, np.float32, ()))
    highest = float(json.loads((folder.folder / DESCRIPTION).read_text(encoding="utf-8"))["highest_activity"])
    return SpeechTrack(waveform, activity), highest > 0.1
